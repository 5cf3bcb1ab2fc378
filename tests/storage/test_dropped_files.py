"""What a stream gives up is unlinked, whatever strikes in between."""

import pytest

import msglog
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
