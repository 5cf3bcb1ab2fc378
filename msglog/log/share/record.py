"""A record in a share consumer's hand, and what can be done with it. Exported by `msglog`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from msglog.errors import SettlementError
from msglog.log.share.group import Batch
from msglog.log.share.partition import SharePartition, Taken
from msglog.log.share.sharing import Sharing
from msglog.showing import one_line
from msglog.types import Record

if TYPE_CHECKING:
    from msglog.log.share.consumer import ShareConsumer

Ending = Literal["ack", "reject", "release"]
"""What a transaction does with a record."""

_DONE: Final = "the record was settled or released already"
_STAGED: Final = "the record is part of a transaction that has not ended"


class ShareRecord(Record):
    """A record that was handed out under a lock: settle it by `ack` or `reject`, or `release` it.

    To compare, hash, copy and pickle it is the plain `Record`. `delivery_count`: how often it was handed out, 1 at
    first (Kafka's `deliveryCount`). Settling never waits: it is written when it returns and survives a kill of the
    process; a power cut before the next sync, at most `sync_interval_ms` later, delivers the record again.

    Safe for any thread. A live record keeps its consumer from being collected.
    """

    delivery_count: int
    # True, or the transaction that will settle it: that, too, leaves nothing to be done here.
    _settled: object
    _sharing: Sharing
    _batch: Batch
    _partition: SharePartition
    _keeper: "ShareConsumer"

    @classmethod
    def handed_out(cls, taken: Taken, sharing: Sharing, batch: Batch, keeper: "ShareConsumer") -> Self:
        """Make one; not public."""
        record = tuple.__new__(cls, taken.record)
        record.delivery_count = taken.times
        record._settled = False  # noqa: SLF001 its own
        record._sharing = sharing  # noqa: SLF001
        record._batch = batch  # noqa: SLF001
        record._partition = taken.partition  # noqa: SLF001
        record._keeper = keeper  # noqa: SLF001
        return record

    # What is derived from a record cannot be settled.
    _make = Record._make  # type: ignore[assignment]

    @property
    def settled(self) -> bool:
        """Whether this was settled or released, here or in a transaction that was committed."""
        return self._settled is True

    def ack(self) -> None:
        """Settle it: the work is done, and the group gets it no more.

        Raises `SettlementError` when it was settled or released, when its lock has expired, or when its consumer was
        closed; then it may be in somebody else's hand. `DiskFullError`, `StoreFailedError`, `ClosedError`.
        """
        self._end(self._sharing.settle)

    def reject(self) -> None:
        """Settle it without the work being done: nobody in the group will get it again. Raises as `ack` does."""
        self._end(self._sharing.reject)

    def release(self) -> None:
        """Make it available again at once, to any member; its lowest offset comes first.

        What was handed out `delivery_limit` times is settled instead, as by `reject`. Raises as `ack` does.
        """
        self._end(self._sharing.release)

    def expire(self) -> None:
        """End its lock now: it is available again, and cannot be settled any more; not public. Raises as `ack` does."""
        self._check_unsettled()
        self._sharing.release(self._batch, self._partition, self.offset)

    @property
    def sharing(self) -> Sharing:
        """The share groups that it belongs to; not public."""
        return self._sharing

    @property
    def batch(self) -> Batch:
        """What was handed out together with it; not public."""
        return self._batch

    @property
    def pending(self) -> bool:
        """Whether it is still to be settled: not settled, nor part of a transaction; not public."""
        return self._settled is False

    @property
    def in_hand(self) -> bool:
        """Whether the group takes it for unsettled and ours, under the lock of `sharing`; not public."""
        return self._partition.cursor.unsettled.get(self.offset) is self._batch

    def stage(self, transaction: object) -> None:
        """Leave it to a transaction to settle this; not public. `staged` is to follow. Raises `SettlementError`."""
        self._check_unsettled()
        self._settled = transaction

    def staged(self, transaction: object, *, settled: bool) -> None:
        """Hear what became of the transaction, if it was this one that was to settle it; not public."""
        if self._settled is transaction:
            self._settled = settled

    def settlement(self, ending: Ending) -> list[Any] | None:
        """Return the event that settles it, None when it is only to be released; under the lock of `sharing`.

        Not public. Raises as `ack` does. `settle_staged` is to be called once a commit with the event is written.
        """
        batch, partition, offset = self._batch, self._partition, self.offset
        self._sharing.check_in_hand(batch, partition, offset)
        if ending == "release":
            if not self._sharing.is_last_delivery(batch, partition, offset):
                return None
            return self._sharing.settlement(partition, offset, "delivery_limit")
        return self._sharing.settlement(partition, offset, "acked" if ending == "ack" else "rejected")

    def settle_staged(self, event: list[Any] | None) -> None:
        """The commit with the event of `settlement` is written: let the group follow, under the lock; not public."""
        if event is None:
            self._sharing.return_to_group(self._batch, self._partition, self.offset)
        else:
            self._batch.drop(self._partition, self.offset)

    def _check_unsettled(self) -> None:
        if self._settled is True:
            raise SettlementError(_DONE)
        if self._settled is not False:
            raise SettlementError(_STAGED)

    def _end(self, step: Callable[[Batch, SharePartition, int], None]) -> None:
        self._check_unsettled()
        step(self._batch, self._partition, self.offset)
        self._settled = True

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return Record, tuple(self)

    @one_line
    def __repr__(self) -> str:
        state = "settled" if self._settled is True else "in hand" if self._settled is False else "in a transaction"
        return f"Share{super().__repr__()[:-1]}, delivery_count={self.delivery_count}, {state})"
