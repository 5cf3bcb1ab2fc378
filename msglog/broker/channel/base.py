"""What all parts of `Channel` share: the broker's handle, the session, and the guard around each call.

Imported by the parts of `Channel`.
"""

from msglog.broker.channel.session import Guard, Session, Use
from msglog.broker.declaring import Declaring


class ChannelBase:
    """The base of `Channel`."""

    def __init__(self, broker: Declaring, session: Session) -> None:
        self._broker = broker
        self._session = session
        self._vhost = session.vhost
        self._guard = Guard(session)
        self._use = Use(session, self._guard)
