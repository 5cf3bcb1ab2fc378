"""One thread of a subscription: a consumer and the callback. Imported by `subscription`."""

import logging
from collections.abc import Callable

from msglog.checks import check_ran
from msglog.errors import ClosedError
from msglog.log.consumer import Consumer
from msglog.log.record_loop import RecordLoop
from msglog.log.records import fields_of
from msglog.retry import Retry
from msglog.store import StoreCore
from msglog.types import Record
from msglog.waiting import CallbackThread

logger = logging.getLogger("msglog.subscription")

RecordCallback = Callable[[Record], object]


class Worker:
    """One thread with its consumer. `thread` runs it."""

    def __init__(
        self, core: StoreCore, consumer: Consumer, callback: RecordCallback, retry: Retry, ended: Callable[[], None]
    ) -> None:
        self.consumer = consumer
        self._callback = callback
        self._tell_ended = ended
        # Not whether the thread is alive: it still is while it says that it ends.
        self.ended = False
        self._loop = RecordLoop(core, consumer, self, retry)
        self.thread = CallbackThread(self._run)

    def stop(self) -> None:
        """End after the record in hand. From any thread, and from a signal handler: takes no lock."""
        self.consumer.stop()

    def do(self, record: Record) -> bool:
        """Call the callback."""
        check_ran("callback", self._callback(record))
        return True

    def is_final(self, error: Exception) -> bool:  # noqa: ARG002 as the loop asks
        """Whatever it is, the back-off is the answer to it."""
        return False

    def give_up(self, record: Record, attempts: int, error: Exception) -> None:
        """Go on with the next record: the next commit covers this one."""
        logger.error(
            "giving up on %r after %d attempts",
            record,
            attempts,
            exc_info=error,
            extra={"event": "given_up", **fields_of(record), "group": self.consumer.group, "attempt": attempts},
        )

    def _run(self) -> None:
        try:
            with self.consumer:
                self._loop.run()
        except ClosedError:
            logger.debug(
                "the store was closed: a worker of the subscription of group %r ends",
                self.consumer.group,
                extra={"event": "worker_ended", "group": self.consumer.group},
            )
        except BaseException:
            # The end of a thread: nobody above would hear of it. What was in hand was not committed.
            logger.exception(
                "a worker of the subscription of group %r failed and ends",
                self.consumer.group,
                extra={"event": "worker_failed", "group": self.consumer.group},
            )
        finally:
            self.ended = True
            self._tell_ended()
