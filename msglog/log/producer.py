"""A named producer: appends that may be repeated after any failure without being written twice.

A name has one holder at a time. Opening it again fences the holder before, durably, so that a process
believed dead cannot go on writing. Its sequence numbers rise by one with each record, over all topics, and
are stored in the same commit as the records. Imported by `log`.
"""

import logging
import warnings
from collections.abc import Iterable
from threading import Lock, get_ident
from types import TracebackType
from typing import NamedTuple, Self, cast

from msglog.checks import check_integer, show
from msglog.errors import (
    ClosedError,
    FencedError,
    GroupError,
    InvalidNameError,
    MsglogError,
    OffsetConflictError,
    TopicNotFoundError,
)
from msglog.log import batches, placing
from msglog.log.appending import HeadersArgument
from msglog.log.batches import Batch
from msglog.log.model import LogModel
from msglog.log.producers import ProducerState, SequencedBatch
from msglog.log.rules.names import check_group_name
from msglog.showing import one_line
from msglog.storage import Commit, Engine
from msglog.store import StoreCore
from msglog.types import RecordMetadata


class Outcome(NamedTuple):
    """Where a batch is: now or, for a duplicate, since it was first sent. `last_sequence`: of its records."""

    placed: dict[int, range]
    timestamp_ms: int
    last_sequence: int
    duplicate: bool


class _Turn:
    """One thread at a time: another one that comes in between is refused, not made to wait.

    The same thread always gets in, so an interrupt that keeps `__exit__` from running does no harm.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()
        self._thread: int | None = None

    def __enter__(self) -> None:
        me = get_ident()
        with self._lock:
            if self._thread not in (None, me):
                raise GroupError(f"producer {self._name!r} is in use by another thread", producer=self._name)
            self._thread = me

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread = None


logger = logging.getLogger("msglog.producers")


class Producer:
    """The holder of a producer's name. Made by `Log.producer`; a context manager.

    For one thread at a time: a call while another thread is in one raises `GroupError`, a `RuntimeError`.
    After any error with an unknown outcome, a timeout or a restart, send the same records with the same
    sequence numbers again: they are written once. Source: Kafka's idempotent producer; sequence numbers here
    are the user's, and run over all topics. One that is collected unclosed warns (`ResourceWarning`).
    """

    _closed = True  # until it is complete: what fails on the way needs no closing

    def __init__(self, core: StoreCore, name: str) -> None:
        self._engine: Engine = core.engine
        self._clock = core.clock
        self._model = cast(LogModel, core.engine.models[LogModel.section])
        self._name = _check_name(name)
        self._turn = _Turn(name)
        self._epoch = self._take_name()
        self._closed = False

    @property
    def name(self) -> str:
        """The producer's name."""
        return self._name

    @property
    def last_sequence(self) -> int:
        """The last sequence number written under this name, -1 before the first.

        Raises `FencedError`, `ClosedError`.
        """
        self._check_open()
        with self._engine.lock:
            self._engine.begin()  # finishes a commit that was interrupted
            return self._state().last_sequence

    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        sequence: int | None = None,
    ) -> RecordMetadata:
        """Append one record as `Log.append` does, at most once for each sequence number.

        `sequence`: 0 or more; None is the one after `last_sequence`. One that was written before returns
        where the record is, with `duplicate=True`, as long as it is among the last 64 batches; expectations are
        not looked at then.

        Raises `GroupError` for a gap, for a number that is no longer remembered or was sent otherwise,
        `FencedError` once somebody else holds the name, and what `Log.append` raises.
        """
        with self._turn:
            self._check_open()
            now_ms = self._clock.now_ms()
            batch = batches.batch_of_one(
                self._model.topic(topic),
                now_ms,
                value,
                key=key,
                headers=headers,
                partition=partition,
                timestamp_ms=timestamp_ms,
                expected_offset=expected_offset,
                expected_key_offset=expected_key_offset,
            )
            outcome = self._write(batch, sequence, "sequence")
        ((number, offsets),) = outcome.placed.items()
        return RecordMetadata(topic, number, offsets.start, outcome.timestamp_ms, outcome.duplicate)

    def append_many(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        keys: Iterable[bytes | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        first_sequence: int | None = None,
    ) -> dict[int, range]:
        """Append many records as `Log.append_many` does, at most once for each batch of sequence numbers.

        `first_sequence` is the first record's number; the others follow. A batch that was written before,
        with the same first number and as many records, returns the offsets it has. Raises as `append` does.
        """
        with self._turn:
            self._check_open()
            batch = batches.batch_of_many(
                self._model.topic(topic),
                self._clock.now_ms(),
                values,
                key=key,
                keys=keys,
                headers=headers,
                partition=partition,
                timestamps_ms=timestamps_ms,
                expected_offset=expected_offset,
                expected_key_offset=expected_key_offset,
            )
            return self._write(batch, first_sequence, "first_sequence").placed

    @property
    def engine(self) -> Engine:
        """The engine of the store that it writes to; not public."""
        return self._engine

    def close(self) -> None:
        """End this handle; the name and its last sequence number stay. Calling again does nothing."""
        self._closed = True

    def _write(self, batch: Batch, first_sequence: int | None, option: str) -> Outcome:
        if first_sequence is not None:
            check_integer(option, first_sequence, 0)
        if not batch.pieces:
            return Outcome({}, 0, -1, duplicate=False)
        outcome: Outcome | MsglogError | None = None
        while outcome is None:
            placing.prepare(batch)
            with self._engine.lock:
                commit = self._engine.begin()
                number = self._engine.commit_number
                if placing.is_ready(batch):
                    try:
                        outcome = self.stage(commit, batch, first_sequence, self.check_holder())
                        if not outcome.duplicate:
                            number = commit.write()
                            placing.note(batch, outcome.placed)
                    except (GroupError, OffsetConflictError, TopicNotFoundError) as error:
                        outcome = error
            self._engine.wait(number)
        if isinstance(outcome, MsglogError):
            raise outcome
        return outcome

    def check_holder(self) -> int:
        """Return the last sequence number that is written, under the store lock; not public.

        Raises `FencedError` once somebody else holds the name, `ClosedError`.
        """
        self._check_open()
        return self._state().last_sequence

    def stage(self, commit: Commit, batch: Batch, first_sequence: int | None, last_sequence: int) -> Outcome:
        """Make a batch part of a commit, under the store lock, and return what becomes of it; not public.

        `last_sequence`: of what is written, or of what is part of the commit already. A duplicate adds nothing. Raises
        as `append` does.
        """
        state = self._state()
        first = last_sequence + 1 if first_sequence is None else first_sequence
        if first != last_sequence + 1:
            known = state.duplicate_of(first, batch.count, batch.topic.id)
            if known is None:
                raise state.refusal(first, f"comes twice in one transaction; the next one is {last_sequence + 1}")
            return _outcome_of(known)
        refusal = placing.find_refusal(batch, commit)
        if refusal is not None:
            raise refusal
        placed = placing.place(commit, batch, self._clock.now_ms())
        timestamp_ms = batch.pieces[0][1].timestamp_ms
        places = [[partition, offsets.start, len(offsets)] for partition, offsets in placed.items()]
        sequenced = SequencedBatch(first, batch.count, timestamp_ms, batch.topic.id, places)
        commit.record(LogModel.section, ["sequence", self._name, sequenced.packed()])
        return Outcome(placed, timestamp_ms, first + batch.count - 1, duplicate=False)

    def _take_name(self) -> int:
        """Become the holder, durably: a fenced holder must not come back with a crash."""
        with self._engine.lock:
            commit = self._engine.begin()
            known = self._model.producers.get(self._name)
            epoch = 0 if known is None else known.epoch + 1
            commit.record(LogModel.section, ["producer", self._name, epoch])
            number = commit.write()
        self._engine.wait(number)
        if self._engine.options.sync != "commit":
            self._engine.flush()
        if epoch:
            logger.info(
                "producer %r has a new holder, which fences the one before",
                self._name,
                extra={
                    "event": "taken_over",
                    "path": self._engine.directory,
                    "producer": self._name,
                    "epoch": epoch,
                },
            )
        return epoch

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"producer {self._name!r} was closed")
        self._engine.check_open()

    def _state(self) -> ProducerState:
        state = self._model.producers[self._name]
        if state.epoch != self._epoch:
            raise FencedError(
                f"producer {self._name!r} has a newer holder",
                producer=self._name,
                epoch=self._epoch,
                newer=state.epoch,
            )
        return state

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._closed and not self._engine.closed:  # a forked child finds its parent's engine closed
            warnings.warn(f"unclosed {self!r}", ResourceWarning, stacklevel=2, source=self)

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.Producer {self._name!r} epoch={self._epoch} {self._tell()}>"

    def _tell(self) -> str:
        if self._closed or self._engine.closed:
            return "closed"
        state = self._model.producers[self._name]
        return f"last_sequence={state.last_sequence}" if state.epoch == self._epoch else "fenced"


def _outcome_of(batch: SequencedBatch) -> Outcome:
    placed = {partition: range(base, base + count) for partition, base, count in batch.places}
    last_sequence = batch.first_sequence + batch.count - 1
    return Outcome(placed, batch.timestamp_ms, last_sequence, duplicate=True)


def _check_name(name: object) -> str:
    """Return a producer's name; the rules are those for groups. Raises `InvalidNameError`."""
    try:
        return check_group_name(name)
    except InvalidNameError as error:
        message = f"{show(name)} is not a producer's name; allowed: {error.allowed}"
        raise InvalidNameError(message, name=error.name, allowed=error.allowed) from None
