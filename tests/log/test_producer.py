"""Named producers: sequences, duplicates, fencing, crashes."""

import shutil
import threading

import pytest

from msglog import (
    ClosedError,
    FencedError,
    GroupError,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    OffsetConflictError,
    Producer,
    TopicNotFoundError,
)
from msglog.log.producers import REMEMBERED_BATCHES


@pytest.fixture
def producer(log):
    log.create_topic("t")
    log.create_topic("m", partitions=3)
    with log.producer("p") as producer:
        yield producer


def values(log, topic="t"):
    return [record.value for record in log.read(topic)]


def test_sequences_count_from_zero(log, producer):
    assert producer.last_sequence == -1
    producer.append("t", b"0")
    producer.append("t", b"1", sequence=1)
    producer.append_many("t", [b"2", b"3"])
    assert producer.last_sequence == 3
    producer.append("m", b"4", sequence=4)
    assert producer.last_sequence == 4
    assert values(log) == [b"0", b"1", b"2", b"3"]


def test_a_duplicate_is_where_it_was(log, clock, producer):
    first = producer.append("t", b"x", key=b"k", sequence=0)
    assert not first.duplicate
    clock.advance(ms=5)
    again = producer.append("t", b"x", key=b"k", sequence=0)
    assert again == first._replace(duplicate=True)
    assert values(log) == [b"x"]


def test_a_duplicate_batch_is_where_it_was(log, producer):
    keys = [b"%d" % number for number in range(20)]
    placed = producer.append_many("m", keys, keys=keys, first_sequence=0)
    producer.append("t", b"x", sequence=20)
    assert producer.append_many("m", keys, keys=keys, first_sequence=0) == placed
    assert sum(log.end_offset("m", partition) for partition in range(3)) == 20


@pytest.mark.parametrize("sequence", [1, 2, 100])
def test_a_gap_is_refused(log, producer, sequence):
    with pytest.raises(GroupError, match="gap") as caught:
        producer.append("t", b"x", sequence=sequence)
    error = caught.value
    assert (error.producer, error.sequence, error.last_sequence) == ("p", sequence, -1)
    with pytest.raises(GroupError, match="gap"):
        producer.append_many("t", [b"x"], first_sequence=sequence)
    assert values(log) == []
    assert producer.last_sequence == -1


def test_a_batch_sent_otherwise_is_refused(log, producer):
    producer.append_many("t", [b"0", b"1", b"2"], first_sequence=0)
    for resend in (
        lambda: producer.append_many("t", [b"0", b"1"], first_sequence=0),
        lambda: producer.append("t", b"0", sequence=0),
        lambda: producer.append("t", b"1", sequence=1),
        lambda: producer.append_many("m", [b"0", b"1", b"2"], first_sequence=0),
        lambda: producer.append_many("t", [b"2", b"3"], first_sequence=2),
    ):
        with pytest.raises(GroupError):
            resend()
    assert values(log) == [b"0", b"1", b"2"]


def test_only_the_last_batches_are_remembered(log, producer):
    for sequence in range(REMEMBERED_BATCHES + 1):
        producer.append("t", b"x", sequence=sequence)
    assert producer.append("t", b"x", sequence=1).duplicate
    with pytest.raises(GroupError, match="remembered"):
        producer.append("t", b"x", sequence=0)
    assert len(values(log)) == REMEMBERED_BATCHES + 1


def test_nothing_takes_no_sequence(producer):
    assert producer.append_many("t", []) == {}
    assert producer.last_sequence == -1


def test_a_second_holder_fences_the_first(log, producer):
    producer.append("t", b"0")
    second = log.producer("p")
    assert second.last_sequence == 0
    for use in (
        lambda: producer.append("t", b"x"),
        lambda: producer.append("t", b"0", sequence=0),
        lambda: producer.append_many("t", [b"x"]),
        lambda: producer.last_sequence,
    ):
        with pytest.raises(FencedError) as caught:
            use()
        assert caught.value.producer == "p"
    assert second.append("t", b"1", sequence=1).offset == 1
    assert values(log) == [b"0", b"1"]
    second.close()


def test_names_do_not_disturb_each_other(log, producer):
    producer.append("t", b"0", sequence=0)
    with log.producer("q") as other:
        assert other.append("t", b"0", sequence=0).offset == 1


def test_expected_offset_and_sequence(producer):
    producer.append("t", b"0", sequence=0, expected_offset=0)
    assert producer.append("t", b"0", sequence=0, expected_offset=0).duplicate
    with pytest.raises(OffsetConflictError):
        producer.append("t", b"1", sequence=1, expected_offset=0)
    assert producer.last_sequence == 0
    assert producer.append("t", b"1", sequence=1, expected_offset=1).offset == 1


def test_append_time_of_a_duplicate(log, clock):
    log.create_topic("t", timestamp_type="append")
    with log.producer("p") as producer:
        first = producer.append("t", b"x", sequence=0, timestamp_ms=5)
        assert first.timestamp_ms == clock.now_ms()
        clock.advance(seconds=1)
        assert producer.append("t", b"x", sequence=0).timestamp_ms == first.timestamp_ms


def test_a_recreated_topic_is_another(log, producer):
    producer.append("t", b"x", sequence=0)
    log.delete_topic("t")
    with pytest.raises(TopicNotFoundError):
        producer.append("t", b"x", sequence=0)
    log.create_topic("t")
    with pytest.raises(GroupError, match="otherwise"):
        producer.append("t", b"x", sequence=0)


def test_a_closed_producer(log, producer):
    with producer:
        producer.append("t", b"0")
    producer.close()
    with pytest.raises(ClosedError, match="'p'"):
        producer.append("t", b"x")
    with log.producer("p") as again:
        assert again.last_sequence == 0


def test_a_producer_that_is_collected_unclosed_warns(log):
    producer = log.producer("p")
    with pytest.warns(ResourceWarning, match="unclosed <msglog.Producer 'p'"):
        del producer


def test_a_producer_of_a_closed_store(tmp_path):
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        producer = log.producer("p")
    with pytest.raises(ClosedError):
        producer.append("t", b"x")


@pytest.mark.parametrize("name", ["", "a\n", "x" * 256, None, 1, b"p"])
def test_names(log, name):
    with pytest.raises(InvalidNameError, match="producer"):
        log.producer(name)


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "0", 1 << 64])
def test_sequences_are_ints(producer, wrong):
    with pytest.raises(InvalidOptionError, match="sequence"):
        producer.append("t", b"x", sequence=wrong)
    with pytest.raises(InvalidOptionError, match="first_sequence"):
        producer.append_many("t", [b"x"], first_sequence=wrong)


def test_records_are_checked_as_everywhere(producer):
    with pytest.raises(InvalidTypeError):
        producer.append("t", "text")
    with pytest.raises(InvalidTypeError):
        producer.append_many("t", [b"x", "text"])
    assert producer.last_sequence == -1


def test_two_threads_at_once(log, monkeypatch, producer):
    inside, leave = threading.Event(), threading.Event()
    write = Producer._write

    def slow(self, *args):
        inside.set()
        leave.wait(10)
        return write(self, *args)

    monkeypatch.setattr(Producer, "_write", slow)
    thread = threading.Thread(target=producer.append, args=("t", b"x"))
    thread.start()
    inside.wait(10)
    with pytest.raises(RuntimeError, match="another thread"):
        producer.append("t", b"y")
    leave.set()
    thread.join()
    producer.append("t", b"z")
    assert values(log) == [b"x", b"z"]


@pytest.mark.parametrize("sync", ["commit", "interval", "none"])
def test_a_retry_after_a_kill_is_harmless(tmp_path, sync):
    with Log(tmp_path / "s", sync=sync) as log:
        log.create_topic("t", partitions=2)
        producer = log.producer("p")
        first = producer.append("t", b"0", sequence=0)
        many = producer.append_many("t", [b"1", b"2"], keys=[b"a", b"b"], first_sequence=1)
        # What a killed process leaves behind is what is in the files now.
        shutil.copytree(tmp_path / "s", tmp_path / "killed")
    with Log(tmp_path / "killed", sync=sync) as log:
        again = log.producer("p")
        assert again.last_sequence == 2
        assert again.append("t", b"0", sequence=0) == first._replace(duplicate=True)
        assert again.append_many("t", [b"1", b"2"], keys=[b"a", b"b"], first_sequence=1) == many
        assert sum(log.end_offset("t", partition) for partition in range(2)) == 3


def test_state_survives_snapshots(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        producer = log.producer("p")
        for number in range(5000):
            producer.append("t", b"%d" % number)
        log.store.flush()
    with Log(tmp_path / "s") as log:
        producer = log.producer("p")
        assert producer.last_sequence == 4999
        assert producer.append("t", b"4999", sequence=4999).duplicate
        assert "epoch=1" in repr(producer)
