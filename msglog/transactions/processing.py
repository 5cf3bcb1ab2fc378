"""Consume, transform, produce: each message of a source is processed exactly once.

A handler gets a transaction and a message; what it writes, and that the message is done with, is one commit. So however
often it is called (after a failure, after a kill at any point), its effects in the store are there once. What failed is
tried again after a back-off, and given up as a dead letter when the retries are used up. Runs in the thread that calls
it; several threads or consumers share the work as the source allows. Imported by the package.
"""

from collections.abc import Callable
from typing import Any

from msglog.broker import QueueConsumer, TypedQueueConsumer
from msglog.checks import check_handler, check_timeout, refused, wrong_type
from msglog.log import Consumer, ShareConsumer, TypedConsumer, TypedShareConsumer
from msglog.retry import Retry
from msglog.store import Store
from msglog.transactions.scope import check_outside
from msglog.transactions.sources import ConsumerSource, Handler, QueueSource, ShareSource, Source
from msglog.transactions.transaction import Transaction

_SOURCES = ((Consumer, ConsumerSource), (QueueConsumer, QueueSource), (ShareConsumer, ShareSource))


def process(
    store: Store,
    source: Any,
    handler: Handler,
    *,
    retry: Retry | None,
    timeout: float | None,
    dead_letter: str | None,
) -> int:
    """Do what `Store.process` says."""
    retry = Retry() if retry is None else retry
    check_handler("handler", handler, "a Transaction", "a message")
    if not isinstance(retry, Retry):
        raise wrong_type("retry", retry, "a Retry")
    seconds = check_timeout(timeout)
    check_outside(store.core)  # else each message would fail, and be given up unseen
    if isinstance(source, TypedConsumer | TypedQueueConsumer | TypedShareConsumer):
        source, handler = source.raw, _of_typed(source, handler)
    return _source_of(store, source, handler, retry, dead_letter).run(seconds)


def _of_typed(
    source: TypedConsumer[Any, Any] | TypedQueueConsumer[Any] | TypedShareConsumer[Any, Any], handler: Handler
) -> Handler:
    """Return a handler of what a source takes, for one of objects. What does not decode is as if the handler failed."""

    def decode_and_handle(tx: Transaction, message: Any) -> object:
        typed = source.typed(message)
        return None if typed is None else handler(tx, typed)

    return decode_and_handle


def _source_of(store: Store, source: Any, *arguments: Any) -> Source:
    for kind, make in _SOURCES:
        if isinstance(source, kind):
            if source.engine is not store.core.engine:
                raise refused("source", source, "a source of the same store")
            made: Callable[..., Source] = make
            return made(store, source, *arguments)
    raise wrong_type("source", source, "a Consumer with a group, a QueueConsumer or a ShareConsumer")
