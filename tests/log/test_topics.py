"""Topics: made, described, altered, removed, and all that is refused."""

import pytest

from msglog import (
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    Log,
    TopicExistsError,
    TopicNotFoundError,
)


def test_a_new_log_has_no_topics(log):
    assert log.topics() == []


def test_topics_are_sorted(log):
    for name in ("b", "a", "C", "a.b"):
        log.create_topic(name)
    assert log.topics() == ["C", "a", "a.b", "b"]


def test_create_twice(log):
    log.create_topic("t")
    with pytest.raises(TopicExistsError) as caught:
        log.create_topic("t")
    assert caught.value.topic == "t"


def test_exist_ok_leaves_the_topic_as_it_is(log):
    log.create_topic("t", partitions=2, retention_ms=5)
    log.create_topic("t", partitions=3, retention_ms=6, exist_ok=True)
    description = log.describe_topic("t")
    assert len(description.partitions) == 2
    assert description.config["retention_ms"] == 5


def test_describe(log):
    log.create_topic("t", partitions=2, compression="zlib", max_message_bytes=1000)
    log.append_many("t", [b"a", b"b"], partition=1)
    log.delete_records("t", 1, 1)
    description = log.describe_topic("t")
    assert description.name == "t"
    assert description.config["compression"] == "zlib"
    assert description.config["max_message_bytes"] == 1000
    assert description.config["cleanup_policy"] == "delete"
    first, second = description.partitions
    assert (first.partition, first.start_offset, first.end_offset, first.size_bytes) == (0, 0, 0, 0)
    assert (second.partition, second.start_offset, second.end_offset) == (1, 1, 2)
    assert second.size_bytes > 0
    assert second.segments == 1


def test_topic_ids_are_never_used_again(log):
    log.create_topic("t")
    first = log.describe_topic("t").topic_id
    log.delete_topic("t")
    log.create_topic("t")
    assert log.describe_topic("t").topic_id > first


def test_delete_removes_records(log):
    log.create_topic("t")
    log.append("t", b"old")
    log.delete_topic("t")
    assert log.topics() == []
    with pytest.raises(TopicNotFoundError):
        log.append("t", b"x")
    log.create_topic("t")
    assert list(log.read("t")) == []
    assert log.append("t", b"new").offset == 0


def test_partitions_grow(log):
    log.create_topic("t")
    log.append("t", b"x")
    log.add_partitions("t", 3)
    assert [part.end_offset for part in log.describe_topic("t").partitions] == [1, 0, 0]
    log.append("t", b"y", partition=2)
    log.add_partitions("t", 3)


def test_partitions_do_not_shrink(log):
    log.create_topic("t", partitions=3)
    with pytest.raises(InvalidOptionError, match="only grow"):
        log.add_partitions("t", 2)


def test_alter_changes_what_is_given(log):
    log.create_topic("t", retention_ms=5, segment_bytes=2048)
    log.alter_topic("t", retention_ms=None, retention_bytes=7)
    config = log.describe_topic("t").config
    assert (config["retention_ms"], config["retention_bytes"], config["segment_bytes"]) == (None, 7, 2048)


def test_alter_limits_records_to_come(log):
    log.create_topic("t")
    log.append("t", b"x" * 100)
    log.alter_topic("t", max_message_bytes=10)
    with pytest.raises(ValueError, match="larger"):
        log.append("t", b"x" * 11)
    assert log.append("t", b"x" * 10).offset == 1


def test_segment_bytes_rolls(log):
    log.create_topic("t", segment_bytes=1024)
    for _ in range(40):
        log.append("t", b"x" * 100)
    assert log.describe_topic("t").partitions[0].segments > 3
    assert len(list(log.read("t"))) == 40


def test_a_segment_rolls_for_a_record_that_is_more_than_segment_ms_later(log, clock):
    log.create_topic("t", segment_ms=1000)
    start_ms = clock.now_ms()
    segments = []
    for later_ms in (0, 500, 1000, 0, 1001, 2001, 2002):
        log.append("t", b"x", timestamp_ms=start_ms + later_ms)
        segments.append(log.describe_topic("t").partitions[0].segments)
    assert segments == [1, 1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../x", "a b", "a\n", "ä", "x" * 250, None, 1, b"t", ["t"], "a\0"]
)
def test_names_that_break_the_rules(log, name):
    with pytest.raises(InvalidNameError):
        log.create_topic(name)
    assert log.topics() == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"partitions": 0}, InvalidOptionError),
        ({"partitions": -1}, InvalidOptionError),
        ({"partitions": 10_001}, InvalidOptionError),
        ({"partitions": True}, InvalidTypeError),
        ({"partitions": "2"}, InvalidTypeError),
        ({"partitions": 2.0}, InvalidTypeError),
        ({"exist_ok": 1}, InvalidTypeError),
        ({"retention_ms": -1}, InvalidOptionError),
        ({"retention_bytes": True}, InvalidTypeError),
        ({"segment_bytes": 10}, InvalidOptionError),
        ({"segment_ms": 0}, InvalidOptionError),
        ({"cleanup_policy": "keep"}, InvalidOptionError),
        ({"timestamp_type": None}, InvalidOptionError),
        ({"compression": "gzip"}, InvalidOptionError),
        ({"max_message_bytes": 0}, InvalidOptionError),
        ({"colour": "red"}, InvalidOptionError),
    ],
)
def test_options_that_break_the_rules(log, options, error):
    with pytest.raises(error) as caught:
        log.create_topic("t", **options)
    assert caught.value.option in options
    assert log.topics() == []


def test_alter_checks_too(log):
    log.create_topic("t")
    with pytest.raises(InvalidOptionError, match="colour"):
        log.alter_topic("t", colour="red")
    with pytest.raises(InvalidOptionError, match="partitions"):
        log.alter_topic("t", partitions=2)
    with pytest.raises(InvalidOptionError, match="retention_ms"):
        log.alter_topic("t", retention_ms=-1)


def _append_as_producer(log, name):
    with log.producer("p") as producer:
        producer.append(name, b"x")


@pytest.mark.parametrize(
    "use",
    [
        lambda log, name: log.append(name, b"x"),
        lambda log, name: log.append(name, b"x", key=b"k"),
        lambda log, name: log.append_many(name, [b"x"]),
        lambda log, name: log.append_many(name, []),
        lambda log, name: log.read(name),
        lambda log, name: log.start_offset(name),
        lambda log, name: log.end_offset(name),
        lambda log, name: log.offset_at(name, 0),
        lambda log, name: log.partition_for(name, b"k"),
        lambda log, name: log.describe_topic(name),
        lambda log, name: log.delete_topic(name),
        lambda log, name: log.add_partitions(name, 1),
        lambda log, name: log.alter_topic(name),
        lambda log, name: log.delete_records(name, 0, 0),
        lambda log, name: log.clean(name),
        _append_as_producer,
    ],
)
def test_a_topic_that_is_not_there(log, use):
    with pytest.raises(TopicNotFoundError) as caught:
        use(log, "missing")
    assert caught.value.topic == "missing"
    for wrong in (1, b"t", ["t"], True):
        with pytest.raises(InvalidTypeError, match="topic must be the name of a topic"):
            use(log, wrong)


def test_a_listener_hears_of_creation_growth_and_deletion(log):
    heard = []
    log._model.listeners.append(heard.append)
    log.create_topic("a")
    log.add_partitions("a", 2)
    log.alter_topic("a", retention_ms=1)
    log.delete_topic("a")
    assert heard == ["a"] * 3


def test_definitions_survive_reopening(tmp_path):
    with Log(tmp_path / "s") as log:
        log.create_topic("t", partitions=2, retention_ms=5, cleanup_policy="compact,delete")
        log.create_topic("gone")
        log.delete_topic("gone")
        log.add_partitions("t", 4)
        log.alter_topic("t", retention_ms=6, segment_ms=7)
        before = log.describe_topic("t")
    with Log(tmp_path / "s") as log:
        assert log.topics() == ["t"]
        assert log.describe_topic("t") == before
        assert log._model.topics["t"].partitions[3].segment_ms == 7
        log.create_topic("next")
        assert log.describe_topic("next").topic_id == 3


def test_definitions_survive_snapshots(tmp_path):
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("keep", partitions=2)
        for number in range(2500):
            log.create_topic(f"t{number}")
            log.delete_topic(f"t{number}")
        log.store.flush()
    with Log(tmp_path / "s") as log:
        assert log.topics() == ["keep"]
        log.create_topic("next")
        assert log.describe_topic("next").topic_id == 2502
