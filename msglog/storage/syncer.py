"""The one background thread of a store on disk: syncs at intervals, and checkpoints when they are due.

It runs on the machine's monotonic clock, never on the store's clock, since durability is about real time.
`sync="none"`: it sleeps until a checkpoint is asked for. Only a weak reference to the engine is kept while it sleeps.
"""

import logging
import weakref
from threading import Thread
from typing import TYPE_CHECKING

from msglog.errors import MsglogError
from msglog.storage.options import Options
from msglog.waiting import Waiter

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

logger = logging.getLogger("msglog.storage")
_RETRY_SECONDS = 1.0
_JOIN_SECONDS = 60.0


class Syncer:
    """Starts its thread at once and ends it with `stop`."""

    def __init__(self, engine: "Engine", options: Options) -> None:
        self._waiter = Waiter()
        self._stopped = False
        interval = None if options.sync == "none" else options.sync_interval_ms / 1000
        self._thread = Thread(
            target=_run, args=(weakref.ref(engine, self._engine_gone), self, interval), name="msglog-sync", daemon=True
        )
        self._thread.start()

    def wake(self) -> None:
        """Look for work now."""
        self._waiter.wake()

    def stop(self) -> None:
        """End the thread and wait for what it is doing."""
        self._stopped = True
        self._waiter.wake()
        self._thread.join(_JOIN_SECONDS)

    def _engine_gone(self, _: object) -> None:
        self._stopped = True
        self._waiter.wake()

    def wait(self, seconds: float | None) -> bool:
        """Sleep; return whether to go on."""
        self._waiter.wait(seconds)
        return not self._stopped


def _run(reference: "weakref.ref[Engine]", syncer: Syncer, interval: float | None) -> None:
    pause = interval
    while syncer.wait(pause):
        engine = reference()
        if engine is None or engine.closed:
            return
        pause = interval
        try:
            _work(engine)
        except Exception as error:  # noqa: BLE001 a promise hangs on this thread: it must not die of anything
            if engine.closed or engine.failure is not None:
                return
            log = logger.warning if isinstance(error, MsglogError) else logger.exception
            log(
                "background sync of %s failed, trying again: %s",
                engine.directory,
                error,
                extra={"event": "sync_failed", "path": engine.directory},
            )
            engine.request_checkpoint(wake=False)
            pause = _RETRY_SECONDS
        del engine


def _work(engine: "Engine") -> None:
    if engine.checkpoint_requested or (engine.options.sync != "none" and engine.commit_number != engine.durable_commit):
        engine.checkpoint()
