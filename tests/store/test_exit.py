"""The end of a process that closes nothing: it is prompt and quiet, whatever is at work, and loses nothing."""

import subprocess
import sys

import pytest

import msglog
from support.children import child_environment
from support.leaver import MESSAGES

ALL = {b"%s%d" % (kind, number) for kind in (b"m", b"r") for number in range(MESSAGES)}


def run(path, sync, end):
    # Warnings are shown, as with -X dev.
    command = [sys.executable, "-W", "default", "-m", "support.leaver", str(path), sync, end]
    return subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("end", "sync", "status"),
    [
        ("the last line", "none", 0),
        ("the last line", "commit", 0),
        ("sys.exit", "interval", 3),
        ("exception", "commit", 1),
        ("os._exit", "none", 3),
        ("os._exit", "commit", 3),
    ],
)
def test_a_process_may_end_while_subscriptions_consumers_and_appends_are_at_work(tmp_path, end, sync, status):
    done = run(tmp_path / "store", sync, end)
    assert done.returncode == status
    complaints = done.stderr.splitlines()
    if end == "exception":
        assert complaints.pop() == "ZeroDivisionError: the user's own"
        assert sum(line.startswith("Traceback") for line in complaints) == 1
    else:
        assert complaints == []
    with msglog.Store(tmp_path / "store") as store:
        log, broker = store.log, store.broker
        numbers = [int(record.value) for record in log.read("numbers")]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) >= int(done.stdout)
        handled = {record.value for record in log.read("done")}
        left = {delivery.body for delivery in iter(lambda: broker.get("work"), None)}
        with log.consumer("in", group="g") as consumer:
            left |= {record.value for record in consumer.iter(0)}
        assert handled | left == ALL
        assert len(handled) >= MESSAGES // 2 - 3  # each worker may have one in hand
        assert broker.get("hang").body == b"x"


@pytest.mark.parametrize("sync", ["none", "commit"])
def test_a_process_that_ends_at_rest_leaves_a_store_as_if_it_had_closed_it(tmp_path, sync):
    done = run(tmp_path / "store", sync, "at rest")
    assert done.returncode == 0
    assert all("ResourceWarning" in line for line in done.stderr.splitlines())  # which Python shows only when asked
    with msglog.Store(tmp_path / "store") as store:
        assert store.recovery.clean
        assert len(list(store.log.read("in"))) == MESSAGES
