"""`Store.metrics`: what it tells, that it is plain, that it asks nothing of the disk, and how it ends."""

import json
import os
import sys
import threading

import pytest

import msglog
from msglog.storage.reader import Reader
from msglog.testing import ManualClock

ENGINE = {
    "commits",
    "durable_commits",
    "checkpoints",
    "journal_syncs",
    "life",
    "streams",
    "segments",
    "open_segments",
    "bytes_stored",
    "journal_bytes",
    "journal_used_bytes",
    "state_cost",
    "failed",
}
BROKER = {"exchanges", "bindings", "policies", "delayed", "queues"}
LOG = {"topics", "groups", "share_groups"}


@pytest.fixture
def store():
    with msglog.Store(":memory:") as store:
        yield store


def test_the_names_are_these_and_an_empty_store_has_all_of_them(store):
    metrics = store.metrics()
    assert metrics.keys() == ENGINE | BROKER | LOG | {"recovery", "subscriptions"}
    assert all(type(metrics[name]) is int for name in ENGINE | BROKER - {"queues"})
    assert all(isinstance(value, int | float) for value in metrics["recovery"].values())
    assert metrics["topics"] == metrics["groups"] == metrics["share_groups"] == metrics["queues"] == {}
    assert metrics["subscriptions"] == []


def test_all_of_it_survives_json(store):
    store.log.create_topic("t", partitions=2)
    store.log.append("t", b"\xff", key=b"\xfe")
    store.broker.declare_queue("q")
    with store.log.consumer("t", group="g") as consumer, store.log.share_consumer("t", group="s") as sharer:
        consumer.poll(0)
        consumer.commit()
        sharer.poll(0)
        metrics = store.metrics()
    assert json.loads(json.dumps(metrics)) == metrics


def test_a_topic_tells_offsets_and_records_of_each_partition(store):
    store.log.create_topic("t", partitions=2)
    store.log.append_many("t", [b"x"] * 5, partition=1)
    store.log.delete_records("t", 1, 2)
    topic = store.metrics()["topics"]["t"]
    assert topic["records"] == 3
    assert [(one["start_offset"], one["end_offset"], one["records"]) for one in topic["partitions"]] == [
        (0, 0, 0),
        (2, 5, 3),
    ]
    described = store.log.describe_topic("t").partitions
    assert [one["bytes_stored"] for one in topic["partitions"]] == [one.size_bytes for one in described]
    assert topic["bytes_stored"] == sum(one.size_bytes for one in described) > 0


def test_a_group_tells_its_lag(store):
    store.log.create_topic("t", partitions=2)
    store.log.append_many("t", [b"x"] * 5, partition=1)
    with store.log.consumer("t", group="g") as consumer:
        consumer.poll(0, max_records=2)
        consumer.commit({msglog.TopicPartition("t", 1): 2})
        group = store.metrics()["groups"]["g"]
    assert (group["members"], group["lag"], group["state"]) == (1, 3, "Stable")
    assert group["partitions"] == [
        {"topic": "t", "partition": 0, "offset": None, "lag": None},
        {"topic": "t", "partition": 1, "offset": 2, "lag": 3},
    ]
    assert store.metrics()["groups"]["g"]["members"] == 0


def test_a_share_group_tells_its_lag_and_what_is_in_hand(store):
    store.log.create_topic("t")
    store.log.append_many("t", [b"x"] * 5)
    with store.log.share_consumer("t", group="s") as consumer:
        records = consumer.poll(0, max_records=2)
        records[0].ack()
        metrics = store.metrics()
    assert metrics["groups"] == {}
    group = metrics["share_groups"]["s"]
    assert (group["members"], group["lag"], group["unsettled"]) == (1, 4, 1)


def test_a_queue_tells_what_waits_and_what_is_done(store):
    broker = store.broker
    broker.declare_queue("q", max_priority=3)
    for priority in (0, 1, 1, 3):
        broker.send("q", b"body", priority=priority)
    with broker.consume("q", prefetch_count=3) as consumer:
        first, second, third = (consumer.get(0) for _ in range(3))
        first.ack()
        second.nack()
        third.reject()
        held = consumer.get(0)
        queue = store.metrics()["queues"]["q"]
        held.ack()
    assert (queue["ready"], queue["unsettled"], queue["consumers"]) == (1, 1, 1)
    assert (queue["published"], queue["delivered"], queue["settled"]) == (4, 3, 2)
    assert queue["bytes_stored"] > 16
    assert store.metrics()["queues"]["q"]["settled"] == 3


@pytest.mark.parametrize("due", [0, 3_600_000])
def test_delayed_messages_are_counted_until_they_are_due(due):
    clock = ManualClock()
    with msglog.Store(":memory:", clock=clock) as store:
        store.broker.declare_queue("q")
        for delay_ms in (1000, 2000, 90_000):
            store.broker.publish("", "q", b"x", delay_ms=due + delay_ms)
        assert store.metrics()["delayed"] == 3
        clock.advance(ms=due + 1500)
        metrics = store.metrics()
        assert (metrics["delayed"], metrics["queues"]["q"]["ready"]) == (2, 1)
        clock.advance(ms=90_000)
        metrics = store.metrics()
        assert (metrics["delayed"], metrics["queues"]["q"]["ready"]) == (0, 3)


def test_subscriptions_tell_how_many_workers_are_alive(store):
    store.log.create_topic("t")
    store.broker.declare_queue("q")

    def fail(_record):
        raise SystemExit

    log = store.log.subscribe("t", group="g", callback=fail, workers=2)
    queue = store.broker.subscribe("q", lambda _: None)
    assert sorted(store.metrics()["subscriptions"], key=str) == [
        {"group": "g", "workers": 2, "workers_alive": 2},
        {"queue": "q", "workers": 1, "workers_alive": 1},
    ]
    store.log.append("t", b"x")
    assert log.join(10)  # one worker after the other takes the record and ends by it
    queue.close()
    assert store.metrics()["subscriptions"] == [{"group": "g", "workers": 2, "workers_alive": 0}]
    log.close()
    assert store.metrics()["subscriptions"] == []


def test_counters_of_the_engine_rise(tmp_path):
    with msglog.Store(tmp_path / "s") as store:
        store.log.create_topic("t")
        before = store.metrics()
        store.log.append("t", b"x")
        after = store.metrics()
        assert after["commits"] == after["durable_commits"] == before["commits"] + 1
        assert after["journal_syncs"] == before["journal_syncs"] + 1
        assert after["journal_used_bytes"] > before["journal_used_bytes"]
        assert after["journal_bytes"] >= after["journal_used_bytes"]
        life, checkpoints = after["life"], after["checkpoints"]
    with msglog.Store(tmp_path / "s") as store:
        metrics = store.metrics()
        assert metrics["life"] == life + 1
        assert metrics["checkpoints"] > checkpoints
        assert metrics["recovery"]["clean"] == 1


def test_a_failed_store_still_tells_and_says_that_it_failed(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        assert store.metrics()["failed"] == 0
        store.core.engine.stop_writing("a sync failed", OSError("test"))
        assert store.metrics()["failed"] == 1


def test_a_reader_in_step_with_the_writer_tells_the_same_of_topics_and_queues(tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as store:
        store.log.create_topic("t")
        store.broker.declare_queue("q")
        store.broker.send("q", b"x")
        reader = msglog.Store(_linked(tmp_path), readonly=True)
        with reader:
            store.log.append("t", b"x")
            store.broker.send("q", b"x")
            mine, others = store.metrics(), reader.metrics()
    for name in ("topics", "queues", "commits"):
        assert mine[name] == others[name]


def _linked(tmp_path):
    """Return the store's directory as another process would have it: this one shares what it has open."""
    path = tmp_path / "other"
    path.mkdir()
    for entry in (tmp_path / "s").iterdir():
        if entry.name != "LOCK":
            (path / entry.name).symlink_to(entry)
    (path / "LOCK").touch()
    return path


def test_nothing_is_read_from_the_data(store, monkeypatch):
    store.log.create_topic("t")
    store.log.append_many("t", [b"x"] * 100)
    store.broker.declare_queue("q", max_length_bytes=1000)
    for _ in range(10):
        store.broker.send("q", b"x")
    with store.log.consumer("t", group="g") as consumer:
        consumer.poll(0)
        consumer.commit()
        monkeypatch.setattr(Reader, "read", lambda _: pytest.fail("metrics read a frame"))
        metrics = store.metrics()
        monkeypatch.undo()
    assert metrics["queues"]["q"]["ready"] == 10


def test_it_ends_with_the_store():
    store = msglog.Store(":memory:")
    store.close()
    with pytest.raises(msglog.ClosedError):
        store.metrics()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_is_refused(tmp_path):
    with msglog.Store(tmp_path / "s") as store:
        store.broker.declare_queue("q")
        pid = os.fork()
        if pid == 0:
            try:
                store.metrics()
            except msglog.ClosedError:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_it_may_be_called_while_everything_changes(store):
    failures, seen = [], []

    def change():
        try:
            for number in range(100):
                store.log.create_topic(f"t{number}")
                store.broker.declare_queue(f"q{number}")
                store.broker.send(f"q{number}", b"x")
                store.log.reset_offsets("g", f"t{number}", to="latest")
                if number >= 20:
                    store.log.delete_topic(f"t{number - 20}")
                    store.broker.delete_queue(f"q{number - 20}")
        except Exception as error:  # noqa: BLE001 shown below
            failures.append(error)

    thread = threading.Thread(target=change)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        while thread.is_alive():
            seen.append(tuple(store.metrics()["queues"]))
    finally:
        sys.setswitchinterval(interval)
        thread.join()
    assert failures == []
    assert len(set(seen)) > 1
    assert len(store.metrics()["topics"]) == len(store.metrics()["queues"]) == 20
