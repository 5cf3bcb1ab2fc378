"""Channels of a broker in memory."""

import pytest


@pytest.fixture
def ch(broker):
    with broker.channel() as channel:
        yield channel


@pytest.fixture
def other(broker):
    """A second channel of the same connection."""
    with broker.channel() as channel:
        yield channel
