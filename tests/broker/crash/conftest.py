"""Brokers on faulty disks: whatever a test leaves open is as good as killed."""

import pytest

from support.broker_session import end_all_sessions


@pytest.fixture(autouse=True)
def _no_session_is_left_open():
    yield
    end_all_sessions()
