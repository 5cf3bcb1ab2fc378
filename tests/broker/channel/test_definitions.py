"""Declaring, binding and deleting on a channel. Rows 43 to 49, 51, 52, 54 and 60."""

import re

import pytest

import msglog
from msglog import InvalidTypeError, QueueInfo
from support.brokers import binding_set, exchange_names, queue_names
from support.channels import bodies, closing, publish_all, refusing


def test_a_queue_is_transient_unless_said_otherwise(disk, again):
    ch = disk.broker.channel()
    ch.queue_declare("kept", durable=True)
    ch.queue_declare("lost")
    assert queue_names(again()) == {"kept"}


def test_declaring_tells_messages_and_consumers(ch, other):
    assert ch.queue_declare("q") == QueueInfo("q", 0, 0)
    publish_all(ch, "q", b"1", b"2", b"3")
    other.basic_qos(prefetch_count=1)
    other.basic_consume("q")
    assert ch.queue_declare("q") == QueueInfo("q", 2, 1)
    assert ch.queue_declare("q", passive=True, durable=True) == QueueInfo("q", 2, 1)


def test_a_nameless_queue_gets_a_name(ch):
    info = ch.queue_declare()
    assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", info.name)


def test_no_name_stands_for_the_queue_declared_last_on_this_channel(ch, other):
    first = ch.queue_declare().name
    other.queue_declare("other")
    ch.basic_publish("", first, b"x")
    assert ch.basic_get("", no_ack=True).body == b"x"
    ch.basic_publish("", first, b"y")
    assert ch.queue_purge("") == 1
    ch.queue_bind("", "amq.fanout")
    ch.exchange_declare("e")
    ch.queue_bind("", "e")  # no routing key either: the queue's name
    assert binding_set(ch._broker) == {("amq.fanout", first, "queue", first), ("e", first, "queue", first)}
    ch.queue_unbind("", "e")
    ch.queue_unbind("", "amq.fanout", first)
    assert binding_set(ch._broker) == set()
    tag = ch.basic_consume("")
    ch.basic_publish("", first, b"z")
    assert [event.consumer_tag for event in ch.poll()] == [tag]
    assert ch.queue_delete("") == 0
    assert queue_names(ch._broker) == {"other"}


def test_a_passive_declaration_counts_as_the_last_one(ch, other):
    other.queue_declare("q")
    ch.queue_declare("q", passive=True)
    assert ch.basic_get("") is None


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.basic_get(""),
        lambda ch: ch.basic_consume(""),
        lambda ch: ch.queue_bind("", "amq.direct"),
        lambda ch: ch.queue_unbind("", "amq.direct"),
        lambda ch: ch.queue_purge(""),
        lambda ch: ch.queue_delete(""),
    ],
)
def test_without_a_last_queue_no_name_is_an_error(ch, other, call):
    other.queue_declare("q")
    with closing(ch, 404, "NOT_FOUND - no previously declared queue"):
        call(ch)


@pytest.mark.parametrize("name", ["q", ""])
def test_a_passive_declaration_of_a_missing_queue(ch, name):
    with closing(ch, 404, f"NOT_FOUND - no queue '{name}' in vhost '/'"):
        ch.queue_declare(name, passive=True)
    assert queue_names(ch._broker) == set()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda ch: ch.queue_declare("amq.q"), "queue name 'amq.q' contains reserved prefix 'amq.*'"),
        (lambda ch: ch.exchange_declare("amq.x"), "exchange name 'amq.x' contains reserved prefix 'amq.*'"),
        (
            lambda ch: ch.exchange_delete("amq.direct"),
            "deletion of system exchange 'amq.direct' in vhost '/' not allowed",
        ),
        (lambda ch: ch.exchange_delete("amq.x"), "deletion of system exchange 'amq.x' in vhost '/' not allowed"),
        (lambda ch: ch.exchange_declare(""), "operation not permitted on the default exchange"),
        (lambda ch: ch.exchange_delete(""), "operation not permitted on the default exchange"),
        (lambda ch: ch.queue_bind("q", "", "k"), "operation not permitted on the default exchange"),
        (lambda ch: ch.queue_unbind("q", "", "k"), "operation not permitted on the default exchange"),
        (lambda ch: ch.exchange_bind("amq.direct", ""), "operation not permitted on the default exchange"),
    ],
)
def test_reserved_names(ch, call, text):
    ch.queue_declare("q")
    with closing(ch, 403, f"ACCESS_REFUSED - {text}"):
        call(ch)


def test_a_predeclared_exchange_may_be_declared_as_it_is(ch):
    ch.exchange_declare("amq.direct", durable=True)
    assert ch.is_open


@pytest.mark.parametrize(
    ("options", "arguments", "text"),
    [
        ({}, {"x-message-ttl": "1000"}, "x-message-ttl"),
        ({}, {"x-message-ttl": -1}, "x-message-ttl"),
        ({}, {"x-expires": 0}, "x-expires"),
        ({}, {"x-dead-letter-routing-key": "k"}, "x-dead-letter-routing-key"),
        ({}, {"x-max-priority": 256}, "x-max-priority"),
        ({}, {"x-overflow": "explode"}, "x-overflow"),
        ({}, {"x-queue-type": "quorum"}, "durable"),
        ({}, {"x-delivery-limit": 3}, "x-delivery-limit"),
    ],
)
def test_bad_arguments_of_a_queue(ch, options, arguments, text):
    with pytest.raises(msglog.PreconditionFailedError, match=text) as caught:
        ch.queue_declare("q", arguments=arguments, **options)
    assert caught.value.reply_code == 406
    assert ch.error is caught.value


def test_declaring_differently(ch):
    ch.queue_declare("q", arguments={"x-message-ttl": 1000})
    text = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/'"
    with closing(ch, 406, f"{text}: received '2000' but current is '1000'"):
        ch.queue_declare("q", arguments={"x-message-ttl": 2000})


def test_an_unknown_type_of_exchange_closes_the_channel_only(ch, other):
    with pytest.raises(msglog.PreconditionFailedError, match="unknown exchange type") as caught:
        ch.exchange_declare("e", "nonsense")
    assert (caught.value.reply_code, caught.value.closes) == (406, "channel")
    assert (ch.is_open, other.is_open) == (False, True)


def test_deleting_what_is_not_there_is_no_error(ch):
    assert ch.queue_delete("q") == 0
    ch.exchange_delete("e")
    ch.queue_declare("q")
    ch.queue_unbind("q", "e", "k")
    ch.queue_unbind("q", "amq.direct", "k")
    ch.exchange_unbind("amq.direct", "e")
    assert ch.is_open


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.queue_purge("q"),
        lambda ch: ch.basic_consume("q"),
        lambda ch: ch.basic_get("q"),
        lambda ch: ch.queue_bind("q", "amq.direct"),
    ],
)
def test_using_a_missing_queue(ch, call):
    with closing(ch, 404, "NOT_FOUND - no queue 'q' in vhost '/'"):
        call(ch)


def test_binding_to_a_missing_exchange(ch):
    ch.queue_declare("q")
    with closing(ch, 404, "NOT_FOUND - no exchange 'e' in vhost '/'"):
        ch.queue_bind("q", "e")


def test_a_passive_declaration_of_a_missing_exchange(ch):
    with closing(ch, 404, "NOT_FOUND - no exchange 'e' in vhost '/'"):
        ch.exchange_declare("e", passive=True)


def test_deleting_only_if_empty(ch):
    ch.queue_declare("q")
    ch.basic_publish("", "q", b"")
    with closing(ch, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty"):
        ch.queue_delete("q", if_empty=True)


def test_deleting_only_if_unused(ch, other):
    ch.queue_declare("q")
    other.basic_consume("q")
    with closing(ch, 406, "PRECONDITION_FAILED - queue 'q' in vhost '/' in use"):
        ch.queue_delete("q", if_unused=True)


def test_deleting_an_exchange_only_if_unused(ch):
    ch.exchange_declare("e")
    ch.queue_declare("q")
    ch.queue_bind("q", "e")
    with closing(ch, 406, "PRECONDITION_FAILED - exchange 'e' in vhost '/' in use"):
        ch.exchange_delete("e", if_unused=True)


def test_purging_and_deleting_count_what_is_ready(ch):
    ch.queue_declare("q")
    publish_all(ch, "q", b"1", b"2", b"3")
    held = ch.basic_get("q")
    assert ch.queue_purge("q") == 2
    ch.basic_nack(held.delivery_tag)
    assert ch.queue_delete("q") == 1


def test_an_exclusive_queue_is_for_all_channels_of_its_connection_and_no_other(store):
    with msglog.Broker(store) as mine, msglog.Broker(store) as theirs:
        one, two, stranger = mine.channel(), mine.channel(), theirs.channel()
        one.queue_declare("q", exclusive=True)
        one.basic_publish("", "q", b"1")
        assert two.basic_get("q", no_ack=True).body == b"1"
        stranger.basic_publish("", "q", b"2")
        assert two.basic_get("q", no_ack=True).body == b"2"
        text = (
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be "
            "originally declared on another connection or the exclusive property value does not match that of the "
            "original declaration."
        )
        for call in (
            lambda ch: ch.queue_declare("q", exclusive=True),
            lambda ch: ch.queue_declare("q", passive=True),
            lambda ch: ch.basic_get("q"),
            lambda ch: ch.basic_consume("q"),
            lambda ch: ch.queue_delete("q"),
        ):
            with closing(stranger, 405, text):
                call(stranger)
            stranger = theirs.channel()
        mine.close()
        assert theirs.queues() == []


def test_exchanges_route_to_exchanges(ch):
    ch.exchange_declare("source", "fanout")
    ch.exchange_declare("target", "topic", internal=True)
    ch.queue_declare("q")
    ch.exchange_bind("target", "source", "x")
    ch.queue_bind("q", "target", "a.#")
    ch.basic_consume("q", no_ack=True)
    ch.basic_publish("source", "a.b", b"1")
    ch.basic_publish("source", "b", b"2")
    ch.exchange_unbind("target", "source", "x")
    ch.basic_publish("source", "a.b", b"3")
    assert bodies(ch) == [b"1"]


def test_an_auto_delete_exchange_goes_with_its_last_binding(ch):
    ch.exchange_declare("e", auto_delete=True)
    ch.queue_declare("q")
    ch.queue_bind("q", "e", "k")
    ch.queue_unbind("q", "e", "k")
    assert "e" not in exchange_names(ch._broker)


def test_an_auto_delete_queue_goes_with_its_last_consumer(ch, other):
    ch.queue_declare("q", auto_delete=True)
    ch.basic_publish("", "q", b"x")
    assert ch.basic_get("q", no_ack=True).body == b"x"
    assert queue_names(ch._broker) == {"q"}
    tag = ch.basic_consume("q")
    other.basic_consume("q")
    ch.basic_cancel(tag)
    assert queue_names(ch._broker) == {"q"}
    other.close()
    assert queue_names(ch._broker) == set()


@pytest.mark.parametrize(
    "call",
    [
        lambda ch: ch.queue_declare(7),
        lambda ch: ch.queue_declare("q", durable="yes"),
        lambda ch: ch.queue_bind(7, "amq.direct"),
        lambda ch: ch.queue_purge(7),
        lambda ch: ch.exchange_declare("e", durable=1),
        lambda ch: ch.basic_get(7),
        lambda ch: ch.basic_get("q", no_ack=1),
        lambda ch: ch.basic_consume("q", 7),
        lambda ch: ch.basic_consume("q", exclusive=None),
        lambda ch: ch.basic_cancel(None),
        lambda ch: ch.basic_qos(prefetch_count="1"),
        lambda ch: ch.basic_ack("1"),
        lambda ch: ch.basic_ack(multiple="yes"),
        lambda ch: ch.basic_nack(1, requeue=1),
        lambda ch: ch.basic_publish(None, "q", b""),
        lambda ch: ch.basic_publish("", None, b""),
        lambda ch: ch.basic_publish("", [], b""),
        lambda ch: ch.basic_publish("", "q", "text"),
        lambda ch: ch.basic_publish("", "q", b"", {}),
        lambda ch: ch.basic_publish("", "q", b"", mandatory=1),
        lambda ch: ch.basic_publish("", "q", b"", immediate=0),
        lambda ch: ch.poll("soon"),
        lambda ch: ch.poll(max_events=0.5),
        lambda ch: ch.flow("on"),
    ],
)
def test_wrong_types_leave_the_channel_open(ch, call):
    ch.queue_declare("q")
    with refusing(ch, InvalidTypeError):
        call(ch)
