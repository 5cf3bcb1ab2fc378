"""Verifying a store that threads of this process, or another process, use in all ways: no false alarm."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

import msglog
from msglog.errors import ClosedError
from support import everything
from support.crowd_of_everything import Crowd
from support.recovery import MODES
from support.scale import scaled
from support.session import small_limits
from support.telling import tell

ROUNDS = 12
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("sync", MODES)
def test_no_false_alarm_while_threads_write(tmp_path, sync, record_property):
    with small_limits(), msglog.Store(tmp_path / "s", sync=sync, segment_bytes=4096) as store:
        crowd = Crowd(store)
        rounds = 0
        with crowd.at_work():
            while rounds < scaled(ROUNDS) or min(crowd.rounds) < 3:
                assert list(store.verify()) == []
                rounds += 1
                assert not crowd.errors, crowd.errors
        assert list(store.verify()) == []
    assert list(msglog.verify(tmp_path / "s")) == []
    tell(record_property, verified=rounds, worked=sum(crowd.rounds))


def test_no_false_alarm_in_memory(record_property):
    with msglog.Store(":memory:", segment_bytes=4096) as store:
        crowd = Crowd(store)
        rounds = 0
        with crowd.at_work():
            while rounds < scaled(ROUNDS) or min(crowd.rounds) < 3:
                assert list(store.verify()) == []
                rounds += 1
                assert not crowd.errors, crowd.errors
    tell(record_property, verified=rounds, worked=sum(crowd.rounds))


@pytest.mark.parametrize("sync", MODES)
def test_no_false_alarm_while_another_process_writes(tmp_path, sync, record_property):
    arguments = [sys.executable, "-m", "support.crowd_of_everything", str(tmp_path / "s"), sync]
    with subprocess.Popen(arguments, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"ready\n"
        for _ in range(scaled(ROUNDS)):
            assert list(msglog.verify(tmp_path / "s")) == []
        with msglog.Store(tmp_path / "s", readonly=True) as store:
            assert list(store.verify()) == []
        writer.kill()
    assert list(msglog.verify(tmp_path / "s")) == []  # as the crash has left it
    with msglog.Store(tmp_path / "s", sync=sync) as store:
        assert list(store.verify()) == []
    assert list(msglog.verify(tmp_path / "s")) == []
    tell(record_property, verified=scaled(ROUNDS))


def test_closing_meanwhile_raises(tmp_path):
    store = msglog.Store(tmp_path / "s")
    everything.define(store)
    everything.fill(store)
    (segment, *_) = (tmp_path / "s" / "segments").glob("*-plain.*")
    segment.write_bytes(segment.read_bytes().replace(b"value", b"VALUE"))
    problems = store.verify()
    next(problems)
    store.close()
    with pytest.raises(ClosedError):
        list(problems)


def test_the_lock_is_never_held_for_a_file(tmp_path):
    """Whoever reads a file while verifying does not hold the store lock: another thread can commit at that moment."""
    with msglog.Store(tmp_path / "s", sync="none") as store:
        everything.define(store)
        everything.fill(store)
        engine = store.core.engine
        held = []

        def progress(_done, _total):
            held.append(engine.lock.locked())

        assert list(store.verify(progress=progress)) == []
        assert held
        assert not any(held)


def test_progress_ends_at_the_total(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        everything.define(store)
        everything.fill(store)
        calls = []
        assert list(store.verify(progress=lambda done, total: calls.append((done, total)))) == []
        assert calls == sorted(calls)
        assert calls[0][0] == 0
        assert calls[-1] == (int(store.metrics()["bytes_stored"]),) * 2


def test_two_threads_may_verify_at_once(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        everything.define(store)
        everything.fill(store)
        found = []
        threads = [threading.Thread(target=lambda: found.append(list(store.verify()))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert found == [[], [], []]


@pytest.mark.parametrize("path", ["missing", ":memory:", "empty"])
def test_a_path_without_a_store_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(msglog.InvalidOptionError, match="store"):
        msglog.verify(path)
