"""A record that somebody waits for goes from the one who appends it into their hand: it is not read back."""

import threading
from collections import deque
from contextlib import contextmanager
from itertools import islice

import pytest

from msglog.log.positions import PartitionCursor
from msglog.storage import Reader
from msglog.types import TopicPartition
from support.brokers import wait_until


def _stream(log):
    return log._model.topic("t").partition(0)


@pytest.fixture
def reads(monkeypatch):
    """The offsets from which somebody tried to read, in order."""
    tried, read = [], Reader.read
    monkeypatch.setattr(Reader, "read", lambda reader: (tried.append(reader.offset), read(reader))[1])
    return tried


def _send(log, reads, number):
    """Append when somebody waits, and forget what was read until then."""
    wait_until(lambda: _stream(log).waiters)
    del reads[:]
    log.append("t", b"%d" % number, key=b"k" if number % 2 else None)


def _polled(consumer, count):
    while count:
        records = consumer.poll()
        count -= len(records)
        yield from records


@contextmanager
def _receiving(log, way, take):
    """Have `take` called for ten records."""
    if way == "callback":
        with log.subscribe("t", group="g", callback=take):
            yield
        return
    with log.consumer("t", group="g") as consumer:
        records = _polled(consumer, 10) if way == "poll" else islice(consumer, 10)
        thread = threading.Thread(target=lambda: deque(map(take, records), 0))
        thread.start()
        yield
        thread.join()
        assert consumer.position(TopicPartition("t", 0)) == 10


@pytest.mark.parametrize("way", ["poll", "iteration", "callback"])
def test_who_waits_gets_each_record_without_reading_it_back(log, reads, way):
    log.create_topic("t")
    got, read_back, here = [], [], threading.Semaphore(0)

    def take(record):
        got.append((record.offset, record.key, record.value, record.headers))
        read_back.append(list(reads))
        here.release()

    with _receiving(log, way, take):
        for number in range(10):
            _send(log, reads, number)
            assert here.acquire(timeout=10)
    assert got == [(number, b"k" if number % 2 else None, b"%d" % number, ()) for number in range(10)]
    assert read_back[0] in ([], [0])  # to find the place of the first one, the file is walked over
    assert read_back[1:] == [[]] * 9


@pytest.fixture
def cursor(log):
    """A cursor that has come to the end of its partition."""
    log.create_topic("t")
    log.append("t", b"0")
    stream = _stream(log)
    made = PartitionCursor(TopicPartition("t", 0), stream, "earliest", None)
    assert made.ready()
    assert [record.value for record in made.left] == [b"0"]
    stream.waiters.add(_Nobody())
    return made


class _Nobody:
    def wake(self):
        pass


def _hold(log, cursor):
    offset = log.append("t", b"latest", key=b"k").offset
    assert cursor.hold_latest() == offset
    return offset


def test_what_is_in_hand_and_not_taken_does_not_count(log, cursor):
    offset = _hold(log, cursor)
    assert (cursor.position, cursor.remaining, cursor.last_offset) == (offset, 1, None)
    assert cursor.hold_latest() is None
    assert cursor.in_hand()
    record = next(cursor.left)
    assert (record.offset, record.key, record.value) == (offset, b"k", b"latest")
    assert (cursor.position, cursor.remaining, cursor.last_offset) == (offset + 1, 0, offset)
    assert not cursor.ready()


@pytest.mark.parametrize("taken", [False, True])
def test_who_lets_go_of_it_gets_it_again_if_it_was_not_taken(log, cursor, taken):
    offset = _hold(log, cursor)
    left = cursor.left
    if taken:
        next(left)
    cursor.detach()
    assert list(left) == []
    assert cursor.position == offset + taken
    log.append("t", b"next")
    assert cursor.ready()
    assert next(cursor.left).offset == offset + taken


def test_a_seek_goes_away_from_it_and_back(log, cursor):
    offset = _hold(log, cursor)
    left = cursor.left
    cursor.seek(0)
    assert list(left) == []
    assert cursor.ready()
    values = []
    while cursor.ready():
        values += [record.value for record in cursor.left]
    assert values == [b"0", b"latest"]
    assert cursor.position == offset + 1


def test_it_is_left_alone_where_something_else_is_to_be_done(log, cursor):
    log.append("t", b"1")
    log.append("t", b"2")
    assert cursor.hold_latest() is None  # another one comes first
    assert cursor.ready()
    assert cursor.hold_latest() is None  # that is in hand
    assert [record.value for record in cursor.left] == [b"1", b"2"]
    cursor.paused = True
    log.append("t", b"3")
    assert cursor.hold_latest() is None
    cursor.paused = False
    log.delete_records("t", 0, 4)
    assert cursor.hold_latest() is None  # it is gone
    log.append("t", b"5")
    assert cursor.ready()
    assert [record.value for record in cursor.left] == [b"5"]
