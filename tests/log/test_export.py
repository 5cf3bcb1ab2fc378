"""Records as JSON Lines: an exact round trip in bounded memory, and lines that are wrong."""

import io
import json
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog import DecodeError, InvalidOptionError, InvalidTypeError, PartitionNotFoundError, RecordTooLargeError
from msglog.store import lines
from msglog.testing import ManualClock

payloads = st.none() | st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode)
headers = st.lists(st.tuples(st.text(st.characters(exclude_categories=["Cs"])), payloads), max_size=4).map(tuple)
records = st.lists(st.tuples(payloads, payloads, headers, st.integers(0, 1 << 40), st.integers(0, 2)), max_size=12)


@pytest.fixture
def log():
    with msglog.Log(":memory:", clock=ManualClock()) as log:
        log.create_topic("t", partitions=3)
        yield log


def contents(log, topic):
    return [
        (record.partition, record.timestamp_ms, record.key, record.value, record.headers)
        for number in range(3)
        for record in log.read(topic, number)
    ]


@given(records)
def test_the_round_trip_is_exact(items):
    with msglog.Log(":memory:") as log:
        for topic in ("t", "copy"):
            log.create_topic(topic, partitions=3)
        for key, value, header, stamp, partition in items:
            log.append("t", value, key=key, headers=header, timestamp_ms=stamp, partition=partition)
        file = io.StringIO()
        assert log.export_records("t", file) == len(items)
        text = file.getvalue()
        assert text.count("\n") == len(items)
        assert log.import_records("copy", io.StringIO(text)) == len(items)
        assert contents(log, "copy") == contents(log, "t")
        again = io.StringIO()
        log.export_records("copy", again)
        assert again.getvalue() == text


def test_what_a_line_looks_like(log):
    log.append("t", "grüße".encode(), key=b"\xff\x00", partition=1, timestamp_ms=5)
    log.append("t", None, headers=[("h", b"1"), ("h", None)], partition=2, timestamp_ms=6)
    file = io.StringIO()
    log.export_records("t", file)
    assert file.getvalue() == (
        '{"partition":1,"offset":0,"timestamp_ms":5,"key":{"base64":"/wA="},"value":"grüße"}\n'
        '{"partition":2,"offset":0,"timestamp_ms":6,"key":null,"value":null,"headers":[["h","1"],["h",null]]}\n'
    )


def test_paths(log, tmp_path):
    log.append("t", b"one", partition=0)
    assert log.export_records("t", tmp_path / "out.jsonl") == 1
    assert log.export_records("t", str(tmp_path / "out.jsonl")) == 1  # replaced
    assert log.import_records("t", tmp_path / "out.jsonl") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["out.jsonl"]
    with pytest.raises(FileNotFoundError):
        log.import_records("t", tmp_path / "missing")
    for wrong in (None, 7, b"path"):
        with pytest.raises(InvalidTypeError):
            log.export_records("t", wrong)
        with pytest.raises(InvalidTypeError):
            log.import_records("t", wrong)
    with pytest.raises(InvalidTypeError):
        log.import_records("t", io.BytesIO(b"{}\n"))


def test_an_export_that_fails_leaves_what_was_there(log, tmp_path):
    (tmp_path / "out").write_text("before")
    log.append("t", b"one", partition=0)

    def fail(*_arguments, **_options):
        raise OSError("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines.json, "dumps", fail)
        with pytest.raises(OSError, match="no"):
            log.export_records("t", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "before"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_parts_of_a_partition(log):
    log.append_many("t", [b"%d" % number for number in range(10)], partition=1)
    file = io.StringIO()
    assert log.export_records("t", file, partition=1, start=3, stop=6) == 3
    assert [json.loads(line)["value"] for line in file.getvalue().splitlines()] == ["3", "4", "5"]
    with pytest.raises(InvalidOptionError):
        log.export_records("t", file, start=3)
    with pytest.raises(PartitionNotFoundError):
        log.export_records("t", file, partition=3)


def test_without_partitions_keys_decide(log):
    text = "".join(f'{{"partition":2,"timestamp_ms":1,"key":"{number}","value":"v"}}\n' for number in range(20))
    log.import_records("t", io.StringIO(text), keep_partitions=False)
    for number in range(3):
        assert all(log.partition_for("t", record.key) == number for record in log.read("t", number))
    assert len(contents(log, "t")) == 20


GOOD = '{"partition":0,"timestamp_ms":1,"key":"k","value":"v"}\n'


@pytest.mark.parametrize(
    "bad",
    [
        "{",
        "[]",
        "7",
        '{"timestamp_ms":1,"value":7}',
        '{"value":"no time"}',
        '{"timestamp_ms":"1","value":""}',
        '{"timestamp_ms":true,"value":""}',
        '{"timestamp_ms":1,"value":{"base64":"?"}}',
        '{"timestamp_ms":1,"value":{"base64":"AA==","more":1}}',
        '{"timestamp_ms":1,"value":{"base85":"AA"}}',
        '{"timestamp_ms":1,"value":"\\ud800"}',
        '{"timestamp_ms":1,"value":"","headers":{"h":"1"}}',
        '{"timestamp_ms":1,"value":"","headers":[["h"]]}',
        '{"timestamp_ms":1,"value":"","headers":[["\\ud800","1"]]}',
        '{"timestamp_ms":1,"value":"","headers":[[1,"1"]]}',
        '{"timestamp_ms":1,"values":"misspelt"}',
        '{"timestamp_ms":1,"value":"secret","partition":"0"}',
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_named_and_nothing_is_appended(log, bad):
    source = io.StringIO(GOOD + "\n" + GOOD + bad + "\n" + GOOD)
    with pytest.raises(DecodeError, match="line 4: ") as caught:
        log.import_records("t", source)
    assert (caught.value.line, caught.value.imported, caught.value.outcome) == (4, 0, "not_applied")
    assert "secret" not in str(caught.value)
    assert contents(log, "t") == []


def test_bytes_that_are_no_text(log, tmp_path):
    (tmp_path / "bad").write_bytes(GOOD.encode() + b"\xff\n")
    with pytest.raises(DecodeError) as caught:
        log.import_records("t", tmp_path / "bad")
    assert caught.value.line is not None
    assert contents(log, "t") == []


def test_errors_of_the_topic_have_the_line(log):
    log.create_topic("small", max_message_bytes=10)
    log.create_topic("latest", cleanup_policy="compact")
    large = '{"timestamp_ms":1,"key":"k","value":"12345678901"}\n'
    with pytest.raises(RecordTooLargeError, match="line 2: ") as caught:
        log.import_records("small", io.StringIO(GOOD + large))
    assert (caught.value.line, caught.value.size) == (2, 12)
    with pytest.raises(InvalidOptionError, match="line 2: "):
        log.import_records("latest", io.StringIO(GOOD + '{"timestamp_ms":1,"value":"no key"}\n'))
    with pytest.raises(PartitionNotFoundError, match="line 1: "):
        log.import_records("latest", io.StringIO(GOOD.replace('"partition":0', '"partition":1')))
    with pytest.raises(InvalidOptionError, match="line 1: "):
        log.import_records("t", io.StringIO(GOOD.replace('"timestamp_ms":1', '"timestamp_ms":-1')))
    assert log.end_offset("small") == log.end_offset("latest") == 0
    assert contents(log, "t") == []


def test_more_than_one_commit_ends_with_the_last_whole_one(log, monkeypatch):
    monkeypatch.setattr(lines, "BATCH_LINES", 4)
    before = log.store.metrics()["commits"]
    with pytest.raises(DecodeError, match="line 11: ") as caught:
        log.import_records("t", io.StringIO(GOOD * 10 + "{\n"))
    assert caught.value.imported == 8
    assert len(contents(log, "t")) == 8
    assert log.store.metrics()["commits"] == before + 2
    log.create_topic("small", partitions=3, max_message_bytes=10)
    with pytest.raises(RecordTooLargeError) as refused:
        log.import_records("small", io.StringIO(GOOD * 5 + GOOD.replace('"v"', '"12345678901"')))
    assert (refused.value.line, refused.value.imported) == (6, 4)
    monkeypatch.setattr(lines, "BATCH_BYTES", 3)
    assert log.import_records("t", io.StringIO(GOOD * 3)) == 3


def test_many_records(tmp_path):
    with msglog.Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        log.create_topic("copy")
        log.append_many("t", [b"%d" % number for number in range(25_000)])
        assert log.export_records("t", tmp_path / "out") == 25_000
        before = log.store.metrics()["commits"]
        assert log.import_records("copy", tmp_path / "out") == 25_000
        assert log.store.metrics()["commits"] == before + 3
        assert [record.value for record in log.read("copy")] == [record.value for record in log.read("t")]


def test_links_stay_links(log, tmp_path):
    log.append("t", b"value", partition=0, timestamp_ms=1)
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    assert log.export_records("t", tmp_path / "link") == 1
    assert (tmp_path / "link").is_symlink()
    assert json.loads((tmp_path / "real").read_text())["value"] == "value"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_a_file_is_on_the_disk_before_it_replaces_another_one(log, tmp_path, monkeypatch):
    log.append("t", b"new", partition=0)
    out = tmp_path / "out.jsonl"
    out.write_text("old")
    seen = []
    fsync = os.fsync

    def synced(descriptor):
        fsync(descriptor)
        seen.append((os.fstat(descriptor).st_size, out.read_text()))

    monkeypatch.setattr(os, "fsync", synced)
    log.export_records("t", out)
    assert seen == [(out.stat().st_size, "old")]


def test_pipes_and_devices_are_written_not_replaced(log, tmp_path):
    log.append("t", b"value", partition=0, timestamp_ms=1)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert log.export_records("t", pipe) == 1
        assert json.loads(os.read(reader, 1000))["value"] == "value"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_targets_that_are_no_files(log, tmp_path):
    with pytest.raises(IsADirectoryError):
        log.export_records("t", tmp_path)
    with pytest.raises(InvalidOptionError):
        log.export_records("t", "")
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_not_utf8_is_told_by_its_number(log, tmp_path):
    (tmp_path / "lines").write_bytes(b'{"value":"x","timestamp_ms":1}\n' * 3 + b"\xff\n")
    with pytest.raises(DecodeError, match=r"^line 4: not UTF-8$") as caught:
        log.import_records("t", tmp_path / "lines")
    assert caught.value.line == 4
