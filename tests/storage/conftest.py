"""These tests are about what reaches the disk, so that is where they have their files."""

import tempfile
from pathlib import Path

import pytest

from support.folders import folder_on_disk


@pytest.fixture
def tmp_path():
    with folder_on_disk() as folder:
        yield folder


@pytest.fixture
def memory_path():
    """Where tests have files that are only compared with each other: what is synced of them is nobody's question."""
    with tempfile.TemporaryDirectory(prefix="msglog-test-") as folder:
        yield Path(folder)
