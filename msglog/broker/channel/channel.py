"""The public class of the channel, put together from its parts.

Exported by `msglog`; made by `Broker.channel`.
"""

import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Self

from msglog.broker.channel.acknowledging import Acknowledging
from msglog.broker.channel.consuming import Consuming
from msglog.broker.channel.definitions import Definitions
from msglog.broker.channel.session import Session
from msglog.broker.channel.transacting import Transacting
from msglog.broker.declaring import Declaring
from msglog.checks import check_flag, wrong_type
from msglog.errors import MsglogError, NotSupportedError
from msglog.showing import one_line


class Channel(Definitions, Transacting, Consuming, Acknowledging):
    """An AMQP 0-9-1 channel, with RabbitMQ's semantics; made by `Broker.channel`.

    All channels of a `Broker` are one AMQP connection: they share its exclusive queues. An error with `closes ==
    "channel"` closes the channel that met it, one with "connection" all channels of the broker; calls after that raise
    `ClosedError`. Closing gives back what is unsettled, undoes the transaction and ends the consumers.

    For one thread at a time (`RuntimeError` otherwise); `stop`, `wake` and `close` are for any. A context manager. One
    that is collected unclosed warns (`ResourceWarning`) and its messages go back.
    """

    def __init__(self, broker: Declaring, session: Session) -> None:
        super().__init__(broker, session)
        self.stopped = False

    @property
    def number(self) -> int:
        """The number of the channel on its connection, from 1."""
        return self._session.number

    @property
    def is_open(self) -> bool:
        """Whether the channel can be used."""
        return not self._session.closed and not self._vhost.closed

    @property
    def error(self) -> MsglogError | None:
        """The error that closed the channel, None when it is open or was closed in good order."""
        return self._session.error

    @property
    def on_event(self) -> Callable[[], object] | None:
        """Called without arguments when there is something for `poll` to find, once until the next `poll`.

        From whichever thread brought it about, and with the broker locked: it must be quick and only pass on the news,
        as `loop.call_soon_threadsafe` does. It may come for nothing. What it raises is logged. A listener that refers
        to the channel keeps it from being collected while it has consumers: close it.
        """
        return self._session.inbox.on_event

    @on_event.setter
    def on_event(self, listener: Callable[[], object] | None) -> None:
        if listener is not None and not callable(listener):
            raise wrong_type("on_event", listener, "a callable without arguments, or None")
        inbox = self._session.inbox
        inbox.on_event = listener
        if inbox.entries:
            inbox.looks()
            inbox.announce()

    def flow(self, active: bool) -> bool:  # noqa: FBT001 as AMQP has it
        """Return True. Raises `NotSupportedError` for False: RabbitMQ does not let clients stop the flow either."""
        with self._use:
            if not check_flag("active", active):
                raise NotSupportedError("active=false")
            return True

    def wake(self) -> None:
        """Make the `poll` that waits, or the next one that would, return at once.

        From any thread and from a signal handler: it takes no lock.
        """
        self._session.inbox.interrupt()

    def stop(self) -> None:
        """Make `poll` wait no more, now and from now on; it still returns what there is.

        From any thread and from a signal handler: it takes no lock.
        """
        self.stopped = True
        self._session.inbox.interrupt()

    def close(self) -> None:
        """Close the channel: what is unsettled goes back to its queues. From any thread; calling again does nothing."""
        self.stopped = True
        self._session.close()

    def __enter__(self) -> Self:
        self._session.check_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        session: Session | None = getattr(self, "_session", None)
        if session is None or session.closed or session.vhost.closed or session.vhost.core.is_foreign():
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)
        session.abandon()

    @one_line
    def __repr__(self) -> str:
        session = self._session
        state = f"{len(session.consumers)} consumers, unsettled={len(session.unsettled)}"
        return f"<msglog.Channel {session.number} {'closed' if session.closed or session.vhost.closed else state}>"
