"""What leaves the indexes by key behind when a store is closed. Registered as a service of the store.

Imported by `msglog.log`.
"""

from typing import cast

from msglog.log.model import LogModel
from msglog.store import StoreCore


class KeyIndexing:
    """The indexes of one open directory, as far as its end is concerned."""

    name = "keys"

    def __init__(self, core: StoreCore) -> None:
        self._model = cast(LogModel, core.engine.models[LogModel.section])

    def close(self) -> None:
        """Write what the indexes hold in memory, where that is worth a file."""
        self._model.indexes.close()
