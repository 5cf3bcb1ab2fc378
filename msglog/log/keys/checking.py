"""Checking the files of the index by key: whoever verifies a store looks at them here.

A file without its end was never finished, and readers ignore it: that is no damage. One that has its end is whole, and
then every block of it must be. Imported by the log's package.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msglog.log.keys.run import DamagedRunError, load_run
from msglog.log.rules.key_rows import RunSpan
from msglog.storage import Engine
from msglog.storage.layout import KEYS, in_keys, parse_run_name
from msglog.store import Claim, Service
from msglog.types import Problem


class KeysCheck:
    """The part of a verification that the index by key has."""

    lock = None

    def __init__(self, engine: Engine, _services: Mapping[str, Service]) -> None:
        self._engine = engine

    def claims(self) -> Iterator[Claim]:
        """Claim nothing: the index has no streams of its own."""
        return iter(())

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return nothing."""
        return ()

    def pieces(self) -> Iterable[Any]:
        """Return the names of the files."""
        return list(self._engine.filesystem.list(self._engine.path(KEYS)))

    def look(self, piece: Any) -> Iterator[Problem]:
        """Look at one file."""
        path = in_keys(self._engine.directory, piece)
        parsed = parse_run_name(piece)
        if parsed is None:
            yield Problem("file", path, 0, "no run of an index by key has this name")
            return
        try:
            file = self._engine.filesystem.open(path, writable=False)
        except FileNotFoundError:
            return
        try:
            run = load_run(file.read, file.size(), RunSpan(*parsed))
        except DamagedRunError:
            return  # not finished, as far as anybody can tell
        else:
            try:
                for _ in run.all_rows():
                    pass
            except DamagedRunError as error:
                yield Problem("index", path, 0, str(error))
        finally:
            file.close()
