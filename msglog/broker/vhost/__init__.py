"""The virtual host: the one broker of an open directory, in parts that build on each other.

    state         the lock, the model, what all share
    removing      expiry, limits, dead letters, purging
    handing       delivery, settlement, requeueing, consumers in turn
    publishing    routing and storing what comes in
    delaying      messages that wait for their time
    housekeeping  disk space and history
    declaring     exchanges, queues, bindings, policies
    virtual_host  all of it, as a service of the store

Imported by the public classes of the broker; imports nothing of them.
"""

from msglog.broker.vhost.publishing import PERSISTENT, Publication, Route
from msglog.broker.vhost.virtual_host import VirtualHost

__all__ = ["PERSISTENT", "Publication", "Route", "VirtualHost"]
