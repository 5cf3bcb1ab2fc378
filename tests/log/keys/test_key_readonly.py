"""Reading by key beside a writer in another handle's place: readers never write."""

import subprocess
import sys

import pytest

from msglog import Log, ReadOnlyError
from support.children import child_environment
from support.keyed import check_keys, counting_reads, fill, run_files, small_runs

KEYS = [b"k%d" % number for number in range(5)]

READER = """
import sys
from msglog import Log
from support.keyed import check_keys, counting_reads, small_runs

directory, rows = sys.argv[1:]
with small_runs(rows=int(rows)), Log(directory, readonly=True) as log:
    with counting_reads() as reads:
        check_keys(log, "t", [b"none"])
    print(sum(reads), log.end_offset("t"), flush=True)
    for line in sys.stdin:
        with counting_reads() as reads:
            check_keys(log, "t", [b"none"])
        index = log._model.indexes.find(log._model.topic("t").partitions[0])
        print(sum(reads), log.end_offset("t"), sum(run.in_file for run in index._stored.runs), flush=True)
"""


def test_a_closed_store(tmp_path):
    with small_runs():
        with Log(tmp_path / "s", sync="none") as log:
            log.create_topic("t")
            fill(log, "t", 50)
            check_keys(log, "t")
        before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
        with Log(tmp_path / "s", readonly=True) as reader, counting_reads() as reads:
            check_keys(reader, "t", KEYS)
            assert reads == []
            with pytest.raises(ReadOnlyError):
                reader.append("t", b"", key=b"k1", expected_key_offset=-1)
        for path in run_files(tmp_path / "s"):
            path.write_bytes(b"damaged")
        with Log(tmp_path / "s", readonly=True) as reader, counting_reads() as reads:
            check_keys(reader, "t", KEYS)
            assert sum(reads) == 50
        assert {path.read_bytes() for path in run_files(tmp_path / "s")} == {b"damaged"}
        left = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
        assert left.keys() == before.keys()


@pytest.mark.parametrize("sync", ["commit", "none"])
def test_another_process_follows(tmp_path, sync):
    with small_runs(), Log(tmp_path / "s", sync=sync) as log:
        log.create_topic("t")
        fill(log, "t", 50)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "s"), "8"],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with reader:
            assert reader.stdout.readline().split() == ["50", "50"]
            check_keys(log, "t")
            for step in range(1, 5):
                for number in range(40):
                    key = KEYS[number % 5]
                    log.append("t", b"", key=key, expected_key_offset=log.last_record("t", key).offset)
                reader.stdin.write("again\n")
                reader.stdin.flush()
                read, end, in_file = map(int, reader.stdout.readline().split())
                assert end == 50 + 40 * step
                assert read <= 48  # the writer's runs are taken over
                assert in_file
            reader.stdin.close()
            assert reader.wait() == 0


def test_a_reader_in_this_place_loads_anew(tmp_path):
    with small_runs():
        with Log(tmp_path / "s", sync="none") as log:
            log.create_topic("t")
            fill(log, "t", 20)
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(tmp_path / "s"), "1000"],
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with reader:
            assert reader.stdout.readline().split() == ["20", "20"]
            for step in range(1, 4):  # each opening is another life
                with Log(tmp_path / "s", sync="none") as log:
                    fill(log, "t", 20)
                    check_keys(log, "t")
                    log.delete_records("t", 0, 15 * step)
                reader.stdin.write("again\n")
                reader.stdin.flush()
                assert reader.stdout.readline().split()[1] == str(20 + 20 * step)
            reader.stdin.close()
            assert reader.wait() == 0
