"""A named producer for tasks. Exported by `msglog.aio`."""

from typing import Self

import msglog
from msglog.aio.calls import run
from msglog.aio.forwarding import in_thread
from msglog.aio.opened import Opened
from msglog.showing import one_line


class Producer(Opened):
    """The holder of a producer's name as a `msglog.Producer`, for one task at a time; made by `Log.producer`.

    It holds the name once it was awaited or entered by `async with`. Its calls are made in other threads: what they
    decide on must be durable, and may have to be read. One that is cancelled is done nevertheless.
    """

    def __init__(self, log: msglog.Log, name: str) -> None:
        self._log = log
        self._name = name
        self._held: msglog.Producer | None = None

    @property
    def name(self) -> str:
        """The name."""
        return self._name

    @property
    def sync(self) -> msglog.Producer:
        """The threaded producer, which a transaction takes. Raises `ClosedError` before the name is held."""
        if self._held is None:
            raise msglog.ClosedError(f"producer {self._name!r} was not opened: `await` it, or use `async with`")
        return self._held

    @property
    def _sync(self) -> msglog.Producer:
        return self.sync

    @property
    def last_sequence(self) -> int:
        """The last sequence number that was written under the name, -1 for none. Raises as `sync` does."""
        return self.sync.last_sequence

    async def open(self) -> Self:
        """Become the holder of the name, durably, and fence the one before. Raises as `msglog.Log.producer` does."""
        if self._held is None:
            self._held = await run(self._log.producer, self._name)
        return self

    append = in_thread(msglog.Producer.append)
    append_many = in_thread(msglog.Producer.append_many)

    async def close(self) -> None:
        """End this handle; the name and its last sequence number stay. Calling again does nothing."""
        if self._held is not None:
            self._held.close()

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.aio.Producer {self._name!r} {'not opened' if self._held is None else repr(self._held)}>"
