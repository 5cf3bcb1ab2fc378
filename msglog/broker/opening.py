"""The part of `Broker` that opens channels.

Imported by `broker`.
"""

from msglog.broker.channel.channel import Channel
from msglog.broker.channel.session import Session
from msglog.broker.declaring import Declaring
from msglog.broker.properties import Properties
from msglog.checks import wrong_type
from msglog.errors import NotAllowedError

_MOST_CHANNELS = 2047


class Opening(Declaring):
    """`channel`."""

    def channel(self, *, user: str = "guest") -> Channel:
        """Return a new AMQP channel on the connection that this broker is.

        `user`: who publishes on it: the only value that the property `user_id` may have. Its number is the smallest
        that is free. Raises `NotAllowedError` when 2047 channels are open, `InvalidTypeError`, `InvalidOptionError`,
        `ReadOnlyError`, `ClosedError`. Safe for any number of threads; the channel is for one at a time.
        """
        vhost = self._vhost_to_write()
        if not isinstance(user, str):
            raise wrong_type("user", user, "a str")
        Properties(user_id=user)
        channels = self._connection.channels
        with vhost.lock:
            number = next((one for one in range(1, _MOST_CHANNELS + 1) if one not in channels), None)
            if number is None:
                raise NotAllowedError(f"number of channels opened ({_MOST_CHANNELS}) has reached the maximum")
            session = channels[number] = Session(vhost, self._connection, number, user)
        channel = Channel(self, session)
        self._store.attach_consumer(channel)
        self._children.add(channel)
        return channel
