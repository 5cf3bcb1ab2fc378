"""What a store does when its process or its directory goes away: through the public API, on a real directory."""

import shutil
import subprocess
import sys

import pytest

import msglog
from msglog.storage.options import DRAFT_COMMITS

KILLED_AFTER_RETENTION = """
import os, sys, msglog
from msglog.testing import ManualClock
clock = ManualClock()
log = msglog.Log(sys.argv[1], sync=sys.argv[2], sync_interval_ms=3_600_000, clock=clock)
log.create_topic("short", retention_ms=1000)
log.create_topic("other")
log.append_many("short", [b"old"] * 10)
clock.advance(seconds=10)
log.clean("short")
for number in range(int(sys.argv[3])):
    log.append("other", b"%d" % number)
os._exit(1)
"""


@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
@pytest.mark.parametrize("commits", [10, DRAFT_COMMITS + 500])
def test_offsets_go_on_after_all_was_removed_and_the_process_killed(tmp_path, sync, commits):
    path = str(tmp_path / "store")
    if sync == "commit":
        commits = min(commits, 500)
    command = [sys.executable, "-c", KILLED_AFTER_RETENTION, path, sync, str(commits)]
    assert subprocess.run(command, check=False, timeout=120).returncode == 1
    with msglog.Log(path, sync=sync) as log:
        assert (log.start_offset("short"), log.end_offset("short")) == (10, 10)
        assert log.append("short", b"new").offset == 10
        assert [record.value for record in log.read("short")] == [b"new"]
        assert [record.value for record in log.read("other")] == [b"%d" % number for number in range(commits)]


def test_a_store_whose_directory_was_replaced_leaves_the_new_one_alone(tmp_path):
    path = str(tmp_path / "store")
    old = msglog.Log(path)
    old.create_topic("old")
    shutil.rmtree(path)
    with msglog.Log(path) as new:
        new.create_topic("new")
        new.append("new", b"precious")
        with pytest.raises(msglog.StoreFailedError, match="removed or replaced"):
            old.close()
        new.append("new", b"more")
        shutil.copytree(path, tmp_path / "killed")
    for place in (path, str(tmp_path / "killed")):
        with msglog.Log(place) as log:
            assert log.topics() == ["new"]
            assert [record.value for record in log.read("new")] == [b"precious", b"more"]


SMALL_LIMIT = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
import msglog
keys = [b"%d" % number for number in range(400)]
with msglog.Log(sys.argv[1], sync=sys.argv[2], segment_bytes=8192) as log:
    log.create_topic("wide", partitions=40)
    for turn in range(12):
        log.append_many("wide", [b"v" * 1500] * len(keys), keys=keys)
    found = sum(1 for partition in range(40) for _ in log.read("wide", partition))
    assert found == 12 * len(keys), found
"""


@pytest.mark.parametrize("sync", ["none", "interval", "commit"])
def test_one_commit_may_roll_more_partitions_than_files_may_be_open(tmp_path, sync):
    done = subprocess.run(
        [sys.executable, "-c", SMALL_LIMIT, str(tmp_path / "store"), sync],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
