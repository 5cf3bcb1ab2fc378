"""The files of an index: what they spare, and that nothing depends on them."""

import os
import random
import shutil
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from msglog import Log, Store
from support.keyed import (
    check_decisions,
    check_keys,
    counting_reads,
    fill,
    last_offset,
    records_by_key,
    run_files,
    small_runs,
)
from support.shares import LogDisk

WORTH = 3
KEYS = [b"k0", b"k1", b"k2", b"k3", b"k4", b"none"]


@pytest.fixture(autouse=True)
def few_rows():
    with small_runs(worth=WORTH):
        yield


@pytest.fixture(params=["commit", "none"])
def disk(request, tmp_path):
    opened = LogDisk(tmp_path, sync=request.param)
    opened.log.create_topic("t")
    yield opened
    opened.log.close()


def directory(log):
    return Path(log.store.path)


def spans(log):
    return [tuple(int(part) for part in path.name.split(".")) for path in run_files(directory(log))]


def expect(log, count, first=0):
    """Append records with expectations that hold."""
    last = {key: records[-1].offset for key, records in records_by_key(log, "t").items()}
    for number in range(first, first + count):
        key = b"k%d" % (number % 5)
        last[key] = log.append("t", b"%d" % number, key=key, expected_key_offset=last.get(key, -1)).offset


def test_there_are_no_files_where_nobody_asks_by_key(disk):
    fill(disk.log, "t", 100)
    disk.log.append_many("t", [b""] * 100, keys=[b"k"] * 100)
    log = disk.reopen()
    assert not (directory(log) / "keys").exists()


def test_a_closed_log_opens_without_reading(disk):
    expect(disk.log, 100)
    log = disk.reopen()
    with counting_reads() as reads:
        assert [record.offset for record in log.read_key("t", b"k1")] == list(range(1, 100, 5))
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
    assert reads == []


def test_what_a_kill_leaves_is_read_from_the_last_run_on(disk):
    expect(disk.log, 103)
    end = spans(disk.log)[-1][2]
    assert 103 - end < 10
    log = disk.crash()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
    assert sum(reads) == 103 - end
    check_decisions(log, "t", KEYS)


def test_few_offsets_are_not_worth_a_file(disk):
    expect(disk.log, 2)
    log = disk.reopen()
    assert spans(log) == []
    check_decisions(log, "t", KEYS)


def test_runs_are_merged(disk):
    expect(disk.log, 500)
    found = spans(disk.log)
    assert 1 <= len(found) <= 6
    assert found[0][1] == 0
    for before, after in pairwise(found):
        assert after[1] == before[2]
    check_keys(disk.log, "t", KEYS)


def test_old_records_are_read_once(disk):
    fill(disk.log, "t", 200)
    with counting_reads() as reads:
        check_keys(disk.log, "t", KEYS)
        check_decisions(disk.log, "t", KEYS)
    assert sum(reads) == 200
    fill(disk.log, "t", 50, first=200)
    with counting_reads() as reads:
        check_keys(disk.log, "t", KEYS)
        check_decisions(disk.log, "t", KEYS)
    assert reads == []  # appends have noted them
    log = disk.reopen()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
    assert sum(reads) < WORTH


def test_reading_by_key_leaves_appends_alone_and_catches_up(disk):
    fill(disk.log, "t", 20)
    list(disk.log.read_key("t", b"k1"))
    fill(disk.log, "t", 30, first=20)
    with counting_reads() as reads:
        check_keys(disk.log, "t", KEYS)
    assert sum(reads) == 30


def test_records_without_a_key_make_runs_too(disk):
    expect(disk.log, 5)
    disk.log.append_many("t", [b""] * 100)
    disk.log.append_many("t", [b""] * 100)
    expect(disk.log, 1)
    assert spans(disk.log)[-1][2] >= 105
    log = disk.reopen()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
    assert sum(reads) < WORTH


def test_offsets_below_the_start_go_with_their_runs(disk):
    log = disk.log
    expect(log, 300)
    log.delete_records("t", 0, 290)
    expect(log, 100, first=300)
    assert spans(log)[0][1] == 0 or spans(log)[0][2] > 290
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)
    rows = sum(run.rows for run in log._model.indexes.find(log._model.topic("t").partitions[0])._stored.runs)
    assert rows < 200  # those of removed records are left out when runs are merged
    log = disk.reopen()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
    assert reads == []
    log.delete_records("t", 0, -1)
    expect(log, 20, first=0)
    assert min(span[2] for span in spans(log)) > 400
    check_decisions(log, "t", KEYS)


def test_a_start_inside_of_a_batch(disk):
    log = disk.log
    log.append_many("t", [b""] * 20, keys=[b"k%d" % (number % 5) for number in range(20)])
    log.delete_records("t", 0, 7)
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)
    log = disk.reopen()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
    assert reads == []


def test_the_files_go_with_the_topic(disk):
    log = disk.log
    log.create_topic("u")
    fill(log, "u", 20)
    check_keys(log, "u")
    expect(log, 50)
    assert len({span[0] for span in spans(log)}) == 2
    log.delete_topic("t")
    assert len({span[0] for span in spans(log)}) == 1
    log.create_topic("t")
    assert last_offset(log, "t", b"k1") == -1
    log = disk.reopen()
    check_keys(log, "u", KEYS)
    assert last_offset(log, "t", b"k1") == -1


def test_files_of_streams_that_are_gone_go_at_the_next_opening(disk):
    log = disk.log
    expect(log, 50)
    kept = {path.name: path.read_bytes() for path in run_files(directory(log))}
    log.delete_topic("t")
    log.create_topic("t")
    path = directory(log) / "keys"
    log.close()
    for name, data in kept.items():
        (path / name).write_bytes(data)
    log = disk.reopen()
    assert spans(log) == []
    assert last_offset(log, "t", b"k1") == -1


def test_partitions_have_files_of_their_own(disk):
    log = disk.log
    log.create_topic("p", partitions=3)
    for number in range(120):
        log.append("p", b"", key=b"%d" % (number % 20), expected_key_offset=last_known(log, number))
    log.add_partitions("p", 5)
    for number in range(120):
        log.append("p", b"", key=b"%d" % (number % 40))
    log = disk.reopen()
    for partition in range(5):
        check_keys(log, "p", [b"%d" % number for number in range(40)], partition)
        check_decisions(log, "p", [b"%d" % number for number in range(40)], partition)


def last_known(log, number):
    record = log.last_record("p", b"%d" % (number % 20))
    return -1 if record is None else record.offset


def damage(path, chance):
    """Do something to a file; return what."""
    data = path.read_bytes()
    place = chance.randrange(len(data))
    match chance.randrange(6):
        case 0:
            path.write_bytes(data[:place])
        case 1:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1 << chance.randrange(8)]) + data[place + 1 :])
        case 2:
            path.write_bytes(bytes(len(data)))
        case 3:
            path.write_bytes(data[:place] + bytes(len(data) - place))
        case 4:
            path.unlink()
        case 5:
            path.write_bytes(b"")
    return f"{path.name} at {place} of {len(data)}"


@pytest.mark.parametrize("seed", range(40))
def test_damaged_files_are_made_anew(tmp_path, seed):
    chance = random.Random(seed)
    with Log(tmp_path / "s", sync="none") as log:
        log.create_topic("t")
        expect(log, chance.randrange(60, 200))
    what = [damage(path, chance) for path in run_files(tmp_path / "s") if chance.random() < 0.6]
    with Log(tmp_path / "s", sync="none") as log:
        if chance.random() < 0.5:
            log.append("t", b"", key=b"k1")
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
        expect(log, chance.randrange(100))
        check_decisions(log, "t", KEYS)
    with Log(tmp_path / "s", sync="none") as log, counting_reads() as reads:
        check_keys(log, "t", KEYS)
        assert sum(reads) < 20, what


def test_files_damaged_while_the_log_is_open(disk):
    log = disk.log
    expect(log, 203)
    records = log.read_key("t", b"k1")
    assert next(records).offset == 1
    log._model.indexes._files.close()  # so that they are opened again
    for path in run_files(directory(log)):
        path.write_bytes(b"")
    assert [record.offset for record in records] == list(range(6, 203, 5))
    check_keys(log, "t", KEYS)
    check_decisions(log, "t", KEYS)
    expect(log, 50)
    log = disk.reopen()
    with counting_reads() as reads:
        check_keys(log, "t", KEYS)
    assert sum(reads) < WORTH


def test_files_of_another_store_are_not_believed(tmp_path):
    for name, keys in (("a", 5), ("b", 3)):
        with Log(tmp_path / name, sync="none") as log:
            log.create_topic("t")
            fill(log, "t", 60, keys=keys)
            check_keys(log, "t")
    shutil.rmtree(tmp_path / "b" / "keys")
    shutil.copytree(tmp_path / "a" / "keys", tmp_path / "b" / "keys")
    with Log(tmp_path / "b", sync="none") as log:
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)


def test_strangers_among_the_files_are_left_alone(disk):
    expect(disk.log, 50)
    folder = directory(disk.log) / "keys"
    strangers = ["README", "1.2.3", "1.2.3.4.5", "01.0.8.3", "1.8.8.3", "\u0661.0.8.3", "-1.0.8.3"]
    for name in strangers:
        (folder / name).write_bytes(b"x")
    (folder / "1").mkdir()
    log = disk.reopen()
    check_keys(log, "t", KEYS)
    expect(log, 50)
    assert {path.name for path in (directory(log) / "keys").iterdir()} >= {*strangers, "1"}


def test_modes(disk):
    expect(disk.log, 50)
    folder = directory(disk.log) / "keys"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process can see its descriptors")
def test_few_files_are_open(disk):
    log = disk.log
    log.create_topic("many", partitions=100)
    for partition in range(100):
        log.append_many("many", [b""] * 12, keys=[b"%d" % n for n in range(12)], partition=partition)
        assert last_offset(log, "many", b"3", partition) == 3
    log = disk.reopen()
    for partition in range(100):
        assert last_offset(log, "many", b"3", partition) == 3
    opened = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_link(fd)]
    assert 1 <= len([path for path in opened if path.startswith(str(directory(log) / "keys"))]) <= 32


def _is_link(descriptor):
    return os.path.islink(f"/proc/self/fd/{descriptor}")


def test_a_replaced_directory_gets_no_run(tmp_path):
    with Store(tmp_path / "s", sync="none") as store:
        log = store.log
        log.create_topic("t")
        fill(log, "t", 5)
        check_keys(log, "t")
        shutil.move(tmp_path / "s", tmp_path / "away")
        with Log(tmp_path / "s", sync="none") as other:
            other.create_topic("t")
            log._model.indexes.find(log._model.topic("t").partitions[0]).close()
            assert not (tmp_path / "s" / "keys").exists()
            check_keys(other, "t")
            with pytest.raises(OSError, match="replaced"):
                log.store.flush()


def test_in_memory_there_are_no_files():
    with Log(":memory:") as log:
        log.create_topic("t")
        expect(log, 300)
        index = log._model.indexes.find(log._model.topic("t").partitions[0])
        assert 1 <= len(index._stored.runs) <= 6
        assert not any(run.in_file for run in index._stored.runs)
        check_keys(log, "t", KEYS)
        check_decisions(log, "t", KEYS)
        assert log.store.core.engine.filesystem.list(log.store.core.engine.path("keys")) == {}


def test_spans_of_runs_are_what_their_names_say(disk):
    expect(disk.log, 60)
    stream = disk.log._model.topic("t").partitions[0]
    index = disk.log._model.indexes.find(stream)
    assert [tuple(run.span) for run in index._stored.runs] == spans(disk.log)
    assert {run.span.stream_id for run in index._stored.runs} == {stream.id}
