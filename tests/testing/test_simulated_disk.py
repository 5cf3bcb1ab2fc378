"""A simulated disk is a disk: stores open on it by path, survive a kill whole, and a power cut as `sync` promises."""

import gc
import threading

import pytest

import msglog
from msglog.testing import ManualClock, SimulatedDisk
from msglog.testing.disk_files import DiskFile, DiskFiles
from support.scale import scaled


@pytest.fixture
def disk():
    with SimulatedDisk() as made:
        yield made


def values(store, topic="t"):
    return [record.value for record in store.log.read(topic)]


def filled(disk, sync):
    """Open a store with a topic and a queue that are synced, and a record and a message that nobody flushed."""
    store = disk.open(sync=sync, clock=ManualClock())
    store.log.create_topic("t")
    store.broker.declare_queue("q")
    store.flush()
    store.log.append("t", b"v")
    store.broker.send("q", b"m")
    return store


def test_a_store_on_it_outlives_its_closing(disk):
    with disk.open(sync="none") as store:
        store.log.create_topic("t")
        store.log.append_many("t", [b"%d" % number for number in range(5000)])
    with msglog.Store(disk.path) as store:
        assert store.log.end_offset("t") == 5000
        assert store.recovery.clean
        assert list(store.verify()) == []
    assert list(msglog.verify(disk.path)) == []


def test_code_under_test_opens_it_by_its_path(disk):
    with disk.open() as store, msglog.Log(disk.path) as log, msglog.Broker(disk.path) as broker:
        log.create_topic("t")
        broker.declare_queue("q")
        assert store.log.topics() == ["t"]


def test_a_reader_follows_it(disk):
    with disk.open() as store:
        store.log.create_topic("t")
        store.log.append("t", b"v")
        assert list(msglog.verify(disk.path)) == []
    with msglog.Store(disk.path, readonly=True) as reader:
        assert values(reader) == [b"v"]


def test_it_can_be_backed_up_to_a_real_one(disk, tmp_path):
    with disk.open() as store:
        store.log.create_topic("t")
        store.log.append("t", b"v")
        store.backup(tmp_path / "copy")
    with msglog.Store(tmp_path / "copy") as copy:
        assert values(copy) == [b"v"]


def test_disks_are_apart():
    one, two = SimulatedDisk(), SimulatedDisk()
    with one.open() as store, two.open() as other:
        store.log.create_topic("t")
        assert other.log.topics() == []


def test_the_path_of_a_disk_that_is_gone_leads_nowhere():
    path = SimulatedDisk().path
    gc.collect()
    with pytest.raises(msglog.StoreFailedError):
        msglog.Store(path)


@pytest.mark.parametrize("sync", ["commit", "interval", "none"])
def test_a_kill_loses_nothing(disk, sync):
    filled(disk, sync)
    disk.crash()
    with disk.open() as store:
        assert values(store) == [b"v"]
        assert [message.body for message in store.broker.peek("q")] == [b"m"]
        assert not store.recovery.clean
        assert list(store.verify()) == []


@pytest.mark.parametrize(("sync", "left"), [("commit", [b"v"]), ("interval", []), ("none", [])])
def test_a_power_cut_loses_what_sync_does_not_promise(disk, sync, left):
    filled(disk, sync)
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert values(store) == left
        assert len(store.broker.peek("q")) == len(left)
        assert list(store.verify()) == []


@pytest.mark.parametrize("sync", ["interval", "none"])
def test_a_flush_saves_from_a_power_cut(disk, sync):
    filled(disk, sync).flush()
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert values(store) == [b"v"]


def test_an_ack_that_was_not_synced_delivers_again_after_a_power_cut(disk):
    store = filled(disk, "commit")
    store.broker.get("q").ack()
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert store.broker.get("q").body == b"m"


def test_an_ack_outlives_a_kill(disk):
    store = filled(disk, "commit")
    store.broker.get("q").ack()
    disk.crash()
    with disk.open() as store:
        assert store.broker.get("q") is None


def test_what_was_in_hand_comes_again(disk):
    store = filled(disk, "commit")
    delivery = store.broker.get("q")
    disk.crash()
    with pytest.raises(msglog.ClosedError):
        delivery.ack()
    with disk.open() as store:
        assert store.broker.get("q").redelivered is False  # nobody wrote down that it was delivered


def test_a_transaction_is_whole_after_a_power_cut(disk):
    store = filled(disk, "commit")
    with store.transaction() as tx:
        tx.append("t", b"both")
        tx.send("q", b"both")
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert values(store)[-1] == b"both"
        assert [message.body for message in store.broker.peek("q")][-1] == b"both"


def test_crashes_follow_each_other(disk):
    filled(disk, "commit")
    for number in range(3):
        disk.crash(power_loss=number % 2 == 0)
        disk.open().log.append("t", b"%d" % number)
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert values(store) == [b"v", b"0", b"1", b"2"]


def test_a_large_journal_survives(disk):
    with disk.open(sync="commit") as store:
        store.log.create_topic("t")
        for number in range(60):
            store.log.append("t", b"%d" % number * 20_000)
        disk.crash(power_loss=True)
    with disk.open() as store:
        assert len(values(store)) == 60
        assert list(store.verify()) == []


def test_what_is_left_of_a_crashed_store_refuses_and_can_be_closed(disk):
    store = filled(disk, "commit")
    log, broker = store.log, store.broker
    consumer, queue_consumer = log.consumer("t", group="g"), broker.consume("q")
    disk.crash()
    for call in (
        lambda: log.append("t", b"v"),
        lambda: list(log.read("t")),
        lambda: broker.send("q", b"m"),
        lambda: broker.get("q"),
        lambda: consumer.poll(0),
        lambda: queue_consumer.get(0),
        store.flush,
    ):
        with pytest.raises((msglog.ClosedError, msglog.StoreFailedError)):
            call()
    for handle in (consumer, queue_consumer, log, broker, store):
        handle.close()
    with disk.open() as again:
        assert values(again) == [b"v"]


def test_subscriptions_end_with_a_crash_and_without_a_word(disk, caplog):
    store = filled(disk, "commit")
    seen = threading.Event()
    subscriptions = [
        store.log.subscribe("t", group="g", callback=lambda _: seen.set()),
        store.broker.subscribe("q", lambda _: None),
    ]
    assert seen.wait(30)
    disk.crash()
    assert all(subscription.join(30) for subscription in subscriptions)
    store.close()
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.parametrize("power_loss", [False, True])
def test_a_call_that_waits_for_a_sync_hears_that_its_outcome_is_unknown(disk, monkeypatch, power_loss):
    store = filled(disk, "commit")
    sync = DiskFile.sync

    def crash_before(file):
        monkeypatch.undo()
        disk.crash(power_loss=power_loss)
        sync(file)

    monkeypatch.setattr(DiskFile, "sync", crash_before)
    with pytest.raises(msglog.StoreFailedError) as failure:
        store.log.append("t", b"in doubt")
    assert failure.value.outcome == "unknown"
    with disk.open() as store:
        assert values(store) == ([b"v"] if power_loss else [b"v", b"in doubt"])


def test_a_closed_store_crashes_without_harm(disk):
    filled(disk, "none").close()
    disk.crash(power_loss=True)
    with disk.open() as store:
        assert values(store) == [b"v"]
        assert store.recovery.clean


def test_options_are_those_of_the_last_opening(disk):
    with disk.open(sync="none") as store:
        assert store.core.engine.options.sync == "none"
    with disk.open() as store:
        assert store.core.engine.options.sync == "none"
    with disk.open(sync="interval") as store:
        assert store.core.engine.options.sync == "interval"


def test_closing_the_disk_closes_its_stores():
    with SimulatedDisk() as disk:
        store = disk.open()
    assert store.closed
    disk.close()
    assert repr(disk) == f"<msglog.testing.SimulatedDisk {disk.path!r}>"


def test_a_crash_must_be_told_what_it_is(disk):
    with pytest.raises(msglog.InvalidTypeError, match="power_loss must be True or False"):
        disk.crash(power_loss=1)


# The files beneath


def test_what_is_not_synced_is_lost_with_the_power_and_kept_without():
    files = DiskFiles()
    file = files.open("/d/a", create=True)
    file.write(0, b"synced")
    file.sync()
    files.sync_directory("/d")
    file.write(3, b"XYZ")
    file.allocate(10)
    files.open("/d/b", create=True).sync()
    killed, cut = files.crash(power_loss=False), files.crash(power_loss=True)
    assert killed.list("/d") == {"a": 10, "b": 0}
    assert killed.open("/d/a").read(0, 10) == b"synXYZ\0\0\0\0"
    assert cut.list("/d") == {"a": 6}
    assert cut.open("/d/a").read(0, 10) == b"synced"


def test_names_come_and_go_with_the_sync_of_their_directory():
    files = DiskFiles()
    for name in ("/d/a", "/d/b"):
        files.open(name, create=True)
    files.sync_directory("/d")
    files.rename("/d/a", "/d/c")
    files.unlink("/d/b")
    assert files.list("/d") == {"c": 0}
    assert files.crash(power_loss=True).list("/d") == {"a": 0, "b": 0}


def test_the_dead_change_nothing():
    files = DiskFiles()
    file = files.open("/d/a", create=True)
    mapped = file.map(4)
    mapped[0:2] = b"ab"
    left = files.crash(power_loss=False)
    mapped[2:4] = b"cd"
    file.write(0, b"zzzzzzzz")
    files.unlink("/d/a")
    for dead in (file.sync, lambda: files.sync_directory("/d"), lambda: files.open("/d/b", create=True)):
        with pytest.raises(OSError, match="the process was killed"):
            dead()
    assert bytes(mapped) == b"ab\0\0"
    assert left.open("/d/a").read(0, 9) == b"ab\0\0"


def test_one_lock_for_each_store():
    files = DiskFiles()
    lock = files.lock("/d/LOCK")
    assert files.is_locked("/d/LOCK")
    with pytest.raises(msglog.StoreLockedError, match="the store /d is open"):
        files.lock("/d/LOCK")
    with pytest.raises(msglog.StoreLockedError):
        files.lock_out_writers("/d/LOCK")
    lock.release()
    lock.release()
    assert not files.is_locked("/d/LOCK")
    assert not lock.is_current()


# Crashes in the middle of work


@pytest.mark.parametrize(("sync", "power_loss"), [("commit", True), ("commit", False), ("interval", False)])
def test_what_returned_before_a_crash_is_there_after_it(disk, sync, power_loss):
    store = disk.open(sync=sync)
    store.log.create_topic("t")
    store.broker.declare_queue("q")
    returned = []
    for round_ in range(scaled(8)):
        begun = threading.Barrier(4)
        threads = [threading.Thread(target=write, args=(store, begun, returned, round_, n)) for n in range(3)]
        for thread in threads:
            thread.start()
        begun.wait(30)
        while len(returned) < 10 * (round_ + 1) and any(thread.is_alive() for thread in threads):
            threading.Event().wait(0.001)
        disk.crash(power_loss=power_loss)
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        store = disk.open()
        there = {*values(store), *(message.body for message in store.broker.peek("q", 100_000))}
        assert set(returned) <= there
        assert list(store.verify()) == []
    assert len(returned) >= 10


def write(store, begun, returned, round_, number):
    """Append and publish until the store is gone; note what returned."""
    begun.wait(30)
    for count in range(100_000):
        value = b"%d %d %d" % (round_, number, count)
        try:
            if number:
                store.log.append("t", value)
            else:
                store.broker.send("q", value)
        except (msglog.ClosedError, msglog.StoreFailedError):
            return
        returned.append(value)
