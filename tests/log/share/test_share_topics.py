"""What happens to topics under a share group: new ones, new partitions, deletion, retention, compaction, damage."""

import re

import pytest

from msglog import CorruptionError, Log, SettlementError, TopicPartition
from support.brokers import Call
from support.shares import counts, fill, lag, offsets


def places(records):
    return sorted((record.topic, record.partition, record.offset) for record in records)


def test_several_topics(log):
    log.create_topic("u", partitions=2)
    fill(log, 1)
    fill(log, 1, topic="u", partition=1)
    with log.share_consumer("t", "u", group="g") as worker:
        assert places(worker.poll(0)) == [("t", 0, 0), ("u", 1, 0)]


def test_members_may_want_different_topics(log):
    log.create_topic("u")
    fill(log, 2)
    fill(log, 2, topic="u")
    with log.share_consumer("t", group="g") as a, log.share_consumer("t", "u", group="g") as b:
        assert places(a.poll(0)) == [("t", 0, 0), ("t", 0, 1)]
        assert places(b.poll(0)) == [("u", 0, 0), ("u", 0, 1)]
        assert [member.topics for member in log.describe_group("g").members] == [{"t"}, {"t", "u"}]


def test_patterns_take_up_topics_that_are_made_later(log):
    log.create_topic("events-a")
    fill(log, 1, topic="events-a")
    with log.share_consumer(re.compile("events-.*"), group="g") as worker:
        assert places(worker.poll(0)) == [("events-a", 0, 0)]
        log.create_topic("events-b")
        fill(log, 2, topic="events-b")
        assert places(worker.poll(0)) == [("events-b", 0, 0), ("events-b", 0, 1)]


def test_a_pattern_may_match_nothing_yet(log):
    with log.share_consumer(re.compile("later"), group="g") as worker:
        assert log.groups() == ["g"]
        call = Call(lambda: worker.poll(30)).until_asleep()
        log.create_topic("later")
        log.append("later", b"x")
        assert places(call.result()) == [("later", 0, 0)]


@pytest.mark.parametrize("start", ["earliest", "latest"])
def test_what_is_made_under_the_group_is_read_from_its_beginning(log, start):
    fill(log, 3)
    with log.share_consumer(re.compile("t|new"), group="g", start=start) as worker:
        records = worker.poll(0)
        assert offsets(records) == ([0, 1, 2] if start == "earliest" else [])
        log.add_partitions("t", 2)
        log.create_topic("new")
        fill(log, 2, partition=1)
        fill(log, 1, topic="new")
        assert places(worker.poll(0)) == [("new", 0, 0), ("t", 1, 0), ("t", 1, 1)]


def test_partitions_that_came_while_nobody_was_there(log):
    log.share_consumer("t", group="g", start="latest").close()
    log.add_partitions("t", 2)
    fill(log, 2, partition=1)
    with log.share_consumer("t", group="g", start="latest") as worker:
        assert places(worker.poll(0)) == [("t", 1, 0), ("t", 1, 1)]


def test_a_topic_that_is_deleted(log):
    log.create_topic("u")
    fill(log, 2)
    fill(log, 2, topic="u")
    with log.share_consumer("t", "u", group="g") as worker:
        gone = [record for record in worker.poll(0) if record.topic == "u"]
        log.delete_topic("u")
        for call in (gone[0].ack, gone[1].release):
            with pytest.raises(SettlementError, match="deleted"):
                call()
        assert worker.poll(0) == []
        assert set(log.describe_group("g").lag) == {TopicPartition("t", 0)}
    assert lag(log) == 2


def test_a_topic_made_anew_is_another_one(log, clock):
    fill(log, 3)
    with log.share_consumer("t", group="g", start="latest") as worker:
        fill(log, 1)
        (old,) = worker.poll(0)
        log.delete_topic("t")
        log.create_topic("t")
        fill(log, 2)
        assert counts(worker.poll(0)) == {0: 1, 1: 1}
        with pytest.raises(SettlementError):
            old.ack()
        clock.advance(seconds=30)
        assert counts(worker.poll(0)) == {0: 2, 1: 2}


def test_deleting_a_topic_leaves_no_cursors_behind(log):
    for group in "gh":
        log.share_consumer("t", group=group).close()
    models = log.store.core.engine.models
    assert len(models["cursors"].cursors) == 2
    log.delete_topic("t")
    assert models["cursors"].cursors == {}
    assert models["shares"].groups == {"g": {}, "h": {}}


def test_records_that_were_removed_are_not_waited_for(log):
    fill(log, 10)
    with log.share_consumer("t", group="g") as worker:
        records = worker.poll(0, max_records=4)
        records[1].release()
        log.delete_records("t", 0, 6)
        assert lag(log) == 4
        assert offsets(worker.poll(0)) == [6, 7, 8, 9]
        records[0].ack()
        records[2].release()
        records[3].reject()
        assert worker.poll(0) == []
        assert log.describe_group("g").offsets == {TopicPartition("t", 0): 6}


def test_removed_records_do_not_come_back_after_a_crash(disk, again):
    fill(disk.log, 10)
    with disk.log.share_consumer("t", group="g") as worker:
        worker.poll(0, max_records=4)
        disk.log.delete_records("t", 0, 3)
        worker.poll(0, max_records=1)
        log = again()
    with log.share_consumer("t", group="g") as worker:
        assert counts(worker.poll(0)) == {3: 2, 4: 2, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}


def test_retention_under_a_group(clock):
    with Log(":memory:", clock=clock, segment_bytes=1024) as log:
        log.create_topic("t", retention_ms=1000)
        for number in range(100):
            log.append("t", b"%d" % number * 20)
        with log.share_consumer("t", group="g") as worker:
            in_hand = worker.poll(0, max_records=10)
            clock.advance(seconds=10)
            log.append("t", b"new")
            log.clean()
            assert log.start_offset("t") > 10
            assert offsets(worker.poll(0))[-1] == 100
            for record in in_hand:
                record.ack()
            assert log.describe_group("g").offsets[TopicPartition("t", 0)] == log.start_offset("t")


def compact(log, count):
    """Have a compacted topic with records at the offsets `count - 2` and `count - 1` only."""
    for number in range(count):
        log.append("c", b"%d" % number, key=b"%d" % (number % 2))
    log.clean("c")


@pytest.fixture
def compacted(log):
    log.create_topic("c", cleanup_policy="compact", segment_bytes=1024)
    return log


def test_holes_are_left_out(compacted):
    compact(compacted, 50)
    with compacted.share_consumer("c", group="g") as worker:
        records = worker.poll(0)
        assert offsets(records) == [48, 49]
        for record in records:
            record.ack()
    assert lag(compacted) == 0


def test_holes_where_records_came_back(compacted):
    with compacted.share_consumer("c", group="g") as worker:
        for number in range(50):
            compacted.append("c", b"%d" % number, key=b"%d" % (number % 2))
        records = worker.poll(0, max_records=20)
        for place in (3, 4, 5, 11):
            records[place].ack()
        for place in (6, 7, 8):
            records[place].release()
        compacted.clean("c")
        rest = worker.poll(0)
        assert offsets(rest) == [48, 49]
        for record in (*records[:3], *records[9:11], *records[12:], *rest):
            record.ack()
    assert lag(compacted) == 0


def test_holes_after_a_crash(disk, again):
    disk.log.create_topic("c", cleanup_policy="compact", segment_bytes=1024)
    for number in range(50):
        disk.log.append("c", b"%d" % number, key=b"%d" % (number % 2))
    with disk.log.share_consumer("c", group="g") as worker:
        for record in worker.poll(0, max_records=30)[::3]:
            record.ack()
        log = again()
    log.clean("c")
    with log.share_consumer("c", group="g") as worker:
        records = worker.poll(0)
        assert counts(records) == {48: 1, 49: 1}
        for record in records:
            record.ack()
    assert lag(log) == 0


def test_a_hole_at_the_end(compacted):
    compacted.append("c", b"x", key=b"k")
    for _ in range(30):
        compacted.append("c", None, key=b"k")
    compacted.clean("c")
    compacted.store.core.clock.advance(seconds=100_000)
    compacted.clean("c")
    assert list(compacted.read("c")) == []
    with compacted.share_consumer("c", group="g") as worker:
        assert worker.poll(0) == []
        assert lag(compacted) == 0
        compacted.append("c", b"y", key=b"k")
        assert [record.value for record in worker.poll(0)] == [b"y"]


def test_a_damaged_partition_does_not_stop_the_others(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("d", partitions=2)
        fill(log, 5, topic="d", partition=0)
        fill(log, 5, topic="d", partition=1)
    damaged = next(path for path in sorted((tmp_path / "s" / "segments").iterdir()) if "0-d" in path.name)
    content = bytearray(damaged.read_bytes())
    place = content.index(b"01234")
    content[place : place + 5] = b"43210"
    damaged.write_bytes(content)
    with Log(tmp_path / "s", sync="none") as log, log.share_consumer("d", group="g") as worker:
        found, failures = [], 0
        for _ in range(10):
            try:
                found += worker.poll(0, max_records=1)
            except CorruptionError:
                failures += 1
        assert places(found) == [("d", 1, number) for number in range(5)]
        assert failures == 5
