"""The errors of the broker: codes, texts, what they close, and that they survive pickling."""

import inspect
import pickle

import pytest

import msglog
from msglog import errors

CODES = {
    "QueueNotFoundError": (404, "channel", LookupError),
    "ExchangeNotFoundError": (404, "channel", LookupError),
    "PreconditionFailedError": (406, "channel", ValueError),
    "ResourceLockedError": (405, "channel", msglog.MsglogError),
    "AccessRefusedError": (403, "channel", msglog.MsglogError),
    "UnroutableError": (312, None, msglog.MsglogError),
    "PublishRejectedError": (None, None, msglog.MsglogError),
    "SettlementError": (None, None, RuntimeError),
    "UnknownDeliveryTagError": (406, "channel", msglog.SettlementError),
    "ConsumerCancelledError": (None, None, msglog.MsglogError),
    "RequestTimeoutError": (None, None, TimeoutError),
    "NotAllowedError": (530, "connection", msglog.MsglogError),
    "NotSupportedError": (540, "connection", msglog.MsglogError),
    "CommandInvalidError": (503, "connection", msglog.MsglogError),
}


@pytest.mark.parametrize(("name", "expected"), CODES.items())
def test_errors_of_the_broker_have_amqps_codes(name, expected):
    kind = getattr(msglog, name)
    code, closes, base = expected
    assert (kind.reply_code, kind.closes) == (code, closes)
    assert issubclass(kind, msglog.MsglogError)
    assert issubclass(kind, base)
    assert not issubclass(kind, KeyError)


def test_every_error_is_exported():
    defined = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, errors.MsglogError)
    }
    assert defined <= set(msglog.__all__)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        (errors.QueueNotFoundError, "NOT_FOUND - "),
        (errors.PreconditionFailedError, "PRECONDITION_FAILED - "),
        (errors.ResourceLockedError, "RESOURCE_LOCKED - "),
        (errors.AccessRefusedError, "ACCESS_REFUSED - "),
        (errors.UnknownDeliveryTagError, "PRECONDITION_FAILED - "),
        (errors.NotAllowedError, "NOT_ALLOWED - "),
        (errors.NotSupportedError, "NOT_IMPLEMENTED - "),
        (errors.CommandInvalidError, "COMMAND_INVALID - "),
        (errors.SettlementError, ""),
    ],
)
def test_a_reply_text_begins_with_the_name_of_its_code(kind, prefix):
    error = kind("what happened")
    assert str(error) == "what happened"
    assert error.reply_text == f"{prefix}what happened"


def test_a_returned_message_carries_the_name_alone():
    error = errors.UnroutableError("'e' routed 'k' to no queue", exchange="e", routing_key="k")
    assert error.reply_text == "NO_ROUTE"


@pytest.mark.parametrize("letter", ["x", "ä", "😀"])
def test_a_reply_text_fits_into_a_short_string(letter):
    text = errors.QueueNotFoundError(f"no queue '{letter * 250}' in vhost '/'").reply_text
    assert 250 < len(text.encode()) <= 255
    assert text.startswith("NOT_FOUND - no queue '")
    assert text.endswith(letter + "...")


def test_a_reply_text_of_255_bytes_is_whole():
    text = errors.SettlementError("x" * 255).reply_text
    assert text == "x" * 255


def test_a_request_that_timed_out_may_have_been_worked_on():
    assert errors.RequestTimeoutError().outcome == "unknown"
    assert errors.PublishRejectedError().outcome == "not_applied"


@pytest.mark.parametrize("name", CODES)
def test_they_survive_pickling_with_their_facts(name):
    error = getattr(msglog, name)("what happened", queue="q", outcome="unknown")
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is type(error)
    assert (str(twin), twin.queue, twin.outcome) == ("what happened", "q", "unknown")
