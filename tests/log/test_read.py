"""Reading by offset and time."""

import pytest

from msglog import ClosedError, InvalidOptionError, InvalidTypeError, Log, OffsetOutOfRangeError, Record


@pytest.fixture
def ten(log):
    log.create_topic("t")
    log.append_many("t", [b"%d" % number for number in range(7)], timestamps_ms=[10 * n for n in range(7)])
    for number in range(7, 10):
        log.append("t", b"%d" % number, timestamp_ms=10 * number)
    return log


def offsets(records):
    return [record.offset for record in records]


def test_all(ten):
    records = list(ten.read("t"))
    assert offsets(records) == list(range(10))
    assert records[3] == Record("t", 0, 3, 30, None, b"3", ())
    assert type(records[3]) is Record


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"start": 0, "stop": 0}, []),
        ({"start": 3}, list(range(3, 10))),
        ({"stop": 3}, [0, 1, 2]),
        ({"start": 2, "stop": 9}, list(range(2, 9))),
        ({"start": 8, "stop": 2}, []),
        ({"stop": 1000}, list(range(10))),
        ({"start": 10}, []),
        ({"max_records": 0}, []),
        ({"max_records": 3}, [0, 1, 2]),
        ({"start": 5, "stop": 9, "max_records": 3}, [5, 6, 7]),
        ({"max_records": 1 << 40}, list(range(10))),
    ],
)
def test_ranges(ten, options, found):
    assert offsets(ten.read("t", **options)) == found


def test_the_end_is_taken_at_the_call(ten):
    records = ten.read("t", start=9)
    ten.append("t", b"later")
    assert offsets(records) == [9]


def test_each_call_reads_anew(ten):
    assert offsets(ten.read("t")) == offsets(ten.read("t"))


@pytest.mark.parametrize("start", [11, 1 << 62])
def test_beyond_the_end(ten, start):
    with pytest.raises(OffsetOutOfRangeError) as caught:
        ten.read("t", start=start)
    error = caught.value
    assert (error.topic, error.partition, error.offset) == ("t", 0, start)
    assert (error.start_offset, error.end_offset) == (0, 10)


def test_below_the_start(ten):
    ten.delete_records("t", 0, 5)
    with pytest.raises(OffsetOutOfRangeError):
        ten.read("t", start=4)
    assert offsets(ten.read("t")) == [5, 6, 7, 8, 9]
    assert ten.start_offset("t") == 5
    assert offsets(ten.read("t", start=5, max_records=1)) == [5]


@pytest.mark.parametrize("option", ["start", "stop", "max_records"])
@pytest.mark.parametrize("wrong", [-1, True, 1.0, "1", 1 << 64])
def test_bad_numbers_are_refused_at_the_call(ten, option, wrong):
    with pytest.raises(InvalidOptionError) as caught:
        ten.read("t", **{option: wrong})
    assert caught.value.option == option


def test_several_partitions_want_a_number(log):
    log.create_topic("t", partitions=2)
    for use in (log.read, log.start_offset, log.end_offset, lambda topic: log.offset_at(topic, 0)):
        with pytest.raises(ValueError, match="partition"):
            use("t")
    assert list(log.read("t", 1)) == []
    assert log.end_offset("t", 1) == 0


@pytest.mark.parametrize(
    ("timestamp_ms", "offset"), [(0, 0), (1, 1), (10, 1), (65, 7), (90, 9), (91, 10), (10**15, 10)]
)
def test_offset_at(ten, timestamp_ms, offset):
    assert ten.offset_at("t", timestamp_ms) == offset


def test_offset_at_with_times_that_go_back(log):
    log.create_topic("t")
    log.append_many("t", [b"x"] * 4, timestamps_ms=[50, 20, 60, 10])
    assert [log.offset_at("t", stamp) for stamp in (10, 20, 51, 60, 61)] == [0, 0, 2, 2, 4]


def test_offset_at_of_nothing(log):
    log.create_topic("t")
    assert log.offset_at("t", 0) == 0


@pytest.mark.parametrize("wrong", [-1, True, 1.0, None])
def test_offset_at_wants_milliseconds(ten, wrong):
    with pytest.raises(InvalidOptionError, match="timestamp_ms"):
        ten.offset_at("t", wrong)


def test_delete_records(ten):
    assert ten.delete_records("t", 0, 3) == 3
    assert ten.delete_records("t", 0, 2) == 3
    assert ten.delete_records("t", 0, 0) == 3
    assert offsets(ten.read("t")) == list(range(3, 10))
    assert ten.delete_records("t", 0, -1) == 10
    assert ten.delete_records("t", 0, 10) == 10
    assert (ten.start_offset("t"), ten.end_offset("t")) == (10, 10)
    assert ten.append("t", b"x").offset == 10


def test_delete_records_beyond_the_end(ten):
    with pytest.raises(OffsetOutOfRangeError):
        ten.delete_records("t", 0, 11)
    assert ten.start_offset("t") == 0


@pytest.mark.parametrize("wrong", [-2, True, 1.0, None, "1"])
def test_delete_records_wants_an_offset(ten, wrong):
    with pytest.raises(InvalidOptionError, match="before_offset"):
        ten.delete_records("t", 0, wrong)
    with pytest.raises(InvalidTypeError, match="partition"):
        ten.delete_records("t", None, 1)


def test_records_removed_while_reading_are_left_out(log):
    log.create_topic("t", segment_bytes=1024)
    for number in range(100):
        log.append("t", b"%d" % number * 20)
    records = log.read("t")
    assert [next(records).offset for _ in range(3)] == [0, 1, 2]
    log.delete_records("t", 0, 50)
    rest = offsets(records)
    assert rest[-1] == 99
    assert rest == sorted(rest)
    assert set(range(50, 100)) <= set(rest)


def test_a_reader_of_a_closed_store(tmp_path):
    with Log(tmp_path / "s") as log:
        log.create_topic("t")
        for _ in range(5):
            log.append_many("t", [b"x" * 1000] * 1000)
        records = log.read("t")
        next(records)
    # What was read ahead may still come, but never all of it.
    with pytest.raises(ClosedError):
        list(records)


def test_records_of_large_frames_are_cut(log):
    log.create_topic("t")
    log.append_many(
        "t",
        [b"%d" % n for n in range(3000)],
        keys=[b"k%d" % n for n in range(3000)],
        headers=[{"h": b"%d" % n} for n in range(3000)],
        timestamps_ms=list(range(3000)),
    )
    (record,) = log.read("t", start=1234, max_records=1)
    assert record == Record("t", 0, 1234, 1234, b"k1234", b"1234", (("h", b"1234"),))
    assert offsets(log.read("t", start=1234, stop=1240)) == list(range(1234, 1240))


def test_reading_across_segments_and_modes(tmp_path):
    for sync in ("commit", "none"):
        with Log(tmp_path / sync, sync=sync, segment_bytes=4096) as log:
            log.create_topic("t")
            for number in range(200):
                log.append("t", b"%d" % number * 10)
            assert offsets(log.read("t")) == list(range(200))
        with Log(tmp_path / sync) as log:
            assert [record.value for record in log.read("t")] == [b"%d" % n * 10 for n in range(200)]
