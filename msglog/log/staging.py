"""The log's part of a transaction: records, offsets and share records, and how they become part of one commit.

Collecting checks what can be checked and changes nothing. `prepare` comes before the locks; `is_ready`, `fill` and
`written` follow each other under the lock of the share groups and the store lock, where everything is decided against
the assigned state. Invariant: until the commit is written, dropping it leaves nothing behind. Imported by the
transactions.
"""

from collections.abc import Iterable, Mapping, Sequence
from threading import Lock
from typing import Any, NamedTuple, Self

from msglog.checks import check_integer, refused
from msglog.cursors import CursorModel
from msglog.errors import SettlementError
from msglog.log import batches, placing
from msglog.log.batches import Batch
from msglog.log.consumer import Consumer
from msglog.log.consumer_arguments import check_offsets
from msglog.log.coordination import Coordination
from msglog.log.group_offsets import StagedOffsets
from msglog.log.model import LogModel
from msglog.log.producer import Producer
from msglog.log.rules.names import check_group_name
from msglog.log.share.record import Ending, ShareRecord
from msglog.log.share.sharing import Sharing
from msglog.storage import Commit
from msglog.store import StoreCore
from msglog.types import Record, RecordMetadata, TopicPartition

_new_tuple = tuple.__new__  # half of what the constructor costs


_Placed = tuple[Batch, dict[int, range]]


class Append(NamedTuple):
    """One call: its batch, and the first sequence number if one was given."""

    batch: Batch
    sequence: int | None


class _Settlement(NamedTuple):
    """What becomes of a share record."""

    record: ShareRecord
    ending: Ending


class LogStage:
    """Appends, offsets and settlements of one transaction."""

    __slots__ = (
        "_appends",
        "_claimed",
        "_core",
        "_engine",
        "_events",
        "_model",
        "_now_ms",
        "_offsets",
        "_outcomes",
        "_placed",
        "_producer",
        "_settlements",
    )

    def __init__(self, core: StoreCore, producer: Producer | None) -> None:
        # What the last `fill` decided.
        self._placed: Sequence[_Placed] = ()
        self._events: Sequence[list[Any] | None] = ()
        # Where the records are: batches that were placed, in between duplicates of earlier ones.
        self._outcomes: Sequence[_Placed | list[RecordMetadata]] = ()
        self._core = core
        self._now_ms = core.clock.now_ms
        self._engine = engine = core.engine
        self._model: LogModel = engine.models[LogModel.section]  # type: ignore[assignment]
        self._producer = producer
        self._appends: list[Append] = []
        self._offsets: list[StagedOffsets] = []
        self._claimed: list[ShareRecord] = []
        self._settlements: list[_Settlement] = []

    @classmethod
    def of(cls, core: StoreCore, producer: Producer | None) -> Self:
        """Return a stage of an open store.

        Raises `InvalidOptionError` for a producer of another store, `ClosedError`, `FencedError`.
        """
        if producer is not None:
            if not isinstance(producer, Producer) or producer.engine is not core.engine:
                raise refused("producer", producer, "None or a Producer of the same store")
            producer.last_sequence  # noqa: B018 - raises when it was closed or fenced
        return cls(core, producer)

    @property
    def lock(self) -> Lock:
        """The lock of the share groups; one of its own where they are not concerned."""
        return Sharing.of(self._core).lock if self._settlements else Lock()

    @property
    def metadata(self) -> list[RecordMetadata]:
        """Where the records are, in the order of the calls, once the commit is written."""
        found: list[RecordMetadata] = []
        for outcome in self._outcomes:
            if isinstance(outcome, list):
                found += outcome
            else:
                batch, placed = outcome
                found += batch.metadata(placed)
        return found

    # Collecting

    def append(
        self,
        topic: str,
        value: bytes | None,
        sequence: int | None,
        key: bytes | None,
        headers: object,
        partition: int | None,
        timestamp_ms: int | None,
        expected_offset: int | None,
        expected_key_offset: int | None,
    ) -> int:
        """Take a record in; return its size in bytes. Raises as `Log.append` does, but for what the commit finds."""
        model = self._model
        found = model.topics.get(topic) if type(topic) is str else None
        if found is None:
            found = model.topic(topic)
        now_ms = self._now_ms()
        if (
            sequence is None
            and type(headers) is tuple
            and not headers
            and timestamp_ms is None
            and expected_offset is None
            and expected_key_offset is None
        ):
            plain = batches.plain_batch(found, now_ms, value, key, partition)
            if plain is not None:
                self._appends.append(_new_tuple(Append, (plain, None)))
                return plain.pieces[0][1].size
        if sequence is not None:
            self._check_sequence("sequence", sequence)
        batch = batches.batch_of_one(
            found,
            now_ms,
            value,
            key=key,
            headers=headers,
            partition=partition,
            timestamp_ms=timestamp_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        return self._take(batch, sequence)

    def append_many(
        self, topic: str, values: Iterable[bytes | None], first_sequence: int | None, **options: Any
    ) -> int:
        """Take records in; return their size. Raises as `Log.append_many` does, but for what the commit finds."""
        self._check_sequence("first_sequence", first_sequence)
        batch = batches.batch_of_many(self._model.topic(topic), self._core.clock.now_ms(), values, **options)
        return self._take(batch, first_sequence)

    def _check_sequence(self, option: str, sequence: int | None) -> None:
        if sequence is not None:
            check_integer(option, sequence, 0)
            if self._producer is None:
                raise refused(option, sequence, "None in a transaction without a producer")

    def _take(self, batch: Batch, sequence: int | None) -> int:
        pieces = batch.pieces
        if not pieces:
            return 0
        self._appends.append(_new_tuple(Append, (batch, sequence)))
        return pieces[0][1].size if len(pieces) == 1 else sum([body.size for _, body in pieces])

    def commit_offsets(
        self,
        consumer_or_group: Consumer | str,
        upto: Record | Mapping[TopicPartition, int] | None,
    ) -> None:
        """Take offsets in, as they are now. Raises as `Consumer.commit` does, but for what the commit finds."""
        if isinstance(consumer_or_group, Consumer):
            if consumer_or_group.engine is not self._engine:
                raise refused("consumer_or_group", consumer_or_group, "a consumer of the same store")
            staged = consumer_or_group.stage_commit(upto)
        else:
            group = check_group_name(consumer_or_group)
            if upto is None:
                raise refused("upto", upto, "a Record or a mapping of offsets: a group by its name has no position")
            coordination = Coordination.of(self._core)
            staged = _new_tuple(StagedOffsets, (coordination, group, None, check_offsets("upto", upto), None))
        if staged.offsets:
            self._offsets.append(staged)

    def settle(self, record: ShareRecord, ending: Ending) -> None:
        """Take the settlement of a share record in. Raises `SettlementError`, also for one of another store."""
        if record.sharing is not Sharing.of(self._core):
            raise SettlementError("the record is of another store than the transaction")
        self._claimed.append(record)  # first of all: whatever strikes, the end lets go of it
        record.stage(self)
        self._settlements.append(_Settlement(record, ending))

    # The commit

    def prepare(self) -> None:
        """Find out what placing needs to know from disk; without locks, perhaps again and again."""
        for batch, _ in self._appends:
            if not batch.plain or not batch.topic.indexes.empty:
                placing.prepare(batch)

    def is_ready(self) -> bool:
        """Whether what `prepare` found still holds. Under the store lock."""
        for batch, _ in self._appends:  # noqa: SIM110 a generator takes longer than what it asks for
            if not batch.plain and not placing.is_ready(batch):
                return False
        return True

    def fill(self, commit: Commit) -> None:
        """Decide, and make everything part of a commit, under both locks.

        Raises `FencedError` and `GroupError` for the producer and the groups, `OffsetConflictError`,
        `TopicNotFoundError`, `PartitionNotFoundError`, `OffsetOutOfRangeError`, and `SettlementError` for a record that
        is no longer in its consumer's hand.
        """
        self._events = ()
        if self._settlements:
            self._events = [record.settlement(ending) for record, ending in self._settlements]
            for event in self._events:
                if event is not None:
                    commit.record(CursorModel.section, event)
        producer = self._producer
        if producer is None:
            placed: list[_Placed] = []
            for batch, _ in self._appends:
                if batch.plain and not batch.topic.deleted:
                    partition, body = batch.pieces[0]
                    base_offset = commit.append(batch.topic.partitions[partition], body)
                    placed.append((batch, {partition: range(base_offset, base_offset + 1)}))
                else:
                    placed.append((batch, self._place(commit, batch)))
            self._placed = self._outcomes = placed
        else:
            self._place_sequenced(commit, producer)
        for coordination, group, seat, offsets, _ in self._offsets:
            coordination.stage(commit, group, seat, offsets)

    def _place(self, commit: Commit, batch: Batch) -> dict[int, range]:
        refusal = placing.find_refusal(batch, commit)
        if refusal is not None:
            raise refusal
        return placing.place(commit, batch, self._engine.clock.now_ms())

    def _place_sequenced(self, commit: Commit, producer: Producer) -> None:
        """Place each batch, or find where it was written before."""
        last_sequence = producer.check_holder()
        all_placed: list[_Placed] = []
        outcomes: list[_Placed | list[RecordMetadata]] = []
        self._placed, self._outcomes = all_placed, outcomes
        for batch, sequence in self._appends:
            outcome = producer.stage(commit, batch, sequence, last_sequence)
            if outcome.duplicate:
                found = [
                    RecordMetadata(batch.topic.name, partition, offset, outcome.timestamp_ms, duplicate=True)
                    for partition, offsets in outcome.placed.items()
                    for offset in offsets
                ]
                outcomes.append(found)
                continue
            last_sequence = outcome.last_sequence
            all_placed.append((batch, outcome.placed))
            outcomes.append((batch, outcome.placed))

    def written(self) -> None:
        """The commit is written: let indexes, groups and records follow. Under both locks."""
        for batch, placed in self._placed:
            if not batch.topic.indexes.empty:
                placing.note(batch, placed)
        for coordination, group, _, offsets, group_offsets in self._offsets:
            if group_offsets is not None:
                group_offsets.note(offsets)
            coordination.tell_observers(group)
        for (record, _), event in zip(self._settlements, self._events, strict=True) if self._settlements else ():
            record.settle_staged(event)
            record.staged(self, settled=True)

    def failed(self) -> None:
        """An exception struck, before the commit or after it: let records follow if it is written. Under both locks."""
        if self._events:  # all were in hand when it was decided
            for record, _ in self._settlements:
                if not record.in_hand:
                    record.staged(self, settled=True)

    def end(self) -> None:
        """The transaction is over: what it did not settle can be settled otherwise. Again, it does nothing."""
        if self._claimed:
            for record in self._claimed:
                record.staged(self, settled=False)
            self._claimed.clear()
        # Whoever keeps the transaction may ask for its metadata; nobody needs the records any more.
        for batch, _ in self._appends:
            batch.drop_data()
        self._appends.clear()
        self._offsets.clear()
        self._settlements.clear()
