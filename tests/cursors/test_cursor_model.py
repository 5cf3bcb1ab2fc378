"""The cursors of a store: events and snapshots lead to the same state, however often an event is applied in a row."""

import hypothesis.strategies as st
import msgpack
import pytest
from hypothesis import given

import msglog
from msglog import storage
from msglog.clock import ManualClock
from msglog.cursors import CursorModel
from msglog.storage import Engine, Options
from msglog.storage.state import pack_event, unpack_event
from support.faulty_filesystem import FaultyFileSystem

IDS = st.integers(1, 4)
OFFSETS = st.integers(0, 30)
EVENTS = st.one_of(
    st.builds(lambda cursor, start: ["open", cursor, start], IDS, OFFSETS),
    st.builds(lambda cursor: ["close", cursor], IDS),
    st.builds(
        lambda cursor, first, length, following: ["settle", cursor, first, first + length, following],
        IDS,
        OFFSETS,
        st.integers(0, 9),
        OFFSETS,
    ),
    st.builds(
        lambda cursor, offset, times, ahead: ["deliver", cursor, offset, times, offset + ahead],
        IDS,
        OFFSETS,
        st.integers(1, 9),
        st.integers(1, 9),
    ),
)


def model_after(events, snapshot=None):
    model = CursorModel(None)
    model.load(snapshot)
    for event in events:
        model.apply(event)
    return model


@given(st.lists(EVENTS, max_size=40), st.data())
def test_an_event_applied_twice_in_a_row_counts_once(events, data):
    doubled = [event for event in events for _ in range(data.draw(st.integers(1, 2)))]
    assert model_after(doubled).snapshot() == model_after(events).snapshot()


@given(st.lists(EVENTS, max_size=40), st.integers(0, 40))
def test_a_snapshot_and_the_events_behind_it_lead_where_all_events_lead(events, at):
    snapshot = msgpack.unpackb(msgpack.packb(model_after(events[:at]).snapshot()), strict_map_key=False)
    assert model_after(events[at:], snapshot).snapshot() == model_after(events).snapshot()


@given(EVENTS)
def test_events_survive_the_state_stream(event):
    assert unpack_event(pack_event(storage.CURSORS, event)) == (storage.CURSORS, event)


def test_ids_are_never_used_again():
    model = model_after([["open", 1, 0], ["open", 2, 0], ["close", 2]])
    assert model.next_id == 3
    assert model_after([], model.snapshot()).next_id == 3


def test_events_of_a_cursor_that_is_gone_are_nobody_s():
    model = model_after([["open", 1, 5], ["close", 1], ["settle", 1, 5, 6, 6], ["deliver", 1, 6, 1, 7], ["close", 1]])
    assert model.cursors == {}


def test_the_owner_of_a_cursor_keeps_its_object():
    model = model_after([["open", 1, 5]])
    kept, cursor = model.cursors, model.cursors[1]
    model.apply(["settle", 1, 5, 7, 7])
    assert model.cursors is kept
    assert kept[1] is cursor
    assert (cursor.settled, cursor.next) == (7, 7)


def test_loading_nothing_forgets_what_was_known():
    model = model_after([["open", 1, 5]])
    model.load(None)
    assert model.cursors == {}


@pytest.mark.parametrize("sync", ["commit", "none"])
def test_cursors_survive_a_kill_of_the_process(sync):
    filesystem = FaultyFileSystem()

    def opened():
        return Engine.open(filesystem, "/store", Options(sync=sync), [CursorModel], ManualClock(), background=False)

    engine = opened()
    for event in (["open", 1, 0], ["deliver", 1, 4, 2, 5], ["settle", 1, 1, 3, 5]):
        engine.writer.append_all((), 0, storage.CURSORS, event)
    filesystem = filesystem.kill()
    cursor = opened().models[CursorModel.section].cursors[1]
    assert (cursor.settled, cursor.next, list(cursor.done), cursor.deliveries) == (0, 5, [(1, 3)], {4: 2})
    assert list(cursor.returned) == [(0, 1), (3, 5)]


def test_the_package_makes_its_model_known_to_stores():
    with msglog.Store(":memory:") as store:
        assert isinstance(store.core.engine.models[CursorModel.section], CursorModel)
