"""More streams than descriptors: segments are closed and opened again as they are needed."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.children import child_environment
from support.recovery import MODES

STREAMS = 1000
DESCRIPTORS = 1024


@pytest.fixture
def tmp_path():
    """Not on the disk: thousands of files are synced here, and it is their descriptors that count."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def _run(directory, sync, streams: int, descriptors: int, together: int) -> None:
    numbers = map(str, (streams, descriptors, together))
    command = [sys.executable, "-m", "support.many_streams", str(directory), sync, *numbers]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("sync", MODES)
def test_a_thousand_streams_under_the_usual_limit(sync, tmp_path):
    _run(tmp_path / "store", sync, STREAMS, DESCRIPTORS, together=100)


@pytest.mark.parametrize("sync", MODES)
def test_a_hundred_streams_with_very_few_descriptors(sync, tmp_path):
    _run(tmp_path / "store", sync, 100, 64, together=5)


@pytest.mark.parametrize("sync", MODES)
def test_one_commit_over_more_streams_than_there_are_descriptors(sync, tmp_path):
    _run(tmp_path / "store", sync, STREAMS, DESCRIPTORS, together=STREAMS)
