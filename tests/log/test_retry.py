"""The back-off between attempts."""

import pytest

from msglog import InvalidOptionError, InvalidTypeError, Retry


def test_defaults():
    assert Retry() == Retry(limit=None, delay_ms=1000, factor=2.0, max_delay_ms=60_000)


@pytest.mark.parametrize(
    ("retry", "attempt", "delay"),
    [
        (Retry(), 1, 1000),
        (Retry(), 2, 2000),
        (Retry(), 6, 32_000),
        (Retry(), 7, 60_000),
        (Retry(), 10_000, 60_000),
        (Retry(delay_ms=0), 10_000, 0),
        (Retry(factor=1.0), 100, 1000),
        (Retry(limit=0), 1, None),
        (Retry(limit=2), 2, 2000),
        (Retry(limit=2), 3, None),
        (Retry(delay_ms=60_000), 1, 60_000),
    ],
)
def test_the_delay_grows_to_its_limit(retry, attempt, delay):
    assert retry.delay_for(attempt) == delay


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"limit": -1}, InvalidOptionError),
        ({"limit": True}, InvalidTypeError),
        ({"limit": "3"}, InvalidTypeError),
        ({"delay_ms": -1}, InvalidOptionError),
        ({"delay_ms": 1.5}, InvalidTypeError),
        ({"delay_ms": 10 * 366 * 86_400_000 + 1}, InvalidOptionError),
        ({"max_delay_ms": 10 * 366 * 86_400_000 + 1}, InvalidOptionError),
        ({"factor": 0.5}, InvalidOptionError),
        ({"factor": float("nan")}, InvalidOptionError),
        ({"factor": float("inf")}, InvalidOptionError),
        ({"factor": "2"}, InvalidTypeError),
        ({"max_delay_ms": 999}, InvalidOptionError),
        ({"max_delay_ms": None}, InvalidTypeError),
    ],
)
def test_bad_options(options, error):
    with pytest.raises(error) as caught:
        Retry(**options)
    assert caught.value.option in options


@pytest.mark.parametrize("attempt", [0, -1, True, 1.0])
def test_bad_attempts(attempt):
    with pytest.raises(InvalidOptionError):
        Retry().delay_for(attempt)
