"""Damage to a closed store: flipped bits, zeroed, repeated and swapped sectors, truncated and missing files.

Whatever is damaged, a reader gets the records as they were or an error that names a file; streams that are
not affected stay readable; nothing else is ever raised.
"""

import os
import random
from collections.abc import Iterator

import pytest

from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage import Options, Stream
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import Entry, State, StreamState, read_entries
from support.recovery import MODES
from support.scale import scaled
from support.session import Script, open_engine, small_limits
from support.telling import tell

BITS = 7000
BYTES = 500
SECTOR = 512


def _store(sync) -> tuple[Image, State]:
    script = Script(sync, segment_bytes=500)
    script.open()
    script.commit(("create", "a"), ("create", "b"), ("event",))
    for _ in range(scaled(1)):  # every bit of it is tried, so that what searches further needs a larger store
        script.commit(("append", "a", 20, 30, 40), ("append", "b", 10), ("event",))
        script.append("a", 300, key=b"key")
        script.append("a", 50)
    script.close()
    script.open()
    script.append("b", 20)
    script.commit(("trim", "a", 1), ("event",))
    script.close()
    return script.filesystem.disk.image(), script.history.latest


def _read(stream: Stream, expected: StreamState) -> bool:
    """Read a stream of a damaged store; return whether it is as it was. Whatever is read must be."""
    assert (stream.start, stream.end, stream.slug) == (expected.start, expected.end, expected.slug)
    found: list[Entry] = []
    failure = None
    try:
        found.extend(read_entries(stream))
    except (CorruptionError, UnsupportedFormatError) as error:
        failure = error
    assert tuple(found) == expected.entries[: len(found)]
    if failure is None:
        assert len(found) == len(expected.entries)
        return True
    assert f"/segments/{stream.id}-" in failure.path
    return False


def _examine(files: dict[str, bytes], sound: Image, state: State, sync) -> str:
    """Open a damaged store and read all of it; return what became of it."""
    filesystem = FaultyFileSystem(Disk(Image(sound.directories, files), recording=False))
    refusal = None
    try:
        engine = open_engine(filesystem, Options(sync=sync, segment_bytes=500))
    except (CorruptionError, UnsupportedFormatError) as error:
        refusal = error
    if refusal is not None:
        assert refusal.path.startswith("/store")
        return "refused"
    assert set(engine.streams) - {0} == set(state.streams)
    ledger = engine.models["ledger"]
    assert (ledger.count, ledger.digest) == state.ledger
    damaged = [key for key, expected in state.streams.items() if not _read(engine.streams[key], expected)]
    assert len(damaged) <= 1
    return "damaged_stream" if damaged else "untouched"


class _Tally:
    """Counts what became of the damaged stores."""

    def __init__(self, sync) -> None:
        self.sync = sync
        self.sound, self.state = _store(sync)
        self.counts: dict[str, int] = {}

    def examine(self, what: str, path: str, contents: bytes | None) -> None:
        files = dict(self.sound.files)
        del files[path]
        if contents is not None:
            files[path] = contents
        try:
            outcome = _examine(files, self.sound, self.state, self.sync)
        except Exception as error:
            raise AssertionError(f"{what} of {path}: {type(error).__name__}: {error}") from error
        self.counts[outcome] = self.counts.get(outcome, 0) + 1

    def report(self, record_property, what: str) -> None:
        tell(record_property, **{what: sum(self.counts.values())}, **self.counts)


@pytest.fixture(params=MODES)
def tally(request) -> Iterator[_Tally]:
    with small_limits():
        yield _Tally(request.param)


def test_an_undamaged_store_opens(tally):
    assert _examine(dict(tally.sound.files), tally.sound, tally.state, tally.sync) == "untouched"


def test_every_flipped_bit_is_found_or_harmless(tally, record_property):
    chance = random.Random(7)
    meaning, slack = [], []
    for path, contents in tally.sound.files.items():
        for position, byte in enumerate(contents):
            (meaning if byte else slack).append((path, position))
    places = [(path, position, bit) for path, position in meaning for bit in range(8)]
    if len(places) > scaled(BITS):
        places = chance.sample(places, scaled(BITS))
    places += [(*chance.choice(slack), chance.randrange(8)) for _ in range(scaled(BITS // 5))]
    for path, position, bit in places:
        contents = bytearray(tally.sound.files[path])
        contents[position] ^= 1 << bit
        tally.examine(f"bit {bit} of byte {position}", path, bytes(contents))
    tally.report(record_property, "flipped_bits")


def test_bytes_that_became_zeros_or_ones(tally, record_property):
    chance = random.Random(8)
    places = [(path, at) for path, contents in tally.sound.files.items() for at, byte in enumerate(contents) if byte]
    for path, position in chance.sample(places, min(len(places), scaled(BYTES))):
        for value in (0x00, 0xFF):
            contents = bytearray(tally.sound.files[path])
            contents[position] = value
            tally.examine(f"byte {position} as {value:02X}", path, bytes(contents))
    tally.report(record_property, "changed_bytes")


def test_sectors_that_were_zeroed_repeated_or_swapped(tally, record_property):
    for path, contents in tally.sound.files.items():
        filled = [at for at in range(0, len(contents), SECTOR) if any(contents[at : at + SECTOR])]
        for at in filled:
            sector = contents[at : at + SECTOR]
            zeroed = contents[:at] + bytes(len(sector)) + contents[at + SECTOR :]
            tally.examine(f"the sector at {at}, zeroed,", path, zeroed)
            ones = contents[:at] + b"\xff" * len(sector) + contents[at + SECTOR :]
            tally.examine(f"the sector at {at}, all ones,", path, ones)
            repeated = contents[: at + SECTOR] + sector + contents[at + 2 * SECTOR :]
            tally.examine(f"the sector at {at}, repeated,", path, repeated[: len(contents)])
            following = contents[at + SECTOR : at + 2 * SECTOR]
            swapped = contents[:at] + following + sector + contents[at + 2 * SECTOR :]
            tally.examine(f"the sector at {at}, swapped,", path, swapped)
    tally.report(record_property, "sectors")


def test_files_that_were_cut_at_any_length(tally, record_property):
    for path, contents in tally.sound.files.items():
        end = len(contents.rstrip(b"\0"))
        for length in {*range(end + 1), len(contents) - 1}:
            if 0 <= length < len(contents):
                tally.examine(f"a cut at {length}", path, contents[:length])
    tally.report(record_property, "truncations")


def test_files_that_are_missing(tally, record_property):
    for path in tally.sound.files:
        tally.examine("the loss", path, None)
    tally.report(record_property, "lost_files")


def test_files_that_took_the_place_of_another(tally, record_property):
    files = tally.sound.files
    for path in files:
        for other in files:
            if os.path.dirname(path) == os.path.dirname(other) and files[path] != files[other]:
                tally.examine(f"{other} in place", path, files[other])
    tally.report(record_property, "misplaced_files")
