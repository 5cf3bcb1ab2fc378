"""The short ways of publishing, taking and acknowledging in C, in front of the Python methods where it was compiled.

Publishing and acknowledging are compiled as a whole. Taking a message is two calls, from methods of Python: a signal
handler may raise as a compiled call returns, and then what it has taken must be in hand to be put back. See
`msglog.compiled`. Imported by the package.
"""

from collections import deque
from collections.abc import Callable, Iterator
from functools import wraps
from inspect import unwrap
from pathlib import Path
from threading import Lock
from typing import Any

from msglog.broker.consumer import QueueConsumer, Taking
from msglog.broker.consuming import Consuming
from msglog.broker.delivery import Delivery, Terms
from msglog.broker.handle import BrokerHandle, Connection
from msglog.broker.lane import KEPT_BYTES, KEPT_MESSAGES, Lane, Stored
from msglog.broker.line import Line
from msglog.broker.model import BrokerModel
from msglog.broker.publishing import Publishing
from msglog.broker.queue import Queue
from msglog.broker.subscriber import Subscriber, Taken, Wait
from msglog.broker.vhost import VirtualHost
from msglog.broker.vhost.publishing import Route
from msglog.checks import MAX_TIMEOUT_SECONDS
from msglog.compiled import is_made_of, is_wanted
from msglog.cursors import Cursor, OffsetRanges
from msglog.errors import ClosedError
from msglog.storage import Stream

try:
    from msglog.broker import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

SOURCE = Path(__file__).with_name("_compiled.c")
_CLASSES = (
    BrokerHandle,
    Connection,
    BrokerModel,
    Route,
    Lane,
    Stream,
    Cursor,
    OffsetRanges,
    VirtualHost,
    Queue,
    Line,
    Subscriber,
    Terms,
    Delivery,
    Wait,
    Taking,
    Stored,
    Taken,
    deque,
    type(Lock()),
)


def is_compiled() -> bool:
    """Return whether the compiled methods are there, and not left over from another version of their source."""
    return _compiled is not None and is_made_of(_compiled, SOURCE)


def put_in_front() -> None:
    """Let calls of the methods go to the compiled ones first, where those are there and wanted."""
    if is_compiled() and is_wanted():
        for owner, name, method in short_ways(_compiled):
            setattr(owner, name, method)


def short_ways(module: Any) -> Iterator[tuple[type, str, Any]]:
    """Yield the methods of a compiled module, each with the class and the name of the Python method it precedes."""
    module.set_up(_CLASSES, ClosedError, KEPT_MESSAGES, KEPT_BYTES)
    yield Publishing, "publish", module.before_publish(unwrap(Publishing.publish))
    yield Delivery, "ack", module.before_ack(unwrap(Delivery.ack))
    yield Consuming, "get", _get_of_broker(module, unwrap(Consuming.get))
    yield Taking, "_take_in_turn", module.before_take_in_turn(unwrap(Taking._take_in_turn))  # noqa: SLF001 the package's
    yield Line, "wake", module.before_wake(unwrap(Line.wake))
    yield QueueConsumer, "get", _get_of_consumer(module, unwrap(QueueConsumer.get))


def _get_of_broker(module: Any, method: Callable[..., Delivery | None]) -> Callable[..., Delivery | None]:
    delivery_for_get, fill = module.delivery_for_get, module.fill

    @wraps(method)
    def get(self: Consuming, queue: Any, *, timeout: Any = 0, no_ack: Any = False) -> Delivery | None:
        delivery: Delivery | None = delivery_for_get(self, queue, timeout, no_ack)
        if delivery is not None:
            try:
                if fill(delivery):
                    return delivery
            except BaseException:  # of a signal handler: nobody gets what was taken
                delivery.put_back()
                raise
        return method(self, queue, timeout=timeout, no_ack=no_ack)

    return get


def _get_of_consumer(module: Any, method: Callable[..., Delivery | None]) -> Callable[..., Delivery | None]:
    delivery_for, fill, longest = module.delivery_for, module.fill, int(MAX_TIMEOUT_SECONDS)

    @wraps(method)
    def get(self: QueueConsumer, timeout: Any = None) -> Delivery | None:
        if (timeout is None or (timeout.__class__ is int and 0 <= timeout <= longest)) and not self.stopped:
            delivery: Delivery | None = delivery_for(self.terms, self)
            if delivery is not None:
                try:
                    if fill(delivery):
                        return delivery
                except BaseException:
                    delivery.put_back()
                    raise
        return method(self, timeout)

    return get
