"""Publishing: what a message carries, what is refused, many in one commit. Row 30 without returns."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from msglog import (
    Broker,
    InvalidOptionError,
    InvalidTypeError,
    Message,
    PreconditionFailedError,
    Properties,
    PublishRejectedError,
    QueueNotFoundError,
    RecordTooLargeError,
    UnroutableError,
)
from support.brokers import ready, send_all, take, take_deliveries, take_one

HEADERS = {
    "none": None,
    "true": True,
    "false": False,
    "zero": 0,
    "one": 1,
    "negative": -(1 << 63),
    "large": (1 << 63) - 1,
    "float": 1.0,
    "tiny": 5e-324,
    "infinite": -math.inf,
    "decimal": Decimal("1.10"),
    "negative decimal": Decimal("-0.00"),
    "exponent": Decimal("1E+30"),
    "str": "text ä 日本 \U0001f600",
    "empty": "",
    "bytes": b"\x00\xff",
    "naive": datetime(2024, 2, 29, 12, 30, 15, 123456),  # noqa: DTZ001 a header may be naive
    "utc": datetime(2024, 2, 29, 12, 30, 15, 1, tzinfo=UTC),
    "list": [1, "1", b"1", True, None, [], {}, 1.0],
    "dict": {"a": {"b": {"c": [{"d": 1}]}}, "": ""},
    "": "a header without a name",
    "ä" * 127: "long",
}


def typed(value):
    """The value with the types of all its parts, since 1 == True == 1.0."""
    if isinstance(value, dict):
        return {name: typed(part) for name, part in value.items()}
    if isinstance(value, list):
        return [typed(part) for part in value]
    if isinstance(value, Decimal | datetime):
        return (type(value), str(value))
    return (type(value), value)


def test_a_delivery_says_all_about_its_message(broker, clock, q):
    properties = Properties(
        content_type="text/plain",
        content_encoding="utf-8",
        correlation_id="c",
        reply_to="r",
        message_id="m",
        timestamp=1_600_000_000,
        type="t",
        app_id="a",
    )
    broker.bind(q, "amq.topic", "#")
    clock.advance(ms=5)
    broker.publish("amq.topic", "a.b", b"body", headers={"h": 1}, properties=properties, priority=7)
    clock.advance(ms=5)
    delivery = take_one(broker, q)
    assert isinstance(delivery, Message)
    assert (delivery.body, delivery.exchange, delivery.routing_key, delivery.queue) == (b"body", "amq.topic", "a.b", q)
    assert (delivery.headers, delivery.redelivered, delivery.delivery_count) == ({"h": 1}, False, 0)
    assert delivery.timestamp_ms == 1_700_000_000_005
    assert delivery.properties == properties.replace(headers={"h": 1}, priority=7, delivery_mode=2)


def test_a_message_without_anything_has_no_headers_and_no_properties(broker, q):
    broker.send(q, b"")
    delivery = take_one(broker, q)
    assert (delivery.body, delivery.headers) == (b"", {})
    assert delivery.properties.replace(headers=None) == Properties(delivery_mode=2)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, 2),
        ({"persistent": True}, 2),
        ({"persistent": False}, 1),
        ({"properties": Properties(delivery_mode=1)}, 1),
        ({"properties": Properties(delivery_mode=2), "persistent": False}, 2),
    ],
)
def test_the_delivery_mode_says_whether_a_message_is_persistent(broker, q, options, mode):
    broker.publish("", q, b"", **options)
    broker.send(q, b"", **options)
    assert [delivery.properties.delivery_mode for delivery in take_deliveries(broker, q)] == [mode, mode]


def test_keywords_win_over_properties(broker, q):
    properties = Properties(headers={"a": 1, "b": 1}, priority=1, expiration="1000")
    broker.publish("", q, b"", properties=properties, headers={"b": 2, "c": 2}, priority=2, expiration_ms=2000)
    delivery = take_one(broker, q)
    assert delivery.headers == {"a": 1, "b": 2, "c": 2}
    assert (delivery.properties.priority, delivery.properties.expiration) == (2, "2000")
    assert properties.headers == {"a": 1, "b": 1}


def test_headers_keep_value_and_type(any_broker):
    any_broker.declare_queue("q")
    any_broker.send("q", b"", headers=HEADERS)
    assert typed(take_one(any_broker, "q").headers) == typed(HEADERS)


def test_headers_that_compare_by_no_means_equal(broker, q):
    aware = datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    broker.send(q, b"", headers={"nan": math.nan, "minus": -0.0, "aware": aware, "tuple": (1, (2,))})
    headers = take_one(broker, q).headers
    assert math.isnan(headers["nan"])
    assert math.copysign(1.0, headers["minus"]) == -1.0
    assert headers["aware"] == aware
    assert headers["aware"].utcoffset() is not None
    assert headers["tuple"] == [1, [2]]


def test_changing_the_headers_later_changes_nothing(broker, q):
    headers = {"h": [1]}
    broker.send(q, b"", headers=headers)
    headers["h"].append(2)
    headers["new"] = 1
    (peeked,) = broker.peek(q)
    peeked.headers["h"].append(3)
    broker.get(q).nack()
    delivery = broker.get(q)
    delivery.headers["h"].append(4)
    delivery.nack()
    assert take_one(broker, q).headers == {"h": [1]}


@pytest.mark.parametrize("body", [b"", b"\x00" * 10, bytes(range(256)) * 4000])
def test_bodies_are_bytes_of_any_length(any_broker, body):
    any_broker.declare_queue("q")
    any_broker.send("q", body)
    assert take(any_broker, "q") == [body]


def test_a_body_that_is_too_large_is_refused(clock):
    with Broker(":memory:", clock=clock, max_record_bytes=1000) as broker:
        broker.declare_queue("q")
        broker.declare_queue("r")
        for queue in "qr":
            broker.bind(queue, "amq.fanout")
        for publish in (
            lambda: broker.send("q", b"x" * 1001),
            lambda: broker.publish("amq.fanout", "", b"x" * 1001),
            lambda: broker.publish_many("amq.fanout", [("", b"small"), ("", b"x" * 1001)]),
        ):
            with pytest.raises(RecordTooLargeError):
                publish()
        broker.send("q", b"x" * 500)
        assert (ready(broker, "q"), ready(broker, "r")) == (1, 0)


def test_send_needs_the_queue(broker):
    with pytest.raises(QueueNotFoundError) as caught:
        broker.send("missing", b"")
    assert str(caught.value) == "no queue 'missing' in vhost '/'"


def test_send_goes_over_the_default_exchange(broker, q):
    broker.send(q, b"x", headers={"h": 1}, priority=3, expiration_ms=70, persistent=False)
    delivery = take_one(broker, q)
    assert (delivery.exchange, delivery.routing_key, delivery.headers) == ("", q, {"h": 1})
    properties = delivery.properties
    assert (properties.priority, properties.expiration, properties.delivery_mode) == (3, "70", 1)


def test_messages_come_in_the_order_of_publishing(any_broker):
    any_broker.declare_queue("q")
    bodies = [b"%d" % number for number in range(300)]
    send_all(any_broker, "q", *bodies)
    assert take(any_broker, "q") == bodies


# Many


def test_many_messages_in_order(any_broker):
    any_broker.declare_queue("q")
    any_broker.declare_queue("r")
    messages = [("qr"[number % 2], b"%d" % number) for number in range(1000)]
    assert any_broker.publish_many("", iter(messages)) == 1000
    assert take(any_broker, "q") == [b"%d" % number for number in range(0, 1000, 2)]
    assert take(any_broker, "r") == [b"%d" % number for number in range(1, 1000, 2)]


def test_many_messages_are_one_commit(broker, q):
    engine = broker.store.core.engine
    before = engine.commit_number
    broker.publish_many("", [(q, b"%d" % number) for number in range(500)])
    assert engine.commit_number == before + 1
    assert ready(broker, q) == 500


def test_many_may_be_messages_with_properties(broker, q):
    messages = [
        Message(b"1", routing_key=q, headers={"h": 1}),
        (q, b"2"),
        Message(b"3", routing_key=q, properties=Properties(message_id="m", headers={"a": 1}), headers={"b": 2}),
    ]
    assert broker.publish_many("", messages, persistent=False) == 3
    first, second, third = take_deliveries(broker, q)
    assert [first.body, second.body, third.body] == [b"1", b"2", b"3"]
    assert [first.headers, second.headers, third.headers] == [{"h": 1}, {}, {"a": 1, "b": 2}]
    assert third.properties.message_id == "m"
    assert {delivery.properties.delivery_mode for delivery in (first, second, third)} == {1}


def test_what_was_delivered_can_be_published_again(broker, q):
    broker.declare_queue("r")
    broker.send(q, b"x", headers={"h": 1}, properties=Properties(message_id="m"))
    delivery = take_one(broker, q)
    again = Message(delivery.body, routing_key="r", properties=delivery.properties)
    assert broker.publish_many("", [again]) == 1
    copy = take_one(broker, "r")
    assert (copy.body, copy.headers, copy.properties.message_id) == (b"x", {"h": 1}, "m")


def test_none_at_all_is_fine(broker):
    assert broker.publish_many("", []) == 0


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (("q", "text"), InvalidTypeError),
        (("q", None), InvalidTypeError),
        ((b"q", b""), InvalidTypeError),
        (("q",), (InvalidTypeError, ValueError)),
        (b"body", (InvalidTypeError, ValueError)),
        (None, InvalidTypeError),
    ],
)
def test_one_bad_message_keeps_all_back(broker, q, bad, error):
    with pytest.raises(error):
        broker.publish_many("", [(q, b"1"), (q, b"2"), bad])
    assert ready(broker, q) == 0


def test_one_unroutable_message_keeps_all_back_if_mandatory(broker, q):
    with pytest.raises(UnroutableError):
        broker.publish_many("", [(q, b"1"), ("missing", b"2"), (q, b"3")], mandatory=True)
    assert ready(broker, q) == 0
    broker.publish_many("", [(q, b"1"), ("missing", b"2"), (q, b"3")])
    assert take(broker, q) == [b"1", b"3"]


def test_an_iterable_that_fails_publishes_nothing(broker, q):
    def messages():
        yield (q, b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broker.publish_many("", messages())
    assert ready(broker, q) == 0


# What is refused


@pytest.mark.parametrize(
    "change",
    [
        {"exchange": None},
        {"exchange": b""},
        {"routing_key": None},
        {"routing_key": b"q"},
        {"routing_key": 5},
        {"body": None},
        {"body": "text"},
        {"body": 5},
        {"body": [b"x"]},
        {"headers": [("a", 1)]},
        {"headers": "a"},
        {"headers": {1: 1}},
        {"headers": {"a": object()}},
        {"headers": {"a": {1, 2}}},
        {"headers": {"a": [{"b": 1j}]}},
        {"properties": {"priority": 1}},
        {"priority": "1"},
        {"priority": True},
        {"priority": 1.0},
        {"expiration_ms": "50"},
        {"expiration_ms": 1.5},
        {"expiration_ms": True},
        {"delay_ms": "50"},
        {"delay_ms": 1.5},
        {"delay_ms": True},
        {"persistent": 1},
        {"mandatory": None},
    ],
)
def test_arguments_of_wrong_types(broker, q, change):
    arguments = {"exchange": "", "routing_key": q, "body": b"x"} | change
    with pytest.raises(InvalidTypeError):
        broker.publish(**arguments)
    assert ready(broker, q) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"priority": -1},
        {"priority": 256},
        {"expiration_ms": -1},
        {"delay_ms": -1},
        {"routing_key": "k" * 256},
        {"headers": {"ä" * 128: 1}},
        {"headers": {"a": 1 << 64}},
    ],
)
def test_arguments_out_of_range(broker, q, change):
    arguments = {"exchange": "", "routing_key": q, "body": b"x"} | change
    with pytest.raises(InvalidOptionError):
        broker.publish(**arguments)
    assert ready(broker, q) == 0


def test_errors_never_tell_what_is_in_a_message(broker, q):
    for change in ({"body": "secret"}, {"headers": {"a": ["secret", object()]}}, {"headers": ["secret"]}):
        with pytest.raises(InvalidTypeError) as caught:
            broker.publish(**{"exchange": "", "routing_key": q, "body": b"x"} | change)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("expiration", "reason"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        ("-1", "{value_negative,-1}"),
        ("1.5", '{leftover_string,".5"}'),
    ],
)
def test_an_expiration_must_be_a_whole_number_in_text(broker, q, expiration, reason):
    with pytest.raises(PreconditionFailedError) as caught:
        broker.publish("", q, b"", properties=Properties(expiration=expiration))
    assert str(caught.value) == f"invalid expiration '{expiration}': {reason}"
    assert ready(broker, q) == 0


def test_a_full_queue_that_refuses_does_not_keep_others_from_storing(broker, q):
    broker.declare_queue("full", max_length=1, overflow="reject-publish")
    broker.bind("full", "amq.fanout")
    broker.bind(q, "amq.fanout")
    assert broker.publish("amq.fanout", "", b"1") == 2
    with pytest.raises(PublishRejectedError):
        broker.publish("amq.fanout", "", b"2")
    assert take(broker, "full") == [b"1"]
    assert take(broker, q) == [b"1", b"2"]
