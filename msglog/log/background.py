"""Cleaning that nobody asks for: a timer on the store's clock, scheduled only while some topic needs it.

The first check is 30 seconds after a need arises, the others every 5 minutes from then (Kafka's
`log.retention.check.interval.ms` and its initial delay). A wall clock that jumped against the monotonic one
since the last check makes one check be left out: a wrong time that is put right within minutes must not cost
records. Registered as a service of the store: one for each open directory. Imported by `msglog.log` and
`admin`.
"""

import logging
from threading import Lock
from typing import Final, cast

from msglog.errors import ClosedError
from msglog.log.cleaner import Cleaner
from msglog.log.model import LogModel
from msglog.store import StoreCore
from msglog.types import CleanReport
from msglog.waiting import Timer

CHECK_INTERVAL_MS: Final = 300_000
FIRST_CHECK_MS: Final = 30_000
_JUMP_MS: Final = 600_000

logger = logging.getLogger("msglog.cleaning")


class BackgroundCleaning:
    """The timer of one store, and its cleaner."""

    name = "cleaning"

    def __init__(self, core: StoreCore) -> None:
        self._core = core
        self.cleaner = Cleaner(core.engine)
        self._model = cast(LogModel, core.engine.models[LogModel.section])
        self._lock = Lock()
        self._timer: Timer | None = None
        self._origin_ms = 0
        self._skew_ms = self._skew()
        self._closed = False
        self.reconsider()

    def reconsider(self) -> None:
        """Schedule a check if some topic needs one and none is scheduled. Not under the store lock."""
        if self._core.engine.readonly or not self._needed():
            return
        with self._lock:
            if self._timer is None and not self._closed:
                self._origin_ms = self._core.clock.monotonic_ms()
                self._skew_ms = self._skew()
                self._timer = self._core.timers.schedule(self._origin_ms + FIRST_CHECK_MS, self._check)

    def close(self) -> None:
        """Let no further check begin."""
        with self._lock:
            self._closed = True
            if self._timer is not None:
                self._timer.cancel()

    def _needed(self) -> bool:
        configs = [topic.config for topic in list(self._model.topics.values())]
        limits = [config.retention_ms is not None or config.retention_bytes is not None for config in configs]
        return any(limits) or any(config.compacts for config in configs)

    def _check(self) -> None:
        try:
            if self._clock_is_steady():
                topics = list(self._model.topics.values())
                self._tell(self.cleaner.clean(topics, now_ms=self._core.clock.now_ms(), forced=False))
        except ClosedError:
            return
        finally:
            self._schedule_next()

    def _tell(self, report: CleanReport) -> None:
        if report.partitions:
            logger.info(
                "cleaning removed %d records from %d partitions of %s",
                report.records_removed,
                len(report.partitions),
                self._core.path,
                extra={
                    "event": "cleaned",
                    "path": self._core.path,
                    "records": report.records_removed,
                    "bytes": report.bytes_removed,
                    "partitions": len(report.partitions),
                },
            )

    def _schedule_next(self) -> None:
        needed = self._needed()
        with self._lock:
            self._timer = None
            if needed and not self._closed:
                checks = (self._core.clock.monotonic_ms() - self._origin_ms) // CHECK_INTERVAL_MS + 1
                due_ms = self._origin_ms + checks * CHECK_INTERVAL_MS
                self._timer = self._core.timers.schedule(due_ms, self._check)

    def _skew(self) -> int:
        return self._core.clock.now_ms() - self._core.clock.monotonic_ms()

    def _clock_is_steady(self) -> bool:
        before, self._skew_ms = self._skew_ms, self._skew()
        jump_ms = self._skew_ms - before
        if abs(jump_ms) <= _JUMP_MS:
            return True
        logger.warning(
            "the clock jumped by %d ms: this time nothing is removed",
            jump_ms,
            extra={"event": "clock_jumped", "path": self._core.path, "jump_ms": jump_ms},
        )
        return False
