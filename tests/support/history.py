"""The history of a store: what it may hold after a crash, and what it must.

A `History` is the list of states a store went through, one after each commit, with the moment (a number of
recorded operations) at which each commit began, was written, and had to be durable. After a crash a store
must be in one of these states as a whole, neither older than what its sync mode promised by then nor newer
than what had begun: that is a prefix of the commit history, with transactions whole, nothing twice, nothing
invented, nothing reordered.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from msglog.storage import Engine, Stream
from support.ledger import Ledger, digest_after


class Entry(NamedTuple):
    """One record, as readers see it."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class StreamState:
    """What one stream shows."""

    slug: str
    start: int = 0
    end: int = 0
    value_bytes: int = 0
    entries: tuple[Entry, ...] = ()

    def with_entries(self, entries: Sequence[Entry]) -> "StreamState":
        """Return the state after these were appended."""
        added = sum(len(entry.value or b"") for entry in entries)
        return replace(
            self,
            end=self.end + len(entries),
            value_bytes=self.value_bytes + added,
            entries=self.entries + tuple(entries),
        )

    def without_totals(self) -> "StreamState":
        """Return the state without its running totals."""
        return replace(self, value_bytes=0)

    def trimmed(self, start: int) -> "StreamState":
        """Return the state after what is below `start` went."""
        start = max(start, self.start)
        return replace(self, start=start, entries=tuple(entry for entry in self.entries if entry.offset >= start))


@dataclass(frozen=True)
class State:
    """What a whole store shows: its streams by id, and count and checksum of the ledger's events."""

    streams: Mapping[int, StreamState] = field(default_factory=dict)
    ledger: tuple[int, int] = (0, 0)

    def with_stream(self, stream_id: int, stream: StreamState | None) -> "State":
        """Return the state with one stream made, changed or (None) deleted."""
        streams = {key: value for key, value in self.streams.items() if key != stream_id}
        if stream is not None:
            streams[stream_id] = stream
        return replace(self, streams=streams)

    def with_event(self, event: list[object]) -> "State":
        """Return the state after one more event of the ledger."""
        return replace(self, ledger=(self.ledger[0] + 1, digest_after(self.ledger[1], event)))


def read_entries(stream: Stream) -> Iterator[Entry]:
    """Yield all visible records of a stream."""
    reader = stream.reader(stream.start)
    while (frame := reader.read()) is not None:
        stamps = frame.timestamps
        for place, offset in enumerate(frame.offsets):
            if stream.start <= offset < stream.end:
                yield Entry(
                    offset,
                    stamps if isinstance(stamps, int) else stamps[place],
                    frame.keys[place] if frame.keys else None,
                    frame.values[place],
                    frame.headers[place] if frame.headers else (),
                )


def read_state(engine: Engine) -> State:
    """Return what a store shows."""
    ledger = engine.models["ledger"]
    if not isinstance(ledger, Ledger):
        raise TypeError("the store was opened with another model")
    streams = {}
    for stream_id, stream in sorted(engine.streams.items()):
        if stream_id:
            entries = tuple(read_entries(stream))
            if any(type(entry.value) not in (bytes, type(None)) for entry in entries):
                raise AssertionError("values are bytes")
            streams[stream_id] = StreamState(stream.slug, stream.start, stream.end, stream.value_bytes, entries)
    return State(streams, (ledger.count, ledger.digest))


@dataclass
class _Step:
    """One commit: the state it led to, the operations done when it began and when it was written, its number."""

    state: State
    began: int
    written: int | None = None
    number: int | None = None


class History:
    """The states of one store, and the promises made about them."""

    def __init__(self, state: State | None = None, moment: int = 0) -> None:
        self._steps = [_Step(state or State(), moment, moment)]
        self._promises: list[tuple[int, int]] = [(moment, 0)]

    def __len__(self) -> int:
        return len(self._steps)

    @property
    def latest(self) -> State:
        """The state after the last commit."""
        return self._steps[-1].state

    @property
    def last(self) -> int:
        """The index of the latest state."""
        return len(self._steps) - 1

    def until(self, moment: int) -> "History":
        """Return the history of a process that died after so many operations."""
        history = History()
        history._steps = [replace(step) for step in self._steps if step.began <= moment]
        for step in history._steps:
            if step.written is not None and step.written > moment:
                step.written = None
        history._promises = [promise for promise in self._promises if promise[0] <= moment]
        return history

    # Recording

    def begin(self, state: State, moment: int) -> int:
        """A commit that leads to `state` begins; return its index."""
        self._steps.append(_Step(state, moment))
        return self.last

    def abandon(self, index: int) -> None:
        """A commit that began was refused: nothing of it may ever appear."""
        if index != self.last:
            raise AssertionError("only the last commit can be refused")
        self._steps.pop()

    def wrote(self, index: int, moment: int, number: int | None = None) -> None:
        """A commit was written, with this number: the death of the process does not undo it."""
        self._steps[index].written = moment
        self._steps[index].number = number

    def promise_up_to(self, number: int, moment: int) -> None:
        """From now on the loss of power does not undo the commits up to this number."""
        numbers = [index for index, step in enumerate(self._steps) if step.number is not None and step.number <= number]
        if numbers:
            self.promise(numbers[-1], moment)

    def promise(self, index: int, moment: int) -> None:
        """From now on the loss of power does not undo this commit."""
        self._promises.append((moment, index))

    def resolve(self, found: State) -> None:
        """Decide about a last commit of unknown outcome by what the store shows."""
        if found != self.latest:
            if self._steps[-1].written is not None or len(self._steps) < 2 or found != self._steps[-2].state:
                raise AssertionError(difference(self.latest, found))
            self._steps.pop()

    def resolve_interrupted(self, found: State) -> None:
        """Decide about the last commit, whatever was recorded of it, by what the store shows."""
        if found != self.latest:
            self._steps[-1].written = None
            self.resolve(found)
        else:
            self._steps[-1].written = self._steps[-1].written or self._steps[-1].began

    def check_visible(self, found: State) -> None:
        """Check what readers of an open store see where commits may be written and not visible yet.

        Ends and records are those of some commit that is promised, or of a later one; the rest (starts,
        totals and models) runs ahead of them, for decisions.
        """
        promised = max(index for _, index in self._promises)
        if all(_shown(step.state, found) != _shown(found, found) for step in self._steps[promised:]):
            raise AssertionError(difference(self._steps[promised].state, found))

    # Checking

    def least(self, moment: int, *, killed: bool) -> int:
        """Return the oldest state that a crash after `moment` operations may lead to."""
        promised = max(index for time, index in self._promises if time <= moment)
        if not killed:
            return promised
        written = [
            index for index, step in enumerate(self._steps) if step.written is not None and step.written <= moment
        ]
        return max(promised, written[-1])

    def most(self, moment: int) -> int:
        """Return the newest state that a crash after `moment` operations may lead to."""
        return max(index for index, step in enumerate(self._steps) if step.began <= moment)

    def check(self, found: State, moment: int, *, killed: bool = False, commit: int | None = None) -> int:
        """Return the index of the state found. Raises AssertionError if no crash then may lead to it.

        `commit` is the number that recovery gave it.
        """
        least, most = self.least(moment, killed=killed), self.most(moment)
        for index in range(most, least - 1, -1):
            step = self._steps[index]
            if step.state == found:
                if None not in (commit, step.number) and commit != step.number:
                    raise AssertionError(f"recovery says commit {commit}, it is commit {step.number}")
                return index
        elsewhere = [index for index, step in enumerate(self._steps) if step.state == found]
        if elsewhere:
            raise AssertionError(f"found state {elsewhere}, allowed are {least} to {most} of {self.last}")
        raise AssertionError(
            f"found a state that never was; allowed are {least} to {most} of {self.last}. To state {least}: "
            f"{difference(self._steps[least].state, found)}. To state {most}: "
            f"{difference(self._steps[most].state, found)}"
        )


def _shown(state: State, known: State) -> dict[int, tuple[int, tuple[Entry, ...]]]:
    """Return end and records of the streams that `known` has, as far as its starts let them be read."""
    return {
        key: (stream.end, stream.trimmed(known.streams[key].start).entries)
        for key, stream in state.streams.items()
        if key in known.streams and stream.end
    }


def difference(expected: State, found: State) -> str:
    """Say in words how two states differ."""
    parts = []
    if expected.ledger != found.ledger:
        parts.append(f"ledger {found.ledger[0]} events instead of {expected.ledger[0]}")
    for stream_id in sorted(expected.streams.keys() | found.streams.keys()):
        want, have = expected.streams.get(stream_id), found.streams.get(stream_id)
        if want == have:
            continue
        if want is None or have is None:
            parts.append(f"stream {stream_id} is {'missing' if have is None else 'there'}")
            continue
        parts.append(
            f"stream {stream_id} ({want.slug}) [{have.start}, {have.end}) with {len(have.entries)} records, "
            f"{have.value_bytes} bytes, instead of [{want.start}, {want.end}) with {len(want.entries)} records, "
            f"{want.value_bytes} bytes"
        )
        changed = [w for w, h in zip(want.entries, have.entries, strict=False) if w != h]
        if changed:
            parts.append(f"first different record at offset {changed[0].offset}")
    return "; ".join(parts) or "equal"
