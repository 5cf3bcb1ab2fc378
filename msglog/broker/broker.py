"""The public class of the broker, put together from its parts.

Exported by `msglog`; imported by the layers above.
"""

from msglog.broker.consuming import Consuming
from msglog.broker.exporting import Exporting
from msglog.broker.opening import Opening
from msglog.broker.publishing import Publishing


class Broker(Opening, Publishing, Consuming, Exporting):
    """Exchanges, queues and acknowledgements, in the shape of RabbitMQ's, in one directory or in memory.

    Arguments:
        path_or_store: the path of a store, `":memory:"`, or an open `Store`. A broker made from a path owns its store
            and closes it; one made from a store does not.
        store_options: what `Store` takes, with a path only.

    A handle is one AMQP connection: its exclusive queues and what it has unsettled go with it. Raises what `Store`
    raises. Safe for any number of threads; a context manager.
    """
