"""A call after one that was interrupted in its commit: that one was done, and what comes next knows it."""

import pytest

from msglog import InvalidOptionError, Log, OffsetConflictError, TopicExistsError
from support.recovery import MODES


class Interrupt(BaseException):
    """Strikes once, after the commit was begun and before any of it was done."""


@pytest.fixture(params=[*MODES, "memory"])
def log(request, tmp_path):
    memory = request.param == "memory"
    with Log(":memory:") if memory else Log(tmp_path / "s", sync=request.param) as opened:
        opened.create_topic("t")
        yield opened


@pytest.fixture
def interrupted(log, monkeypatch):
    """Do something, interrupted at the beginning of its commit."""

    def run(work):
        def strike(_plan):
            monkeypatch.undo()
            raise Interrupt

        for redo in ("redo", "redo_several"):  # by a plan, or by hand
            monkeypatch.setattr(log.store.core.engine.writer, redo, strike)
        with pytest.raises(Interrupt):
            work()

    return run


def test_an_expected_offset_counts_what_was_interrupted(log, interrupted):
    interrupted(lambda: log.append_many("t", [b"1", b"2"]))
    with pytest.raises(OffsetConflictError) as caught:
        log.append("t", b"3", expected_offset=0)
    assert caught.value.actual == 2
    assert log.append("t", b"3", expected_offset=2).offset == 2
    assert [record.value for record in log.read("t")] == [b"1", b"2", b"3"]


def test_an_expected_key_offset_counts_what_was_interrupted(log, interrupted):
    log.append("t", b"0", key=b"a", expected_key_offset=-1)
    interrupted(lambda: log.append_many("t", [b"1", b"2"], key=b"a", expected_key_offset=0))
    with pytest.raises(OffsetConflictError) as caught:
        log.append("t", b"3", key=b"a", expected_key_offset=0)
    assert caught.value.actual == 2
    assert [record.value for record in log.read_key("t", b"a")] == [b"0", b"1", b"2"]


def test_a_producer_that_repeats_writes_nothing_twice(log, interrupted):
    with log.producer("p") as producer:
        interrupted(lambda: producer.append("t", b"1", sequence=0))
        assert producer.append("t", b"1", sequence=0).duplicate
        interrupted(lambda: producer.append_many("t", [b"2", b"3"], first_sequence=1))
        assert producer.last_sequence == 2
        assert producer.append_many("t", [b"2", b"3"], first_sequence=1) == {0: range(1, 3)}
    assert [record.value for record in log.read("t")] == [b"1", b"2", b"3"]


def test_a_topic_is_made_once(log, interrupted):
    interrupted(lambda: log.create_topic("u", partitions=3))
    with pytest.raises(TopicExistsError):
        log.create_topic("u")
    assert len(log.describe_topic("u").partitions) == 3


def test_partitions_are_added_once(log, interrupted):
    interrupted(lambda: log.add_partitions("t", 3))
    log.add_partitions("t", 3)
    assert len(log.describe_topic("t").partitions) == 3
    interrupted(lambda: log.add_partitions("t", 4))
    with pytest.raises(InvalidOptionError):
        log.add_partitions("t", 3)


def test_options_are_altered_one_after_the_other(log, interrupted):
    interrupted(lambda: log.alter_topic("t", retention_ms=5))
    log.alter_topic("t", compression="zlib")
    config = log.describe_topic("t").config
    assert (config["retention_ms"], config["compression"]) == (5, "zlib")


def test_a_topic_is_deleted_once(log, interrupted):
    interrupted(lambda: log.delete_topic("t"))
    with pytest.raises(LookupError):
        log.delete_topic("t")
    log.create_topic("t")
    assert log.end_offset("t") == 0


def test_records_are_deleted_once(log, interrupted):
    log.append_many("t", [b""] * 9)
    interrupted(lambda: log.delete_records("t", 0, 5))
    assert log.delete_records("t", 0, 3) == 5
    assert log.start_offset("t") == 5
