"""Appending one record and many."""

from itertools import pairwise

import pytest

from msglog import (
    InvalidOptionError,
    InvalidTypeError,
    Log,
    OffsetConflictError,
    PartitionNotFoundError,
    RecordMetadata,
    RecordTooLargeError,
    TopicNotFoundError,
    TransactionTooLargeError,
)
from msglog.log import batches, placing


def values(log, topic, partition=0):
    return [record.value for record in log.read(topic, partition)]


def test_offsets_count_from_zero(log, clock):
    log.create_topic("t")
    now = clock.now_ms()
    assert log.append("t", b"a") == RecordMetadata("t", 0, 0, now, duplicate=False)
    assert log.append("t", b"") == RecordMetadata("t", 0, 1, now, duplicate=False)
    assert values(log, "t") == [b"a", b""]


def test_all_parts_of_a_record_come_back(log):
    log.create_topic("t")
    headers = [("a", b"1"), ("a", None), ("ü", b"")]
    log.append("t", None, key=b"k", headers=headers, timestamp_ms=5)
    (record,) = log.read("t")
    assert (record.key, record.value, record.headers, record.timestamp_ms) == (b"k", None, tuple(headers), 5)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ((), ()),
        ([], ()),
        ({}, ()),
        ({"a": b"1", "b": None}, (("a", b"1"), ("b", None))),
        ([["a", b"1"]], (("a", b"1"),)),
        (iter([("a", b"1")]), (("a", b"1"),)),
        ({"a": b"1"}.items(), (("a", b"1"),)),
    ],
)
def test_headers_in_every_form(log, given, stored):
    log.create_topic("t")
    log.append("t", b"x", headers=given)
    assert next(log.read("t")).headers == stored


def test_keys_choose_as_kafka_does(log):
    log.create_topic("t", partitions=7)
    assert log.partition_for("t", b"foobar") == 0
    assert log.append("t", b"x", key=b"foobar").partition == 0
    assert log.append("t", None, key=b"foobar").partition == 0
    for key in (b"", b"a", b"abc", b"x" * 300):
        assert log.append("t", b"x", key=key).partition == log.partition_for("t", key)


def test_a_partition_by_number_goes_before_the_key(log):
    log.create_topic("t", partitions=7)
    assert log.append("t", b"x", key=b"foobar", partition=3).partition == 3


def test_keyless_records_stick_and_move_on(log):
    log.create_topic("t", partitions=4)
    chosen = [log.append("t", b"x" * 1000).partition for _ in range(100)]
    moves = sum(one != two for one, two in pairwise(chosen))
    assert 4 <= moves <= 8
    assert len(set(chosen)) > 1


def test_expected_offset(log):
    log.create_topic("t")
    assert log.append("t", b"a", expected_offset=0).offset == 0
    with pytest.raises(OffsetConflictError) as caught:
        log.append("t", b"b", expected_offset=0)
    error = caught.value
    assert (error.topic, error.partition, error.expected, error.actual) == ("t", 0, 0, 1)
    assert error.outcome == "not_applied"
    with pytest.raises(OffsetConflictError):
        log.append_many("t", [b"b"], expected_offset=2)
    assert log.append_many("t", [b"b", b"c"], expected_offset=1) == {0: range(1, 3)}
    assert values(log, "t") == [b"a", b"b", b"c"]


def test_expected_offset_needs_one_partition(log):
    log.create_topic("t", partitions=2)
    with pytest.raises(InvalidOptionError, match="partition"):
        log.append("t", b"x", expected_offset=0)
    with pytest.raises(InvalidOptionError, match="partition"):
        log.append_many("t", [b"x"], keys=[b"k"], expected_offset=0)
    assert log.append("t", b"x", expected_offset=0, partition=1).offset == 0
    assert log.append("t", b"x", expected_offset=0 if log.partition_for("t", b"k") == 0 else 1, key=b"k")


def test_expected_offset_in_every_mode(tmp_path):
    for sync in ("commit", "interval", "none"):
        with Log(tmp_path / sync, sync=sync) as log:
            log.create_topic("t")
            log.append("t", b"x")
            with pytest.raises(OffsetConflictError):
                log.append("t", b"y", expected_offset=0)
            assert log.append("t", b"y", expected_offset=1).offset == 1


def test_many_to_one_partition(log):
    log.create_topic("t")
    assert log.append_many("t", [b"a", None, b""]) == {0: range(3)}
    assert log.append_many("t", (value for value in [b"d"])) == {0: range(3, 4)}
    assert values(log, "t") == [b"a", None, b"", b"d"]


def test_nothing_is_nothing(log):
    log.create_topic("t", partitions=2, cleanup_policy="compact")
    assert log.append_many("t", []) == {}
    assert log.append_many("t", [], keys=[], headers=[], timestamps_ms=[]) == {}


def test_order_is_kept_within_each_partition(log):
    log.create_topic("t", partitions=3)
    keys = [b"%d" % (number % 10) for number in range(200)]
    payloads = [b"%d" % number for number in range(200)]
    placed = log.append_many("t", payloads, keys=keys)
    assert sum(map(len, placed.values())) == 200
    for partition in range(3):
        expected = [
            payload for key, payload in zip(keys, payloads, strict=True) if log.partition_for("t", key) == partition
        ]
        assert values(log, "t", partition) == expected
        assert placed.get(partition, range(0)) == range(len(expected))


def test_one_key_for_all(log):
    log.create_topic("t", partitions=3)
    placed = log.append_many("t", [b"a", b"b"], key=b"k")
    assert placed == {log.partition_for("t", b"k"): range(2)}
    (partition,) = placed
    assert [record.key for record in log.read("t", partition)] == [b"k", b"k"]


def test_columns_stay_side_by_side(log):
    log.create_topic("t", partitions=2)
    keys = [b"a", None, b"b", b"a"]
    headers = [(), {"h": b"1"}, None, [("x", None)]]
    log.append_many("t", [b"0", b"1", b"2", b"3"], keys=keys, headers=headers, timestamps_ms=[9, 8, 7, 6])
    found = {record.value: record for part in range(2) for record in log.read("t", part)}
    assert [found[b"%d" % n].key for n in range(4)] == keys
    assert [found[b"%d" % n].timestamp_ms for n in range(4)] == [9, 8, 7, 6]
    assert [found[b"%d" % n].headers for n in range(4)] == [(), (("h", b"1"),), (), (("x", None),)]


def test_a_large_batch_is_cut_into_frames_of_one_commit(log):
    log.create_topic("t")
    before = log.store.metrics()["commits"]
    assert log.append_many("t", [b"%d" % n for n in range(25_000)]) == {0: range(25_000)}
    assert log.store.metrics()["commits"] == before + 1
    assert values(log, "t") == [b"%d" % n for n in range(25_000)]
    reader = log._model.topics["t"].partitions[0].reader(0)
    assert [reader.read().count for _ in range(3)] == [10_000, 10_000, 5_000]


def test_frames_are_cut_by_bytes_too(log):
    log.create_topic("t")
    log.append_many("t", [b"x" * (1 << 20)] * 10)
    reader = log._model.topics["t"].partitions[0].reader(0)
    assert [reader.read().count for _ in range(3)] == [4, 4, 2]


def test_a_large_keyless_batch_spreads_by_frames(log):
    log.create_topic("t", partitions=3)
    placed = log.append_many("t", [b"x"] * 30_000)
    assert sum(map(len, placed.values())) == 30_000
    assert all(len(offsets) % 10_000 == 0 for offsets in placed.values())


def test_compressed_topics(log):
    log.create_topic("t", compression="zlib")
    log.append("t", b"x" * 1000, key=b"k")
    log.append_many("t", [b"x" * 1000] * 100)
    assert values(log, "t") == [b"x" * 1000] * 101
    assert log.describe_topic("t").partitions[0].size_bytes < 5000


def test_sizes_count_key_and_headers(log):
    log.create_topic("t", max_message_bytes=10)
    log.append("t", b"x" * 6, key=b"kkkk")
    log.append("t", b"x" * 4, key=b"kkkk", headers={"h": b"v"})
    for options in ({"key": b"kkkkk"}, {"headers": {"hhh": b"vv"}}, {"headers": {"hhhhh": None}}):
        with pytest.raises(RecordTooLargeError) as caught:
            log.append("t", b"x" * 6, **options)
        assert (caught.value.size, caught.value.limit) == (11, 10)
    for options in ({"keys": [b"", b"kkkkk"]}, {"key": b"kkkkk"}, {"headers": [None, {"hhh": b"vv"}]}):
        with pytest.raises(RecordTooLargeError):
            log.append_many("t", [b"", b"x" * 6], **options)
    assert log.end_offset("t") == 2


def test_the_limit_is_for_each_record_before_compression(log):
    log.create_topic("t", max_message_bytes=100, compression="zlib")
    with pytest.raises(RecordTooLargeError):
        log.append("t", b"x" * 101)
    assert log.append_many("t", [b"x" * 100] * 10) == {0: range(10)}


def test_a_call_larger_than_a_commit(log, monkeypatch):
    monkeypatch.setattr(batches, "MAX_COMMIT_BYTES", 1000)
    log.create_topic("t")
    with pytest.raises(TransactionTooLargeError) as caught:
        log.append_many("t", [b"x" * 100] * 11)
    assert (caught.value.size, caught.value.limit) == (1100, 1000)
    assert log.end_offset("t") == 0


def test_compacted_topics_want_keys(log):
    log.create_topic("t", cleanup_policy="compact")
    log.append("t", b"x", key=b"")
    log.append_many("t", [b"x"], key=b"k")
    for refused in (
        lambda: log.append("t", b"x"),
        lambda: log.append("t", None),
        lambda: log.append("t", b"x", partition=0),
        lambda: log.append_many("t", [b"x"]),
        lambda: log.append_many("t", [b"x", b"y"], keys=[b"k", None]),
    ):
        with pytest.raises(InvalidOptionError, match="compacted"):
            refused()
    assert log.end_offset("t") == 2


NOT_BYTES = ["x", bytearray(b"x"), memoryview(b"x"), 1, True, [b"x"], object()]


@pytest.mark.parametrize("wrong", NOT_BYTES)
def test_values_and_keys_are_bytes(log, wrong):
    log.create_topic("t")
    for refused in (
        lambda: log.append("t", wrong),
        lambda: log.append("t", b"x", key=wrong),
        lambda: log.append_many("t", [b"x", wrong]),
        lambda: log.append_many("t", [b"x"], key=wrong),
        lambda: log.append_many("t", [b"x", b"y"], keys=[b"k", wrong]),
        lambda: log.append("t", b"x", headers={"h": wrong}),
    ):
        with pytest.raises(InvalidTypeError, match="must be bytes or None"):
            refused()
    assert log.end_offset("t") == 0


def test_an_error_never_shows_a_payload(log):
    log.create_topic("t")
    with pytest.raises(InvalidTypeError) as caught:
        log.append("t", bytearray(b"secret"))
    assert "secret" not in str(caught.value)
    assert "bytearray of length 6" in str(caught.value)


@pytest.mark.parametrize(
    "refused",
    [
        lambda log: log.append_many("t", "secret"),
        lambda log: log.append_many("t", [b"x"], keys="secret"),
        lambda log: log.append_many("t", [b"x"], headers="secret"),
        lambda log: log.append_many("t", [b"x"], headers=["secret"]),
        lambda log: log.append("t", b"x", headers="secret"),
        lambda log: log.append("t", b"x", headers=["secret"]),
        lambda log: log.partition_for("t", "secret"),
    ],
)
def test_a_str_in_the_place_of_bytes_is_not_shown(log, refused):
    log.create_topic("t")
    with pytest.raises(InvalidTypeError, match="a str of length 6") as caught:
        refused(log)
    assert "secret" not in str(caught.value)
    assert "secret" not in str(vars(caught.value))


@pytest.mark.parametrize("wrong", [b"bytes", "text", bytearray(b"x"), 5, None, {b"a": b"b"}])
def test_columns_are_iterables_of_bytes(log, wrong):
    log.create_topic("t")
    with pytest.raises(InvalidTypeError, match="values"):
        log.append_many("t", wrong)
    if wrong is not None:
        with pytest.raises(InvalidTypeError, match="keys"):
            log.append_many("t", [b"x"], keys=wrong)


@pytest.mark.parametrize(
    "options",
    [
        {"keys": [b"k"]},
        {"keys": [b"k"] * 3},
        {"headers": [()]},
        {"timestamps_ms": [1]},
        {"keys": [b"k"] * 2, "key": b"k"},
    ],
)
def test_columns_fit_the_values(log, options):
    log.create_topic("t")
    with pytest.raises(InvalidOptionError):
        log.append_many("t", [b"a", b"b"], **options)
    assert log.end_offset("t") == 0


@pytest.mark.parametrize(
    "wrong",
    ["ab", b"ab", 5, [("a",)], [("a", b"1", b"2")], [("a", "1")], [(b"a", b"1")], [(1, b"1")], ["ab"], [5]],
)
def test_headers_of_the_wrong_type(log, wrong):
    log.create_topic("t")
    with pytest.raises(InvalidTypeError):
        log.append("t", b"x", headers=wrong)
    with pytest.raises(InvalidTypeError):
        log.append_many("t", [b"x"], headers=[wrong])
    assert log.end_offset("t") == 0


def test_header_names_that_utf8_cannot_hold(log):
    log.create_topic("t")
    with pytest.raises(InvalidOptionError, match="UTF-8"):
        log.append("t", b"x", headers={"\ud800": b"v"})


@pytest.mark.parametrize("wrong", ["0", 0.0, True, False, b"0"])
def test_partitions_are_ints(log, wrong):
    log.create_topic("t", partitions=2)
    for refused in (
        lambda: log.append("t", b"x", partition=wrong),
        lambda: log.append_many("t", [b"x"], partition=wrong),
        lambda: log.read("t", wrong),
        lambda: log.start_offset("t", wrong),
        lambda: log.delete_records("t", wrong, 0),
    ):
        with pytest.raises(InvalidTypeError, match="partition"):
            refused()


@pytest.mark.parametrize("wrong", [-1, 2, 1 << 70])
def test_partitions_exist(log, wrong):
    log.create_topic("t", partitions=2)
    for refused in (
        lambda: log.append("t", b"x", partition=wrong),
        lambda: log.append_many("t", [], partition=wrong),
        lambda: log.read("t", wrong),
        lambda: log.end_offset("t", wrong),
    ):
        with pytest.raises(PartitionNotFoundError) as caught:
            refused()
        assert (caught.value.topic, caught.value.partition, caught.value.partitions) == ("t", wrong, 2)


@pytest.mark.parametrize("wrong", [-1, True, 1.0, "0", 1 << 64])
def test_expected_offsets_are_ints(log, wrong):
    log.create_topic("t")
    with pytest.raises(InvalidOptionError, match="expected_offset"):
        log.append("t", b"x", expected_offset=wrong)
    with pytest.raises(InvalidOptionError, match="expected_offset"):
        log.append_many("t", [b"x"], expected_offset=wrong)
    assert log.end_offset("t") == 0


def test_a_subclass_of_bytes_is_bytes(log):
    class Payload(bytes):
        pass

    log.create_topic("t")
    log.append("t", Payload(b"x"), key=Payload(b"k"))
    (record,) = log.read("t")
    assert (record.key, record.value) == (b"k", b"x")


def test_an_append_to_a_topic_deleted_meanwhile(log, monkeypatch):
    log.create_topic("t")
    prepare = placing.prepare
    monkeypatch.setattr(placing, "prepare", lambda batch: (log.delete_topic("t"), prepare(batch)))
    with pytest.raises(TopicNotFoundError, match="meanwhile"):
        log.append_many("t", [b"x"])


@pytest.mark.parametrize("key", [None, b"k"])
def test_a_plain_append_to_a_topic_deleted_meanwhile(log, key):
    log.create_topic("t")
    log.append("t", b"x", key=key)
    log._now_ms = lambda: (log.delete_topic("t"), 1)[1]
    with pytest.raises(TopicNotFoundError, match="meanwhile"):
        log.append("t", b"y", key=key)


@pytest.mark.parametrize(
    ("wrong", "way"),
    [
        ("text", "not a str of length 4: encode it"),
        (bytearray(b"ab"), "not a bytearray of length 2: make bytes of it"),
        ({"a": 1}, "not a dict of length 1: objects are for views, which have a codec"),
        (5, "not a int: objects are for views, which have a codec"),
    ],
)
def test_what_is_no_bytes_is_told_how_it_gets_there(log, wrong, way):
    log.create_topic("words")
    with pytest.raises(InvalidTypeError, match=f"^value must be bytes or None, {way}$"):
        log.append("words", wrong)
