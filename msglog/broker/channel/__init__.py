"""The AMQP 0-9-1 channel: delivery tags, prefetch, confirms, returns, transactions, pushed deliveries.

    events        what `poll` returns
    inbox         events on their way to `poll`, and the wake-up of who waits for them
    consumers     takers of messages in the lines of queues
    session       the inside of a channel: consumers, what is unsettled, its end
    settling      settling any number of deliveries in one commit
    confirms      publisher confirms
    transactions  what waits for `tx_commit`
    definitions, publishing, transacting, consuming, acknowledging   the public methods, by subject
    channel       all of them: the public class

Imported by `broker`; imports the virtual host and the broker's declarations.
"""

from msglog.broker.channel.channel import Channel
from msglog.broker.channel.events import Cancelled, ChannelEvent, Closed, Confirmed, Deliver, GetOk, Returned

__all__ = ["Cancelled", "Channel", "ChannelEvent", "Closed", "Confirmed", "Deliver", "GetOk", "Returned"]
