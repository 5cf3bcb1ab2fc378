"""What a stream gives up is unlinked, whatever strikes in between, and takes nothing any more."""

import shutil

import pytest

import msglog
from msglog.clock import ManualClock
from msglog.errors import ClosedError, TopicNotFoundError
from msglog.storage import Engine, Options
from msglog.storage.filesystem import OSFileSystem
from msglog.storage.stream_table import StreamTable
from support.session import small_limits


def files_of(path, number):
    return {file.name for file in (path / "segments").iterdir() if file.name.startswith(f"{number}-")}


def fill(log, topic):
    for number in range(30):
        log.append(topic, b"value-%d" % number + b"." * 100, key=b"%d" % (number % 3))


@pytest.mark.parametrize("change", ["replace", "trim", "delete"])
def test_an_interrupt_before_files_are_given_up(tmp_path, monkeypatch, change):
    with small_limits(), msglog.Store(tmp_path / "s", sync="none") as store:
        log = store.log
        log.create_topic("t", segment_bytes=1024, cleanup_policy="compact", min_cleanable_dirty_ratio=0)
        fill(log, "t")
        store.core.engine.checkpoint()
        before = files_of(tmp_path / "s", 1)
        struck = []

        def strike(*_):
            struck.append(1)
            raise KeyboardInterrupt

        changes = {
            "replace": log.clean,
            "trim": lambda: log.delete_records("t", 0, 20),
            "delete": lambda: log.delete_topic("t"),
        }
        with monkeypatch.context() as patched:
            patched.setattr(StreamTable, "drop", strike)
            with pytest.raises(KeyboardInterrupt):
                changes[change]()
        assert struck
        log.create_topic("other")  # the next commit finishes the interrupted one
        store.core.engine.checkpoint()
        store.core.engine.checkpoint()
        stream = store.core.engine.streams.get(1)
        parts = stream.parts if stream is not None else ()
        listed = {part.path.rpartition("/")[2] for part in parts}
        assert {name for name in files_of(tmp_path / "s", 1) if not name.endswith(".index")} == listed
        assert before - listed
        assert list(store.verify()) == []


@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "pure"])
@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
def test_a_removed_stream_takes_nothing_when_a_reader_has_opened_its_file_again(tmp_path, sync, pure, monkeypatch):
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", pure)
    engine = Engine.open(OSFileSystem(), str(tmp_path / "s"), Options(sync=sync), [], ManualClock(), background=False)
    with engine.lock:
        commit = engine.begin()
        made = [commit.create_stream(name) for name in ("gone", "kept")]
        commit.write()
    gone, kept = (engine.streams[number] for number in made)
    for stream in (gone, kept, gone):
        engine.append(stream, b"value", 1)
    with engine.lock:
        commit = engine.begin()
        commit.delete_stream(gone)
        number = commit.write()
    engine.wait(number)
    assert gone.reader(1).read().values == [b"value"]
    before = engine.commit_number
    for append in (
        lambda: engine.append(gone, b"lost", 2),
        lambda: engine.append(gone, b"lost", 2, b"key"),
        lambda: engine.append_copies([kept, gone], b"lost", b"key", 2),
        lambda: engine.append_copies([kept, gone, kept], b"lost" * 100, b"key", 2),
        lambda: engine.writer.append_all([(kept, b"lost", None), (gone, b"lost", None)], 2),
    ):
        with pytest.raises(ClosedError, match="'gone' was removed"):
            append()
    assert (engine.commit_number, gone.next_offset, kept.next_offset) == (before, 2, 1)
    engine.close()


@pytest.mark.parametrize("pure", ["", "1"], ids=["compiled", "pure"])
@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
def test_an_append_to_a_topic_deleted_meanwhile_takes_nothing_with_it(tmp_path, sync, pure, monkeypatch):
    """A commit whose frame lies in no file of the store would end what the next opening finds."""
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", pure)
    with msglog.Store(tmp_path / "s", sync=sync, clock=ManualClock()) as store:
        log = store.log
        for topic in ("gone", "kept"):
            log.create_topic(topic)
            log.append_many(topic, [b"0", b"1"])
        reading = log.read("gone", start=1)
        with monkeypatch.context() as patched:

            def meanwhile():
                patched.undo()
                log.delete_topic("gone")
                assert next(reading).value == b"1"
                store.core.engine.checkpoint()
                return 1

            patched.setattr(log, "_now_ms", meanwhile)
            with pytest.raises(TopicNotFoundError, match="meanwhile"):
                log.append("gone", b"lost")
        log.append("kept", b"after")
        shutil.copytree(tmp_path / "s", tmp_path / "killed")
    with msglog.Store(tmp_path / "killed") as store:
        assert [record.value for record in store.log.read("kept")] == [b"0", b"1", b"after"]
