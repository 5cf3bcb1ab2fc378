"""Consume, transform, produce, for tasks: what `msglog.transactions.processing` is for threads. Imported by `store`."""

from typing import Any

import msglog
from msglog.aio.consumer import Consumer, ShareConsumer
from msglog.aio.queue_consumer import QueueConsumer
from msglog.aio.sources import ConsumerSource, Handler, QueueSource, ShareSource, Source
from msglog.aio.tasks import check_callback
from msglog.aio.typed import TypedConsumer, TypedQueueConsumer, TypedShareConsumer
from msglog.checks import check_timeout, refused, wrong_type
from msglog.retry import Retry
from msglog.transactions.scope import check_outside


async def process(
    store: msglog.Store,
    source: Any,
    handler: Handler,
    *,
    retry: Retry | None,
    timeout: float | None,
    dead_letter: str | None,
) -> int:
    """Do what `Store.process` says."""
    retry = Retry() if retry is None else retry
    check_callback("handler", handler, "a Transaction", "a message")
    if not isinstance(retry, Retry):
        raise wrong_type("retry", retry, "a Retry")
    seconds = check_timeout(timeout)
    check_outside(store.core)  # else each message would fail, and be given up unseen
    if isinstance(source, TypedConsumer | TypedQueueConsumer | TypedShareConsumer):
        source, handler = source.raw, _of_typed(source, handler)
    return await _source_of(store, source, handler, retry, dead_letter).run(seconds)


def _of_typed(
    source: TypedConsumer[Any, Any] | TypedQueueConsumer[Any] | TypedShareConsumer[Any, Any], handler: Handler
) -> Handler:
    """Return a handler of what a source takes, for one of objects. What does not decode is as if the handler failed."""

    async def decode_and_handle(tx: msglog.Transaction, message: Any) -> None:
        typed = await source.typed(message)
        if typed is not None:
            await handler(tx, typed)

    return decode_and_handle


def _source_of(store: msglog.Store, source: Any, handler: Handler, retry: Retry, dead_letter: str | None) -> Source:
    if not isinstance(source, Consumer | QueueConsumer | ShareConsumer):
        raise wrong_type("source", source, "a Consumer with a group, a QueueConsumer or a ShareConsumer of msglog.aio")
    if source.sync.engine is not store.core.engine:
        raise refused("source", source, "a source of the same store")
    if isinstance(source, Consumer):
        return ConsumerSource(store, source, handler, retry, dead_letter)
    if isinstance(source, QueueConsumer):
        return QueueSource(store, source, handler, retry, dead_letter)
    return ShareSource(store, source, handler, retry, dead_letter)
