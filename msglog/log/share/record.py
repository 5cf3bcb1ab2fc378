"""A record in a share consumer's hand, and what can be done with it. Exported by `msglog`."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

from msglog.errors import SettlementError
from msglog.log.share.group import Batch
from msglog.log.share.partition import SharePartition, Taken
from msglog.log.share.sharing import Sharing
from msglog.types import Record

if TYPE_CHECKING:
    from msglog.log.share.consumer import ShareConsumer

_DONE: Final = "the record was settled or released already"


class ShareRecord(Record):
    """A record that was handed out under a lock: settle it by `ack` or `reject`, or `release` it.

    To compare, hash, copy and pickle it is the plain `Record`. `delivery_count`: how often it was handed out, 1 at
    first (Kafka's `deliveryCount`). Settling never waits: it is written when it returns and survives a kill of the
    process; a power cut before the next sync, at most `sync_interval_ms` later, delivers the record again.

    Safe for any thread. A live record keeps its consumer from being collected.
    """

    delivery_count: int
    _settled: bool
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
        """Whether this was settled or released, here or in a transaction."""
        return self._settled

    def ack(self) -> None:
        """Settle it: the work is done, and the group gets it no more.

        Raises `SettlementError` when it was settled or released, when its lock has expired, or when its consumer was
        closed; then it may be in somebody else's hand. `DiskFullError`, `StoreFailedError`, `ClosedError`.
        """
        self._end(self._sharing.settle)

    def reject(self) -> None:
        """Settle it without the work being done: nobody in the group will get it again. Raises as `ack` does."""
        self._end(self._sharing.settle)

    def release(self) -> None:
        """Make it available again at once, to any member; its lowest offset comes first.

        What was handed out `delivery_limit` times is settled instead, as by `reject`. Raises as `ack` does.
        """
        self._end(self._sharing.release)

    @property
    def sharing(self) -> Sharing:
        """The share groups that it belongs to; not public."""
        return self._sharing

    def stage(self) -> list[Any]:
        """Return the event that settles it, for a commit that is made under the lock of `sharing`; not public.

        Raises as `ack` does. `staged` is to be called once the commit is written.
        """
        if self._settled:
            raise SettlementError(_DONE)
        self._sharing.check_in_hand(self._batch, self._partition, self.offset)
        return self._sharing.settlement(self._partition, self.offset)

    def staged(self) -> None:
        """Note that the commit with the event of `stage` is written, still under the lock; not public."""
        self._batch.drop(self._partition, self.offset)
        self._settled = True

    def _end(self, step: Callable[[Batch, SharePartition, int], None]) -> None:
        if self._settled:
            raise SettlementError(_DONE)
        step(self._batch, self._partition, self.offset)
        self._settled = True

    def __reduce__(self) -> tuple[type[Record], tuple[object, ...]]:
        return Record, tuple(self)

    def __repr__(self) -> str:
        return f"Share{super().__repr__()}"
