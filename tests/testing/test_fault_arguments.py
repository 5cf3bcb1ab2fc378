"""Faults that make no sense are refused, and a fault says what it is."""

import pytest

import msglog
from msglog.testing import ManualClock


@pytest.fixture
def store():
    """In memory: where it lies makes no difference to what is said of it."""
    with msglog.Store(":memory:", clock=ManualClock()) as opened:
        yield opened


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("appendd",), {}, "call='appendd'; allowed: one of 'append', 'publish', 'settle', 'commit', 'write'"),
        (("append",), {"queue": "q"}, "'append' is told apart by key, partition, topic, value"),
        (("write",), {"topic": "t"}, "'write' is told apart by nothing"),
        (("append",), {"queue": "q"}, "expected='queue'; allowed: 'append'"),
        (("publish", msglog.OffsetConflictError), {}, '("...", actual=..., expected=..., partition=..., topic=...)'),
        (("write", msglog.UnroutableError), {}, 'UnroutableError("...", exchange=..., routing_key=...)'),
        (("append",), {"value": "text"}, "payloads are bytes: encode the text"),
        (("append", ValueError), {}, "error must be an error of msglog, or its class, not the class ValueError"),
        (("append", msglog.DiskFullError), {"applied": True}, 'an error with the outcome "unknown"'),
        (("write", msglog.StoreFailedError), {"applied": True}, 'False for "write"'),
        (("append",), {"skip": -1}, "skip=-1; allowed"),
        (("append",), {"times": 0}, "times=0; allowed"),
        (("append",), {"when": 1}, "when must be a predicate, not 1"),
        (("append",), {"applied": 1}, "applied must be True or False, not 1"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(log, faults, arguments, options, says):
    with pytest.raises(msglog.InvalidOptionError) as refusal:
        faults.fail(*arguments, **options)
    assert says in str(refusal.value)
    log.append("t", b"v")  # and nothing of it is in force


@pytest.mark.parametrize("seconds", [-1, 61, "1", True, float("nan")])
def test_a_time_that_makes_no_sense_is_refused(faults, seconds):
    with pytest.raises(msglog.InvalidOptionError, match="seconds"):
        faults.slow("append", seconds)


def test_a_repr_says_what_goes_wrong(store, faults):
    fault = faults.fail("append", topic="t")
    assert repr(fault) == "<msglog.testing.Fault append with topic='t' raises DiskFullError, struck 0 times>"
    assert repr(faults.slow("write", 0.5)) == "<msglog.testing.Fault write takes 0.5 s, struck 0 times>"
    assert repr(faults) == f"<msglog.testing.Faults {store.path!r} 2 in force>"
