"""A disk of which a test may kill the process or cut the power. Exported by `msglog.testing`.

A `SimulatedDisk` has a path on which stores open as on any other; its files are in memory.
"""

import itertools
import os
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self, Unpack

from msglog.checks import check_flag
from msglog.store import Store, StoreOptions
from msglog.store import core as cores
from msglog.testing.disk_files import DiskFiles

_numbers: Final = itertools.count(1)


class SimulatedDisk:
    """A disk in memory with one store on it, that survives what the store does not.

    `path`: where the store is: `open` opens it, and so does `msglog.Store(disk.path)`, `Log` or `Broker` in the code
    under test. It is there as long as the disk is held. What a crash leaves follows the same rules as on a real disk:
    `sync` decides what a power cut may take, and the strictest is taken: all that was not synced. Safe for any thread.
    A context manager that closes what `open` has opened.
    """

    def __init__(self) -> None:
        # Below what is no directory anywhere: once this is gone the path leads nowhere.
        self._path = f"{os.devnull}/simulated-disk-{next(_numbers)}"
        self._options: dict[str, Any] = {}
        self._files = DiskFiles()
        self._stores: list[Store] = []
        self._crashes = 0
        cores.mount(self._path, self._files)

    @property
    def path(self) -> str:
        """The path of the store on this disk."""
        return self._path

    @property
    def crashes(self) -> int:
        """How often it has crashed."""
        return self._crashes

    def open(self, **options: Unpack[StoreOptions]) -> Store:
        """Open the store; options are those of `Store`, and those of the last `open` where none are given."""
        if options:
            self._options = dict(options)
        given: StoreOptions = {**self._options}  # type: ignore[typeddict-item]  # they were options before
        store = Store(self._path, **given)
        self._stores.append(store)
        return store

    def close(self) -> None:
        """Close the stores that `open` has opened. Calling again does nothing. Raises as `Store.close` does."""
        with ExitStack() as closing:
            while self._stores:
                closing.callback(self._stores.pop().close)

    def crash(self, *, power_loss: bool = False) -> None:
        """End the process that has the store open, as far as the store can tell.

        `power_loss`: the power fails with it, and what was not synced is gone; without it only the process was killed,
        and everything that was written is there. Handles, consumers and deliveries of the store refuse from now on
        (`ClosedError`, and `StoreFailedError` where something would be written or a sync is waited for); subscriptions
        end after the callback in hand. Nothing of all that needs to be closed: open the store again to go on. Of a
        store that is closed a power cut takes nothing.
        """
        check_flag("power_loss", power_loss)
        core = cores.find_open(self._path)
        self._crashes += 1
        self._stores.clear()
        if core is not None:
            cores.kill(core)
        self._files = self._files.crash(power_loss=power_loss)
        cores.mount(self._path, self._files)
        if core is not None:
            cores.bury(core)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<msglog.testing.SimulatedDisk {self._path!r}>"
