"""The step from bytes to objects, for tasks: what a user's callable returns for bytes that do not decode is awaited.

Invariant: a task that is cancelled there has not dealt with the record or message; it comes again. Imported by views.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isawaitable
from typing import Generic, TypeVar

from msglog.aio.iterating import Stepping
from msglog.aio.tasks import Cancellations
from msglog.broker import Message, TypedMessage
from msglog.broker.typed import MessageCodec
from msglog.errors import DecodeError
from msglog.log import TypedRecord
from msglog.log.typed import RecordCodec
from msglog.types import Record

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
R = TypeVar("R")


async def answer(told: object) -> None:
    """Wait for what a user's callable returned, if that can be awaited. A cancellation that it loses is one."""
    if isawaitable(told):
        cancellations = Cancellations()
        await told
        await cancellations.raise_lost()


async def decoded(codec: RecordCodec[K, V], record: Record) -> TypedRecord[K, V] | None:
    """Return a record with objects, None for one that is left out: as `RecordCodec.decode_or_handle` for threads."""
    try:
        return codec.decode(record)
    except DecodeError as error:
        await answer(codec.tell(error))
        codec.leave_out(error)
        return None


async def looked_at(codec: MessageCodec[T], message: Message) -> TypedMessage[T] | None:
    """Return a message that was only looked at, None likewise: as `MessageCodec.decode_or_handle` for threads."""
    try:
        return codec.decode(message)
    except DecodeError as error:
        await answer(codec.tell(error))
        return None


def _not_the_end(error: StopAsyncIteration) -> RuntimeError:
    """Return what Python makes of one that a generator's code raises: it must not pass for the end of an iteration."""
    return RuntimeError(f"on_decode_error raised {type(error).__name__}")


class Decoding(Stepping, Generic[R, T]):
    """An asynchronous iterator over objects, without those that are left out; an error leaves it ready for the next.

    `decode` returns None for what is left out. `put_back`: called with what a step was cancelled for; without one it is
    kept for the next step.
    """

    def __init__(
        self,
        items: AsyncIterator[R],
        decode: Callable[[R], Awaitable[T | None]],
        put_back: Callable[[R], None] | None = None,
    ) -> None:
        self._items = items
        self._decode = decode
        self._put_back = put_back or self._keep
        self._kept: list[R] = []

    def _keep(self, item: R) -> None:
        self._kept.append(item)

    async def __anext__(self) -> T:
        while True:
            item = self._kept.pop() if self._kept else await anext(self._items)
            try:
                found = await self._decode(item)
            except StopAsyncIteration as error:
                raise _not_the_end(error) from error
            except Exception:
                raise
            except BaseException:
                self._put_back(item)
                raise
            if found is not None:
                return found


class Calling(Stepping, Generic[T]):
    """An asynchronous iterator over what a call returns, until that is None."""

    def __init__(self, call: Callable[[], Awaitable[T | None]]) -> None:
        self._call = call

    async def __anext__(self) -> T:
        await self._breathe()
        try:
            found = await self._call()
        except StopAsyncIteration as error:
            raise _not_the_end(error) from error
        if found is None:
            raise StopAsyncIteration
        return found
