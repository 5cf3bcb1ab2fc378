"""Drives an engine and writes down what it did: one `Script` is the life of one store over several openings.

A change is a tuple: ("create", name), ("append", name, sizes...), ("event",), ("trim", name, offset),
("delete", name). Every value is unlike all others, so that nothing can pass for something else.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from msglog.clock import ManualClock
from msglog.errors import MsglogError
from msglog.storage import Commit, Engine, Frame, Options, Stream, encode_body
from support.faulty_filesystem import FaultyFileSystem
from support.history import Entry, History, State, StreamState, difference, read_state
from support.ledger import Ledger, ledger_factory

DIRECTORY = "/store"
Change = tuple[Any, ...]

SMALL_LIMITS = {
    "CHECKPOINT_BYTES": 1 << 14,
    "CHECKPOINT_COMMITS": 40,
    "DRAFT_COMMITS": 3,
    "FIRST_ALLOCATION": 4096,
    "JOURNAL_FIRST_BYTES": 4096,
    "JOURNAL_LARGEST_BYTES": 8192,
    "SNAPSHOT_COST": 20,
    "_FEWEST_OPEN": 4,
    "_GROWTH_STEP": 1024,
    "_MOST_OPEN": 4,
}
"""Limits that let small stores do what large ones do. A limit that no module has is an error."""


@contextmanager
def small_limits(**others: int) -> Iterator[None]:
    """Set the storage engine's limits to small ones."""
    wanted = {**SMALL_LIMITS, **others}
    modules = [module for name, module in sys.modules.items() if name.startswith("msglog.storage")]
    before = [(module, name, vars(module)[name]) for module in modules for name in wanted if name in vars(module)]
    missing = wanted.keys() - {name for _, name, _ in before}
    if missing:
        raise AssertionError(f"the storage layer has no {missing}")
    try:
        for module, name, _ in before:
            setattr(module, name, wanted[name])
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


def open_engine(filesystem: Any, options: Options | None = None, clock: ManualClock | None = None) -> Engine:
    """Open the store of a test, without a thread of its own."""
    options = options or Options()
    return Engine.open(filesystem, DIRECTORY, options, ledger_factory(), clock or ManualClock(), background=False)


class Script:
    """A store in a faulty file system, its history, and the engine while it is open."""

    def __init__(
        self,
        sync: Any = "commit",
        *,
        segment_bytes: int = 1000,
        filesystem: FaultyFileSystem | None = None,
        history: History | None = None,
        tag: str = "",
    ) -> None:
        self.filesystem = filesystem or FaultyFileSystem()
        self.history = history or History()
        self.sync = sync
        self.segment_bytes = segment_bytes
        self.clock = ManualClock()
        self.opening = False
        self._engine: Engine | None = None
        self._tag = tag
        self._values = 0

    # Lives

    @property
    def engine(self) -> Engine:
        """The open engine."""
        if self._engine is None:
            raise AssertionError("the store is not open")
        return self._engine

    @property
    def is_open(self) -> bool:
        """Whether an opening has not ended."""
        return self._engine is not None and not self._engine.closed

    @property
    def moment(self) -> int:
        """How many operations were recorded so far."""
        self.filesystem.disk.notice()
        return len(self.filesystem.disk.operations)

    def open(self, sync: Any = None) -> None:
        """Open the store; it must show all that was written, however the last life ended."""
        self.sync = sync or self.sync
        options = Options(sync=self.sync, segment_bytes=self.segment_bytes)
        self.opening = True
        engine = open_engine(self.filesystem, options, self.clock)
        self.history.resolve(read_state(engine))
        self.opening = False
        self._engine = engine
        if self.sync == "commit":
            self.history.promise(self.history.last, self.moment)

    def close(self) -> None:
        """Close the store: all of it is durable then."""
        engine, self._engine = self.engine, None
        engine.close()
        self.history.promise(self.history.last, self.moment)

    def kill(self) -> None:
        """End the process; the next opening finds its page cache."""
        self.filesystem = self.filesystem.kill()
        self._engine = None

    # Work

    def stream(self, name: str) -> Stream:
        """Return the stream of this name."""
        return next(stream for key, stream in self.engine.streams.items() if key and stream.slug == name)

    def append(self, name: str, size: int = 20, *, key: bytes | None = None) -> None:
        """Append one record the short way."""
        stream = self.stream(name)
        value = self._value(size)
        stamp = self.clock.now_ms()
        entry = Entry(stream.next_offset, stamp, key, value, ())
        state = self.history.latest
        after = state.with_stream(stream.id, state.streams[stream.id].with_entries([entry]))
        with self._recording(after) as index:
            offset = self.engine.append(stream, value, stamp, key)
        if offset != entry.offset:
            raise AssertionError(f"appended at {offset} instead of {entry.offset}")
        self._returned(index)

    def commit(self, *changes: Change, wait: bool = True) -> None:
        """Do several changes in one commit; without `wait`, return when it is written."""
        engine = self.engine
        self.clock.advance(ms=1)
        with engine.lock:
            commit = engine.begin()
            state = self.history.latest
            for change in changes:
                state = self._add(commit, state, change)
            with self._recording(state) as index:
                number = commit.write()
        if wait:
            engine.wait(number)
            self._returned(index)

    def flush(self) -> None:
        """Flush: all that returned before is durable."""
        index = self.history.last
        self.engine.flush()
        self.history.promise(index, self.moment)
        self._take_claims()

    def roll(self, name: str) -> None:
        """Let the next append start a new segment."""
        with self.engine.lock:
            self.engine.roll(self.stream(name))

    def rewrite(self, name: str) -> int:
        """Compact the sealed segments of a stream: records at odd offsets go. Return how many went."""
        stream = self.stream(name)
        sealed = [facts for facts in stream.segments() if facts.sealed]
        limit = max((facts.end_offset for facts in sealed), default=0)
        state = self.history.latest.streams[stream.id]
        kept = tuple(entry for entry in state.entries if entry.offset >= limit or entry.offset % 2 == 0)
        after = StreamState(state.slug, state.start, state.end, state.value_bytes, kept)
        if not sealed or len(kept) == len(state.entries):
            return 0
        with self._recording(self.history.latest.with_stream(stream.id, after)) as index:
            removed, _ = self.engine.rewrite(stream, sealed, _at_even_offsets)
        self._returned(index)
        if removed < len(state.entries) - len(kept):
            raise AssertionError(f"{removed} records removed, {len(state.entries) - len(kept)} were to go")
        return removed

    def check(self) -> None:
        """The open store shows what its history says."""
        found = read_state(self.engine)
        if found != self.history.latest:
            raise AssertionError(difference(self.history.latest, found))

    # Parts

    def _add(self, commit: Commit, state: State, change: Change) -> State:
        match change:
            case ("create", name):
                return state.with_stream(commit.create_stream(name), StreamState(name))
            case ("delete", name):
                commit.delete_stream(self.stream(name))
                return state.with_stream(self.stream(name).id, None)
            case ("trim", name, offset):
                stream = self.stream(name)
                commit.trim(stream, offset)
                return state.with_stream(stream.id, state.streams[stream.id].trimmed(offset))
            case ("event",):
                event: list[Any] = ["count", state.ledger[0] + 1, self._value(8)]
                commit.record(Ledger.section, event)
                return state.with_event(event)
            case ("append", name, *sizes):
                return self._add_records(commit, state, self.stream(name), sizes)
        raise AssertionError(f"unknown change {change}")

    def _add_records(self, commit: Commit, state: State, stream: Stream, sizes: list[int]) -> State:
        stamp = self.clock.now_ms()
        values = [self._value(size) for size in sizes]
        keys = [b"key" if place % 2 else None for place in range(len(sizes))] if len(sizes) > 1 else None
        headers = [(("h", b"1"), ("h", None))] * len(sizes) if len(sizes) > 2 else None
        first = commit.append(stream, encode_body(values, stamp, keys=keys, headers=headers))
        entries = [
            Entry(first + place, stamp, keys[place] if keys else None, value, headers[place] if headers else ())
            for place, value in enumerate(values)
        ]
        before = state.streams[stream.id]
        if first != before.end:
            raise AssertionError(f"records would get offset {first} instead of {before.end}")
        return state.with_stream(stream.id, before.with_entries(entries))

    def _value(self, size: int) -> bytes:
        self._values += 1
        return f"{self._tag}{self._values}:".encode().ljust(size, b"v")

    @contextmanager
    def _recording(self, after: State) -> Iterator[int]:
        index = self.history.begin(after, self.moment)
        try:
            yield index
        except MsglogError as error:
            if error.outcome == "not_applied":
                self.history.abandon(index)
            raise
        self.history.wrote(index, self.moment, self.engine.commit_number)
        self._take_claims()

    def _returned(self, index: int) -> None:
        if self.sync == "commit":
            self.history.promise(index, self.moment)
        self._take_claims()

    def _take_claims(self) -> None:
        """Hold the engine to what it says of its last checkpoint."""
        self.history.promise_up_to(int(self.engine.metrics()["durable_commits"]), self.moment)


def _at_even_offsets(frame: Frame) -> list[int]:
    return [place for place, offset in enumerate(frame.offsets) if offset % 2 == 0]
