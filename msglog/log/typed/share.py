"""Members of share groups that get records with objects in them. Exported by `msglog`; imported by `topic`."""

from collections import deque
from collections.abc import Iterator
from time import monotonic
from types import TracebackType
from typing import Generic, Self, TypeVar

from msglog.checks import check_integer, check_timeout
from msglog.log.consumer import MAX_RECORDS
from msglog.log.share.consumer import ShareConsumer
from msglog.log.share.record import ShareRecord
from msglog.log.typed.record import RecordCodec, TypedRecord
from msglog.types import Headers
from msglog.waiting import deadline_after

K = TypeVar("K")
V = TypeVar("V")


class TypedShareRecord(Generic[K, V]):
    """A record in a share consumer's hand, with objects: `key`, `value`, and `raw`, the `ShareRecord`.

    Settle it by `ack` or `reject`, or `release` it, here or by `raw`.
    """

    __slots__ = ("key", "raw", "value")

    def __init__(self, decoded: TypedRecord[K, V], raw: ShareRecord) -> None:
        self.key: K | None = decoded.key
        self.value: V | None = decoded.value
        self.raw: ShareRecord = raw

    @property
    def topic(self) -> str:
        """The topic."""
        return self.raw.topic

    @property
    def partition(self) -> int:
        """The partition."""
        return self.raw.partition

    @property
    def offset(self) -> int:
        """The offset."""
        return self.raw.offset

    @property
    def timestamp_ms(self) -> int:
        """The producer's time or the append time, as the topic says."""
        return self.raw.timestamp_ms

    @property
    def headers(self) -> Headers:
        """The headers, as bytes."""
        return self.raw.headers

    @property
    def tombstone(self) -> bool:
        """Whether the record has no value."""
        return self.raw.value is None

    @property
    def delivery_count(self) -> int:
        """How often it was handed out, 1 at first."""
        return self.raw.delivery_count

    @property
    def settled(self) -> bool:
        """Whether this was settled or released."""
        return self.raw.settled

    def ack(self) -> None:
        """Settle it: the work is done. See `ShareRecord.ack`."""
        self.raw.ack()

    def reject(self) -> None:
        """Settle it without the work being done. See `ShareRecord.reject`."""
        self.raw.reject()

    def release(self) -> None:
        """Make it available again at once. See `ShareRecord.release`."""
        self.raw.release()

    def __repr__(self) -> str:
        return f"Typed{self.raw!r}"


class TypedShareConsumer(Generic[K, V]):
    """A member of a share group, for objects; made by `TypedTopic.share_consumer`. See `ShareConsumer`.

    `raw`: the consumer itself. A record that does not decode is in hand: `error.record` of the `DecodeError` can be
    settled or released. Where `on_decode_error` leaves it out, it is rejected. Safe for any number of threads; a
    context manager.
    """

    def __init__(self, consumer: ShareConsumer, codec: RecordCodec[K, V]) -> None:
        self.raw: ShareConsumer = consumer
        self._codec = codec
        # In hand, behind one that does not decode: a later call hands them out. Appending and popping are atomic.
        self._held: deque[ShareRecord] = deque()

    def typed(self, record: ShareRecord) -> TypedShareRecord[K, V] | None:
        """Return a record of `raw` with objects, None for one that is left out; not public."""
        decoded = self._codec.decode_or_handle(record)
        return None if decoded is None else TypedShareRecord(decoded, record)

    def poll(self, timeout: float | None = None, max_records: int = MAX_RECORDS) -> list[TypedShareRecord[K, V]]:
        """Return the next records, waiting up to `timeout` seconds for the first; an empty list after that.

        See `ShareConsumer.poll`. Raises `DecodeError`, as `on_decode_error` says, when no record came before; the next
        call goes on behind it.
        """
        seconds = check_timeout(timeout)
        check_integer("max_records", max_records, 1)
        deadline = deadline_after(seconds)
        while True:
            left = seconds if deadline is None or not seconds else max(0.0, deadline - monotonic())
            taken = self.take_held(max_records) or self.raw.poll(left, max_records)
            records = self._decode_all(taken)
            if records or not taken:
                return records

    def take_held(self, limit: int) -> list[ShareRecord]:
        """Return records that an earlier call kept (`hold`), up to a limit; not public."""
        taken: list[ShareRecord] = []
        while self._held and len(taken) < limit and not self.raw.stopped:
            try:
                record = self._held.popleft()
            except IndexError:  # another thread has it
                break
            if record.pending:
                taken.append(record)
        return taken

    def hold(self, records: list[ShareRecord]) -> None:
        """Keep records in hand for a later call; not public."""
        self._held.extend(records)

    def _decode_all(self, taken: list[ShareRecord]) -> list[TypedShareRecord[K, V]]:
        records: list[TypedShareRecord[K, V]] = []
        for place, record in enumerate(taken):
            try:
                typed = self.typed(record)
            except Exception:
                self.hold(taken[place:] if records else taken[place + 1 :])
                if records:
                    return records  # the error comes with a later call
                raise
            except BaseException:  # an interrupt: nobody gets any of them
                self.hold(taken)
                raise
            if typed is not None:
                records.append(typed)
        return records

    def iter(self, timeout: float | None = None) -> Iterator[TypedShareRecord[K, V]]:
        """Return an iterator over records, as `ShareConsumer.iter` does.

        Raises what `poll` raises; after a `DecodeError` the next step goes on with the next record.
        """
        check_timeout(timeout)
        self.raw.iter(timeout)  # raises when it was closed
        return iter(lambda: next(iter(self.poll(timeout, 1)), None), None)

    def __iter__(self) -> Iterator[TypedShareRecord[K, V]]:
        return self.iter()

    def stop(self) -> None:
        """Hand out nothing more. See `ShareConsumer.stop`."""
        self.raw.stop()

    def close(self) -> None:
        """Leave the group; what is in hand is available again. Calling again does nothing."""
        self.raw.close()

    def __enter__(self) -> Self:
        self.raw.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<msglog.TypedShareConsumer {self.raw!r}>"
