"""One process writes to a store; a second one is told whose it is."""

import os
from pathlib import Path

import pytest

from msglog.errors import StoreLockedError
from support.children import child, line_from
from support.numbered import open_store
from support.recovery import MODES


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.mark.parametrize("sync", MODES)
def test_a_second_process_is_refused_with_the_pid_of_the_first(directory, sync):
    with child("locker", directory, sync) as process:
        assert line_from(process) == f"open {process.pid}"
        for _ in range(2):
            with pytest.raises(StoreLockedError) as caught:
                open_store(directory, sync)
            assert caught.value.owner_pid == process.pid
            assert caught.value.path == directory
            assert str(process.pid) in str(caught.value)
        process.stdin.write("close\n")
        process.stdin.flush()
        assert line_from(process) == "closed"
        open_store(directory, sync).close()


def test_the_lock_of_a_killed_process_is_free(directory):
    with child("locker", directory, "commit") as process:
        line_from(process)
        process.kill()
        process.wait()
        open_store(directory, "commit").close()


def test_a_second_opening_in_the_same_process_is_refused(directory):
    engine = open_store(directory, "commit")
    with pytest.raises(StoreLockedError) as caught:
        open_store(directory, "commit")
    assert caught.value.owner_pid == os.getpid()
    engine.close()
    open_store(directory, "commit").close()


def test_the_lock_survives_a_refused_opening(directory):
    """Opening and closing descriptors of the lock file must not give it away, as `lockf` would."""
    engine = open_store(directory, "commit")
    for _ in range(3):
        with pytest.raises(StoreLockedError):
            open_store(directory, "commit")
    with child("locker", directory, "commit") as process:
        assert process.wait(timeout=30) != 0
        assert "StoreLockedError" in process.stderr.read()
    engine.close()


def test_a_failed_opening_leaves_the_store_unlocked(directory):
    open_store(directory, "commit").close()
    names = [f"checkpoint-{number}" for number in range(2)]
    kept = {name: (Path(directory) / name).read_bytes() for name in names if (Path(directory) / name).exists()}
    assert kept
    for name in kept:
        (Path(directory) / name).write_bytes(b"damaged")
    with pytest.raises(OSError, match="checkpoint"):
        open_store(directory, "commit")
    for name, contents in kept.items():
        (Path(directory) / name).write_bytes(contents)
    open_store(directory, "commit").close()
