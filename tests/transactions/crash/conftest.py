"""Stores on faulty disks: whatever a test leaves open is as good as killed."""

import pytest

from support.transacting import end_all_worlds


@pytest.fixture(autouse=True)
def _no_world_is_left_open():
    yield
    end_all_worlds()
