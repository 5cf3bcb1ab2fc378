"""Journal areas: entries come back in order, and what is left of earlier use never does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.storage.filesystem import MemoryFileSystem
from msglog.storage.frame import HEADER_SIZE
from msglog.storage.journal import Area, Create, Journal, PlacedFrame, pack_entry, pack_several, pack_single
from msglog.storage.segment import FILE_HEADER_SIZE

AREA_BYTES = 16 << 10
CHUNK_BYTES = 64 << 10


def two_areas() -> tuple[MemoryFileSystem, Journal]:
    filesystem = MemoryFileSystem()
    areas = tuple(Area.create(filesystem, f"/journal-{number}", AREA_BYTES) for number in range(2))
    return filesystem, Journal(filesystem, areas, largest=AREA_BYTES)


def frame(number: int, body: bytes) -> PlacedFrame:
    return PlacedFrame(number, 64 + number, bytes([number % 256]) * HEADER_SIZE, body)


def add(journal: Journal, commit: int, frames: list[PlacedFrame], creates: tuple[Create, ...] = ()) -> None:
    journal.reserve(len(pack_entry(0, 1, commit, 0, frames, creates)))
    entry = pack_entry(journal.area.crc_seed, 1, commit, commit - 1, frames, creates)
    journal.add(entry, journal.area.position, commit)
    journal.write_out()


def found(filesystem: MemoryFileSystem, after: int) -> list[int]:
    numbers = []
    for name in ("/journal-0", "/journal-1"):
        area = Area.open(filesystem, name, writable=False)
        assert area is not None
        numbers += [entry.commit for entry in area.entries_after(after)]
    return sorted(numbers)


@given(st.binary(max_size=50), st.integers(0, 2**32 - 1))
def test_an_entry_of_one_frame_is_the_same_written_by_hand(body, seed):
    header = bytes(range(HEADER_SIZE))
    expected = pack_entry(seed, 3, 2**40, 7, [PlacedFrame(2**33, 2**34, header, body)], ())
    assert pack_single(seed, 3, 2**40, 7, 2**33, 2**34, header + body) == expected


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.data())
def test_an_entry_of_several_frames_is_the_same_written_by_hand(bodies, seed, data):
    copies = data.draw(st.lists(st.integers(1, 3), min_size=len(bodies), max_size=len(bodies)))
    different = [b"%d: " % place + body for place, body in enumerate(bodies)]
    frames = [body for body, times in zip(different, copies, strict=True) for _ in range(times)]
    placed = [frame(number, body) for number, body in enumerate(frames)]
    expected = pack_entry(seed, 3, 2**40, 7, placed, ())
    by_hand = [(one.file_id, one.position, one.header + one.body, one.body) for one in placed]
    assert pack_several(seed, 3, 2**40, 7, by_hand) == expected


def test_entries_that_were_collected_are_written_together_and_again_if_need_be():
    filesystem, journal = two_areas()
    for commit in (1, 2):
        journal.reserve(1000)
        entry = pack_entry(journal.area.crc_seed, 1, commit, 0, [frame(commit, b"body")], ())
        place = journal.area.position
        for _ in range(2):
            journal.add(entry, place, commit)
    assert found(filesystem, 0) == []
    journal.write_out()
    journal.write_out()
    assert found(filesystem, 0) == [1, 2]


@given(st.lists(st.lists(st.binary(max_size=50), min_size=1, max_size=4), min_size=1, max_size=20))
def test_entries_come_back_with_all_their_frames(commits):
    filesystem, journal = two_areas()
    expected = []
    for number, bodies in enumerate(commits, 1):
        frames = [frame(place, body) for place, body in enumerate(bodies)]
        creates = (Create(f"{number}-x.{0:020d}.{number}", bytes(FILE_HEADER_SIZE)),) if number % 3 == 0 else ()
        add(journal, number, frames, creates)
        expected.append((number, number - 1, tuple(frames), creates))
    area = Area.open(filesystem, "/journal-0", writable=False)
    assert area is not None
    entries = list(area.entries_after(0))
    assert [(entry.commit, entry.synced, entry.frames, entry.creates) for entry in entries] == expected


def test_a_body_that_several_streams_got_stands_once():
    body = b"shared" * 1000
    one = len(pack_entry(1, 1, 1, 0, [frame(1, body)], ()))
    ten = len(pack_entry(1, 1, 1, 0, [frame(number, body) for number in range(10)], ()))
    assert ten < one + 10 * 200


def test_areas_take_turns_and_forget_what_a_checkpoint_covers():
    filesystem, journal = two_areas()
    for number in range(1, 301):
        add(journal, number, [frame(1, b"x" * 100)])
        if number % 50 == 0:
            journal.switch()
            journal.prepare(number - 10)
            journal.release(number - 10)
    # All beyond the last release is there, and nothing older is taken for something newer.
    assert [number for number in found(filesystem, 290) if number > 290] == list(range(291, 301))
    assert found(filesystem, 300) == []


def test_what_is_left_of_earlier_use_is_not_read():
    filesystem, journal = two_areas()
    for number in range(1, 21):
        add(journal, number, [frame(1, b"x" * 100)])
    journal.release(20)
    for number in range(21, 25):
        add(journal, number, [frame(1, b"x" * 100)])
    assert found(filesystem, 20) == [21, 22, 23, 24]


def test_entries_behind_a_damaged_one_are_found():
    filesystem, journal = two_areas()
    for number in range(1, 6):
        add(journal, number, [frame(1, b"y" * 40)])
    file = filesystem.open("/journal-0")
    place = file.read(0, AREA_BYTES).find(b"y" * 40)
    file.write(place, b"z")
    assert found(filesystem, 0) == [2, 3, 4, 5]


@pytest.mark.parametrize("size", [0, 100, CHUNK_BYTES - 300, CHUNK_BYTES, 3 * CHUNK_BYTES])
def test_an_entry_that_ends_in_zeros_is_whole(size):
    """Zeros at the end of an area are looked at in chunks: where a chunk begins makes no difference."""
    for shift in range(0, 160, 8):
        filesystem = MemoryFileSystem()
        areas = tuple(Area.create(filesystem, f"/journal-{number}", 6 * CHUNK_BYTES - shift) for number in range(2))
        journal = Journal(filesystem, areas, largest=6 * CHUNK_BYTES)
        add(journal, 1, [PlacedFrame(0, 0, bytes(HEADER_SIZE), bytes(size))])
        assert found(filesystem, 0) == [1]


def test_entries_behind_any_number_of_zeros_are_found():
    filesystem = MemoryFileSystem()
    areas = tuple(Area.create(filesystem, f"/journal-{number}", 6 * CHUNK_BYTES) for number in range(2))
    journal = Journal(filesystem, areas, largest=6 * CHUNK_BYTES)
    add(journal, 1, [frame(1, b"x")])
    start = journal.area.position
    add(journal, 2, [frame(1, b"x" * 3 * CHUNK_BYTES)])
    end = journal.area.position
    add(journal, 3, [frame(1, b"x")])
    filesystem.open("/journal-0").write(start, bytes(end - start))
    assert found(filesystem, 0) == [1, 3]


def test_an_entry_larger_than_both_areas_makes_its_area_grow():
    filesystem, journal = two_areas()
    add(journal, 1, [frame(1, b"x" * 10)])
    add(journal, 2, [frame(1, bytes(3 * AREA_BYTES))])
    assert found(filesystem, 0) == [1, 2]
    journal.switch()
    journal.prepare(2)
    journal.release(2)
    assert max(filesystem.list("/").values()) <= AREA_BYTES, "a free area is not kept larger than areas get"
    add(journal, 3, [frame(1, b"x")])
    assert found(filesystem, 2) == [3]
