"""A fork: the child's handles refuse to work, and whatever becomes of them, the parent keeps its lock."""

import os
import subprocess
import sys

import pytest

from support.children import child_environment
from support.recovery import MODES

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")


@pytest.mark.parametrize("sync", MODES)
def test_a_forked_child_refuses_and_never_unlocks(sync, tmp_path):
    # In a process of its own: a fork copies whatever threads and locks the test runner has.
    command = [sys.executable, "-W", "ignore", "-m", "support.forker", str(tmp_path / "store"), sync]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
