"""Processes that read a store while another one writes it: they see whole published commits only."""

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from msglog.errors import ReadOnlyError
from msglog.storage import recovery
from msglog.storage.checkpoint import read_checkpoints
from support.children import child, line_from
from support.history import read_state
from support.numbered import A, do_commit, open_store, prepare, state_after
from support.recovery import MODES
from support.telling import tell

COMMITS = 400
READERS = 2


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.mark.parametrize("sync", MODES)
def test_readers_follow_a_writer(directory, sync, record_property):
    engine = open_store(directory, sync)
    prepare(engine)
    with ExitStack() as stack:
        readers = [stack.enter_context(child("follower", directory, str(COMMITS))) for _ in range(READERS)]
        for reader in readers:
            assert line_from(reader) == "following"
        for number in range(1, COMMITS + 1):
            do_commit(engine, number)
            if number % 20 == 0:
                time.sleep(0.01)
            if number == COMMITS // 2:
                engine.flush()
        ends = [line_from(reader).split() for reader in readers]
    engine.close()
    assert [end[:2] for end in ends] == [["followed", str(COMMITS)]] * READERS
    tell(record_property, looks=sum(int(end[2]) for end in ends))


@pytest.mark.parametrize("sync", MODES)
def test_a_reader_follows_over_the_ends_of_writers(directory, sync):
    """Writers come and go; one reader stays."""
    engine = open_store(directory, sync)
    prepare(engine)
    with child("follower", directory, "60") as reader:
        assert line_from(reader) == "following"
        for number in range(1, 61):
            do_commit(engine, number)
            if number % 15 == 0:
                engine.close()
                engine = open_store(directory, sync)
        assert line_from(reader).startswith("followed 60 ")
    engine.close()


def test_a_store_that_is_closed_while_a_reader_opens_it_is_read(directory, monkeypatch):
    engine = open_store(directory, "commit")
    prepare(engine)
    for number in range(1, 50):
        do_commit(engine, number)

    def then_closed(*given):
        found = read_checkpoints(*given)
        monkeypatch.undo()
        engine.close()
        return found

    monkeypatch.setattr(recovery, "read_checkpoints", then_closed)
    reader = open_store(directory, "commit", readonly=True)
    assert engine.closed
    assert read_state(reader) == state_after(49)
    reader.close()


@pytest.mark.parametrize("sync", MODES)
def test_a_closed_store_is_read_without_a_writer(directory, sync):
    engine = open_store(directory, sync)
    prepare(engine)
    for number in range(1, 50):
        do_commit(engine, number)
    engine.close()
    files = {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()}
    readers = [open_store(directory, sync, readonly=True) for _ in range(2)]
    for reader in readers:
        assert read_state(reader) == state_after(49)
        with reader.lock, pytest.raises(ReadOnlyError):
            reader.begin()
        with pytest.raises(ReadOnlyError):
            reader.append(reader.streams[A], b"", 0)
        reader.refresh()
        reader.close()
    assert {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()} == files


def test_a_journal_that_was_left_is_for_a_writer_to_recover(directory):
    with child("appender", directory, "commit") as process:
        assert line_from(process) == "ready"
        while line_from(process) != "40":
            pass
        process.kill()
        process.wait()
    with pytest.raises(ReadOnlyError) as caught:
        open_store(directory, "commit", readonly=True)
    assert caught.value.path == directory
    open_store(directory, "commit").close()
    reader = open_store(directory, "commit", readonly=True)
    assert reader.streams[A].end >= 40
    reader.close()


@pytest.mark.parametrize("sync", ["interval", "none"])
def test_what_a_killed_writer_left_is_read_without_changing_it(directory, sync):
    with child("appender", directory, sync) as process:
        assert line_from(process) == "ready"
        while line_from(process) != "40":
            pass
        process.kill()
        process.wait()
    files = {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()}
    reader = open_store(directory, sync, readonly=True)
    assert read_state(reader) == state_after(reader.streams[A].end)
    assert reader.streams[A].end >= 40
    reader.close()
    assert {path: path.read_bytes() for path in Path(directory).rglob("*") if path.is_file()} == files


def test_a_store_that_is_not_there_is_not_made(directory):
    with pytest.raises((ReadOnlyError, FileNotFoundError)):
        open_store(directory, "commit", readonly=True)
    assert not Path(directory).exists()
