"""What a share group knows when its store is opened again, after an orderly end and after a kill."""

import subprocess
import sys
import warnings

import pytest

import msglog
from msglog import Log, ReadOnlyError, SettlementError, TopicPartition
from msglog.errors import DiskFullError
from support.children import child_environment
from support.shares import counts, fill, lag, offsets

KILLED_BY_A_RECORD = """
import os, sys
import msglog

log = msglog.Log(sys.argv[1], sync=sys.argv[2])
worker = log.share_consumer("t", group="g", delivery_limit=3)
for record in worker.poll(0):
    if record.value == b"deadly":
        os._exit(9)
    record.ack()
os._exit(0)
"""


def test_what_was_settled_stays_settled(disk, again):
    fill(disk.log, 10)
    worker = disk.log.share_consumer("t", group="g")
    records = worker.poll(0, max_records=6)
    for place in (0, 1, 3, 5):
        records[place].ack()
    records[4].reject()
    log = again()
    assert log.describe_group("g").offsets == {TopicPartition("t", 0): 2}
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {2: 2, 6: 1, 7: 1, 8: 1, 9: 1}
    with pytest.raises(SettlementError):
        records[2].ack()


def test_nothing_comes_again_that_was_acknowledged_before_a_crash(disk, again):
    fill(disk.log, 100)
    done = set()
    for _ in range(4):
        with disk.log.share_consumer("t", group="g", delivery_limit=100) as worker:
            for record in worker.poll(0, max_records=60):
                assert record.offset not in done
                if (record.offset + record.delivery_count) % 3 == 0:
                    record.ack()
                    done.add(record.offset)
                elif record.offset % 5 == 0:
                    record.release()
            again()
    assert lag(disk.log) == 100 - len(done)


def test_counts_survive(disk, again):
    fill(disk.log, 3)
    with disk.log.share_consumer("t", group="g") as worker:
        for _ in range(3):
            worker.poll(0, max_records=1)[0].release()
        worker.poll(0, max_records=2)
        log = again()
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {0: 5, 1: 2, 2: 1}


def test_what_was_given_up_stays_away(disk, again):
    fill(disk.log, 2)
    with disk.log.share_consumer("t", group="g", delivery_limit=1) as worker:
        worker.poll(0, max_records=1)[0].release()
    log = again()
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {1: 1}


def test_a_crash_counts_as_a_delivery(disk):
    fill(disk.log, 1)
    seen = []
    for _ in range(4):
        with disk.log.share_consumer("t", group="g", delivery_limit=3) as worker:
            seen += [record.delivery_count for record in worker.poll(0)]
            disk.crash()
    assert seen == [1, 2, 3]
    with disk.log.share_consumer("t", group="g", delivery_limit=3) as worker:
        assert worker.poll(0) == []
    assert lag(disk.log) == 0


@pytest.mark.parametrize("sync", ["commit", "interval", "none"])
def test_a_record_that_kills_its_process_is_given_up(tmp_path, sync):
    with Log(tmp_path / "s", sync=sync) as log:
        log.create_topic("t")
        log.append_many("t", [b"good", b"deadly", b"good"])
    endings = [
        subprocess.run(
            [sys.executable, "-c", KILLED_BY_A_RECORD, tmp_path / "s", sync], env=child_environment(), check=False
        ).returncode
        for _ in range(5)
    ]
    assert endings == [9, 9, 9, 0, 0]
    with Log(tmp_path / "s", sync=sync) as log:
        assert lag(log) == 0


def test_definitions_survive(disk, again):
    disk.log.create_topic("two", partitions=2)
    disk.log.share_consumer("t", "two", group="g").close()
    disk.log.share_consumer("t", group="gone").close()
    disk.log.delete_group("gone")
    log = again()
    assert log.groups() == ["g"]
    assert log.describe_group("g").lag == {
        TopicPartition("t", 0): 0,
        TopicPartition("two", 0): 0,
        TopicPartition("two", 1): 0,
    }
    with pytest.raises(msglog.GroupError):
        log.consumer("t", group="g")


def test_a_group_that_began_at_the_end_begins_there_again(disk, again):
    fill(disk.log, 3)
    disk.log.share_consumer("t", group="g", start="latest").close()
    fill(disk.log, 2)
    log = again()
    with log.share_consumer("t", group="g", start="latest") as worker:
        assert offsets(worker.poll(0)) == [3, 4]


def test_a_snapshot_holds_all_of_it(tmp_path, clock):
    with Log(tmp_path / "s", sync="none", clock=clock) as log:
        log.create_topic("t")
        fill(log, 6000)
        with log.share_consumer("t", group="g") as worker:
            for step in range(12):
                for record in worker.poll(0):
                    if record.offset % 100:
                        record.ack()
                if step == 6:
                    log.store.core.engine.snapshot_wanted = True
                    log.store.core.engine.checkpoint()
    with Log(tmp_path / "s", sync="none", clock=clock) as log, log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == dict.fromkeys(range(0, 6000, 100), 2)


def test_a_readonly_store_has_groups_to_look_at(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        fill(log, 5)
        with log.share_consumer("t", group="g") as worker:
            worker.poll(0)[0].ack()
    with Log(tmp_path / "s", readonly=True) as reader:
        assert reader.groups() == ["g"]
        assert lag(reader) == 4
        for refused in (
            lambda: reader.share_consumer("t", group="g"),
            lambda: reader.delete_group("g"),
            lambda: reader.reset_offsets("g", "t"),
        ):
            with pytest.raises(ReadOnlyError):
                refused()


def test_a_full_disk_costs_no_delivery(log, monkeypatch):
    """What could not be written down was not handed out, and does not count."""
    fill(log, 2)
    with log.share_consumer("t", group="g", delivery_limit=2) as worker:
        worker.poll(0, max_records=1)[0].release()

        def full(*_):
            raise DiskFullError("no space", path="", requested=1)

        with monkeypatch.context() as patch:
            patch.setattr(type(log.store.core.engine.writer), "append_all", full)
            patch.setattr(type(log.store.core.engine.writer), "write", full)
            for _ in range(5):
                with pytest.raises(DiskFullError):
                    worker.poll(0)
        assert counts(worker.poll(0)) == {0: 2, 1: 1}


def test_what_cannot_be_given_up_now_is_given_up_later(log, clock, monkeypatch):
    fill(log, 1)
    with log.share_consumer("t", group="g", delivery_limit=1) as worker:
        worker.poll(0)

        def full(*_):
            raise DiskFullError("no space", path="", requested=1)

        with monkeypatch.context() as patch:
            patch.setattr(type(log.store.core.engine.writer), "append_all", full)
            clock.advance(seconds=30)
        assert lag(log) == 1
        assert worker.poll(0) == []
        assert lag(log) == 0


def test_a_forked_child_may_not_settle(tmp_path):
    script = """
import os, sys, warnings
import msglog
warnings.simplefilter("ignore")
log = msglog.Log(sys.argv[1], sync="none")
log.create_topic("t")
log.append("t", b"x")
worker = log.share_consumer("t", group="g")
record, = worker.poll(0)
if os.fork() == 0:
    for call in (record.ack, lambda: worker.poll(0)):
        try:
            call()
        except msglog.ClosedError:
            pass
        else:
            os._exit(1)
    worker.close()
    os._exit(0)
_, status = os.wait()
record.ack()
log.close()
sys.exit(os.waitstatus_to_exitcode(status))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "s"], env=child_environment(), check=False, timeout=60
    )
    assert ended.returncode == 0
    with Log(tmp_path / "s") as log:
        assert lag(log) == 0


def test_nothing_warns_at_the_end(disk):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        disk.log.share_consumer("t", group="g").close()
        disk.reopen()
