"""The same path opened several times in one process, in a child, and from several threads."""

import multiprocessing
import os
import threading

import pytest

from msglog import ClosedError, InvalidOptionError, Log, Store, StoreLockedError
from msglog.testing import ManualClock


def test_the_same_path_shares_one_engine(tmp_path):
    with Log(tmp_path / "s") as one, Log(tmp_path / "s") as two:
        one.create_topic("t")
        one.append("t", b"x")
        assert [record.value for record in two.read("t")] == [b"x"]
        assert one.store is not two.store


def test_it_stays_open_until_the_last_handle_is_closed(tmp_path):
    one, two = Store(tmp_path / "s"), Store(tmp_path / "s")
    one.close()
    two.log.create_topic("t")
    two.close()
    with Store(tmp_path / "s") as again:
        assert again.recovery.life == 2


def test_the_same_directory_under_two_names(tmp_path):
    with Store(tmp_path / "s") as one:
        os.symlink(tmp_path / "s", tmp_path / "link")
        with Store(tmp_path / "link") as two:
            assert one.core is two.core


def test_a_renamed_directory_is_still_the_same(tmp_path):
    with Store(tmp_path / "a", sync="none") as one:
        os.rename(tmp_path / "a", tmp_path / "b")
        with Store(tmp_path / "b") as two:
            assert one.core is two.core
        os.rename(tmp_path / "b", tmp_path / "a")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"sync": "none"}, {"sync": "commit"}),
        ({}, {"sync": "none"}),
        ({}, {"sync_interval_ms": 5}),
        ({}, {"segment_bytes": 4096}),
        ({}, {"max_record_bytes": 5}),
        ({}, {"readonly": True}),
        ({}, {"clock": ManualClock()}),
        ({"clock": ManualClock()}, {"clock": ManualClock()}),
    ],
)
def test_other_explicit_options_are_refused(tmp_path, first, second):
    with Store(tmp_path / "s", **first) as one:
        with pytest.raises(InvalidOptionError, match="open in this process already"):
            Store(tmp_path / "s", **second)
        with pytest.raises(ValueError, match="already"):
            Store(tmp_path / "s", **second)
        assert one.log.topics() == []


def test_options_left_out_take_what_is_there(tmp_path):
    clock = ManualClock()
    with Store(tmp_path / "s", sync="none", segment_bytes=4096, clock=clock), Store(tmp_path / "s") as two:
        assert two.core.engine.options.sync == "none"
        assert two.core.clock is clock


def test_the_same_options_again_are_fine(tmp_path):
    options = {"sync": "interval", "sync_interval_ms": 50, "clock": ManualClock()}
    with Store(tmp_path / "s", **options) as one, Store(tmp_path / "s", **options) as two:
        assert one.core is two.core


def test_one_who_wants_to_write_never_gets_a_readonly_store(tmp_path):
    Store(tmp_path / "s").close()
    with Store(tmp_path / "s", readonly=True), pytest.raises(InvalidOptionError, match="readonly"):
        Store(tmp_path / "s")


def test_many_threads_open_and_close(tmp_path):
    failures = []

    def work():
        try:
            for number in range(20):
                with Log(tmp_path / "s", sync="none") as log:
                    log.create_topic("t", exist_ok=True)
                    log.append("t", b"%d" % number)
        except Exception as error:  # noqa: BLE001 shown below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with Log(tmp_path / "s") as log:
        assert log.end_offset("t") == 80


def child_of_a_fork(path, log, answers):
    try:
        for use in (log.topics, lambda: log.append("t", b"x"), lambda: list(log.read("t")), log.store.flush):
            try:
                use()
            except ClosedError:
                answers.put("closed")
        log.close()
        try:
            Store(path)
        except StoreLockedError as error:
            answers.put(error.owner_pid)
    except BaseException as error:  # noqa: BLE001 goes to the parent
        answers.put(repr(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_gets_nothing_from_its_parent(tmp_path):
    context = multiprocessing.get_context("fork")
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        answers = context.SimpleQueue()
        child = context.Process(target=child_of_a_fork, args=(tmp_path / "s", log, answers))
        child.start()
        assert [answers.get() for _ in range(5)] == ["closed"] * 4 + [os.getpid()]
        child.join()
        log.append("t", b"still here")
        assert log.end_offset("t") == 1
