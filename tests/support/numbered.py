"""A store whose whole state follows from one number: how many commits it has had.

Commit `n` (from 1) appends to stream `a`; every third to stream `b` and the ledger, too; every fortieth trims
`a`. So a process that was killed and the one that looks at what is left need to agree on nothing but numbers.
"""

from typing import Any

from msglog.clock import SystemClock
from msglog.storage import Engine, Options, encode_body
from msglog.storage.filesystem import OSFileSystem
from support.history import Entry, State, StreamState, difference, read_state
from support.ledger import Ledger, ledger_factory

A, B = 1, 2
SEGMENT_BYTES = 16 << 10


def open_store(directory: str, sync: Any, *, readonly: bool = False, interval_ms: int = 20) -> Engine:
    """Open the store as an application would, with a syncer of its own."""
    options = Options(sync=sync, sync_interval_ms=interval_ms, segment_bytes=SEGMENT_BYTES, readonly=readonly)
    return Engine.open(OSFileSystem(), directory, options, ledger_factory(), SystemClock())


def prepare(engine: Engine) -> None:
    """Make the two streams, once."""
    if A in engine.streams:
        return
    with engine.lock:
        commit = engine.begin()
        commit.create_stream("a")
        commit.create_stream("b")
        number = commit.write()
    engine.wait(number)


def commits_of(engine: Engine) -> int:
    """Return how many numbered commits a store has had."""
    return engine.streams[A].next_offset


def value_of(number: int, stream: int) -> bytes:
    """Return what commit `number` appends; sizes vary from a few bytes to a few pages."""
    size = 8 + number * 37 % 300 + (9000 if number % 50 == 0 else 0)
    return f"{stream}:{number}:".encode().ljust(size, b"v")


def write_commit(engine: Engine, number: int) -> int:
    """Write commit `number` and return what `Engine.wait` wants."""
    with engine.lock:
        commit = engine.begin()
        commit.append(engine.streams[A], encode_body([value_of(number, A)], number))
        if number % 3 == 0:
            commit.append(engine.streams[B], encode_body([value_of(number, B)], number))
            commit.record(Ledger.section, ["count", number // 3])
        if number % 40 == 0:
            commit.trim(engine.streams[A], number - 30)
        return commit.write()


def do_commit(engine: Engine, number: int) -> None:
    """Do commit `number` in the way its kind asks for, and wait for it."""
    if number % 3 and number % 40 and number % 2:
        engine.append(engine.streams[A], value_of(number, A), number)
    else:
        engine.wait(write_commit(engine, number))


def start_after(number: int) -> int:
    """Return where stream `a` starts after `number` commits."""
    return number // 40 * 40 - 30 if number >= 40 else 0


def state_after(number: int) -> State:
    """Return the state after `number` commits."""
    all_a = [Entry(n - 1, n, None, value_of(n, A), ()) for n in range(1, number + 1)]
    all_b = [Entry(n // 3 - 1, n, None, value_of(n, B), ()) for n in range(3, number + 1, 3)]
    stream_a = StreamState("a").with_entries(all_a).trimmed(start_after(number))
    state = State({A: stream_a, B: StreamState("b").with_entries(all_b)})
    for n in range(3, number + 1, 3):
        state = state.with_event(["count", n // 3])
    return state


def check_store(directory: str, sync: Any, least: int, most: int) -> int:
    """Open the store and check that it is whole; return how many commits it has had."""
    engine = open_store(directory, sync)
    try:
        found = commits_of(engine) if A in engine.streams else 0
        if not least <= found <= most:
            raise AssertionError(f"{found} commits are left, between {least} and {most} may be")
        state = read_state(engine)
        if A in engine.streams and state != state_after(found):
            raise AssertionError(difference(state_after(found), state))
    finally:
        engine.close()
    return found
