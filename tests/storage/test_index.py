"""The sparse index: it leads close to an offset or a time, and a damaged file of it is no harm."""

import os
from bisect import bisect_right
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog import Store
from msglog.storage.index import ENTRY, SparseIndex
from support.opcodes import Striker, Struck

SEED = 99
STEPS = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 5000), st.integers(0, 3)), min_size=1, max_size=40)


def built(steps) -> tuple[SparseIndex, list[tuple[int, int, int]]]:
    index, entries = SparseIndex(), []
    offset = position = stamp = 0
    for more_offsets, more_bytes, more_time in steps:
        index.add(offset, position, stamp)
        entries.append((offset, position, stamp))
        offset, position, stamp = offset + more_offsets, position + more_bytes, stamp + more_time
    return index, entries


@given(STEPS, st.integers(0, 2100))
def test_the_last_entry_at_or_before_an_offset_is_found(steps, offset):
    index, entries = built(steps)
    place = bisect_right([entry[0] for entry in entries], offset) - 1
    assert index.position_for(offset) == entries[place][1]


@given(STEPS, st.integers(0, 130))
def test_before_the_place_for_a_time_all_is_earlier(steps, stamp):
    index, entries = built(steps)
    position = index.position_before_time(stamp)
    before = [entry for entry in entries if entry[2] < stamp]
    assert position == (before[-1][1] if before else None)


@given(STEPS, st.data())
def test_what_was_saved_is_believed_up_to_the_first_damage(steps, data):
    index, entries = built(steps)
    saved = bytearray(index.entries_from(0, SEED))
    damaged = data.draw(st.integers(0, len(saved) - 1))
    saved[damaged] ^= 1 << data.draw(st.integers(0, 7))
    loaded = SparseIndex.load(bytes(saved), SEED, end_position=1 << 40)
    assert len(loaded) <= damaged // ENTRY.size
    assert list(loaded.places()) == [entry[:2] for entry in entries[: len(loaded)]]


@given(STEPS, st.integers(0, 200_000))
def test_entries_beyond_the_end_are_left_out(steps, end):
    index, entries = built(steps)
    loaded = SparseIndex.load(index.entries_from(0, SEED), SEED, end_position=end)
    assert [position for _, position in loaded.places()] == [entry[1] for entry in entries if entry[1] < end]


def test_an_entry_that_is_interrupted_is_there_once_and_leads_to_its_frame(tmp_path):
    """Wherever the exception of a signal handler strikes in the append for which an entry is due."""
    folder = os.path.join(os.path.dirname(msglog.__file__), "storage", "")
    at, within = 0, set()
    while True:
        path = tmp_path / f"{at}"
        with Store(path, sync="none") as store:
            store.log.create_topic("t")
            store.log.append("t", bytes(1000))
            segment = store.log._model.topic("t").partitions[0].active
            while segment.position < segment.next_index_position:
                store.log.append("t", bytes(1000))
            striker = Striker(folder, at)
            with suppress(Struck), striker.striking():
                store.log.append("t", bytes(1000))
            for _ in range(100):
                store.log.append("t", bytes(1000))
        with Store(path, readonly=True) as store:
            assert list(store.verify()) == [], striker.place
        within.add(striker.place.split(":")[0])
        if not striker.place:
            break
        at += 1
    assert {"SparseIndex.add", "Segment.note_frame_at"} <= within
