"""Publishing on a channel: routing errors, returns, properties. Rows 19, 30 to 32, 50, 55, 68 and 69."""

import pytest

import msglog
from msglog import Properties, Returned
from support.channels import bodies, closing, get_all, publish_all


@pytest.fixture
def q(ch):
    return ch.queue_declare("q").name


def test_properties_come_back_exactly(ch, q):
    properties = Properties(
        content_type="text/plain",
        headers={"a": [1, {"b": 2.5}], "c": b"x"},
        delivery_mode=2,
        priority=3,
        correlation_id="c",
        reply_to="r",
        message_id="m",
        timestamp=17,
        type="t",
        user_id="guest",
        app_id="app",
    )
    ch.basic_publish("", q, b"body", properties)
    got = ch.basic_get(q, no_ack=True)
    assert (got.body, got.exchange, got.routing_key, got.properties) == (b"body", "", "q", properties)


def test_a_message_without_properties_has_none(ch, q):
    ch.basic_publish("", q, b"")
    assert ch.basic_get(q, no_ack=True).properties == Properties()


def test_different_properties_in_turn_are_not_mixed_up(ch, q):
    sent = [None, Properties(delivery_mode=2), Properties(message_id="1"), None, Properties(delivery_mode=2)]
    for properties in sent:
        ch.basic_publish("", q, b"", properties)
    assert [one.properties for one in get_all(ch, q)] == [properties or Properties() for properties in sent]


def test_nothing_is_returned_outside_of_confirm_mode(ch, q):
    assert ch.basic_publish("", q, b"") is None
    assert ch.basic_publish("", "missing", b"") is None
    assert ch.poll() == []


def test_a_missing_exchange(ch):
    with closing(ch, 404, "NOT_FOUND - no exchange 'x' in vhost '/'"):
        ch.basic_publish("x", "k", b"")


def test_an_internal_exchange(ch):
    ch.exchange_declare("e", internal=True)
    with closing(ch, 403, "ACCESS_REFUSED - cannot publish to internal exchange 'e' in vhost '/'"):
        ch.basic_publish("e", "k", b"")


def test_a_mandatory_message_that_no_queue_gets_is_returned(ch):
    properties = Properties(message_id="m")
    ch.basic_publish("amq.direct", "k", b"body", properties, mandatory=True)
    assert ch.poll() == [Returned(312, "NO_ROUTE", "amq.direct", "k", properties, b"body")]


def test_a_mandatory_message_that_a_queue_gets_is_not_returned(ch, q):
    ch.basic_publish("", q, b"", mandatory=True)
    assert ch.poll() == []


def test_what_an_alternate_exchange_routes_counts_as_routed(ch, q):
    ch.exchange_declare("alternate", "fanout")
    ch.exchange_declare("e", arguments={"alternate-exchange": "alternate"})
    ch.queue_bind(q, "alternate")
    ch.basic_publish("e", "k", b"x", mandatory=True)
    assert ch.poll() == []
    got = ch.basic_get(q, no_ack=True)
    assert (got.exchange, got.routing_key) == ("e", "k")


def test_a_missing_alternate_exchange_routes_nothing(ch):
    ch.exchange_declare("e", arguments={"alternate-exchange": "missing"})
    ch.basic_publish("e", "k", b"x", mandatory=True)
    assert [type(event) for event in ch.poll()] == [Returned]


def test_the_default_exchange_is_no_alternate(ch, q):
    ch.exchange_declare("e", arguments={"alternate-exchange": ""})
    ch.basic_publish("e", q, b"x", mandatory=True)
    assert [type(event) for event in ch.poll()] == [Returned]


def test_a_message_that_is_returned_has_no_bcc(ch):
    headers = {"CC": ["missing too"], "BCC": ["nor this"]}
    ch.basic_publish("", "missing", b"x", Properties(headers=headers), mandatory=True)
    (returned,) = ch.poll()
    assert returned.properties.headers == {"CC": ["missing too"]}


def test_immediate_closes_the_connection(ch, other):
    with closing(ch, 540, "NOT_IMPLEMENTED - immediate=true"):
        ch.basic_publish("", "q", b"", immediate=True)
    assert not other.is_open


@pytest.mark.parametrize(
    ("expiration", "fault"),
    [("abc", "no_integer"), ("-1", "{value_negative,-1}"), ("1.5", '{leftover_string,".5"}'), ("", "no_integer")],
)
def test_a_bad_expiration(ch, q, expiration, fault):
    with closing(ch, 406, f"PRECONDITION_FAILED - invalid expiration '{expiration}': {fault}"):
        ch.basic_publish("", q, b"", Properties(expiration=expiration))


def test_a_user_id_must_be_the_channels_user(broker, q):
    with broker.channel(user="ada") as ch:
        ch.basic_publish("", q, b"", Properties(user_id="ada"))
        text = "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'ada'"
        with closing(ch, 406, text):
            ch.basic_publish("", q, b"", Properties(user_id="bob"))


def test_floats_in_headers_are_kept(ch, q):
    ch.basic_publish("", q, b"", Properties(headers={"f": 2.5}))
    assert ch.basic_get(q, no_ack=True).properties.headers == {"f": 2.5}


def test_cc_and_bcc_route_too(ch, q):
    ch.queue_declare("cc")
    ch.queue_declare("bcc")
    headers = {"CC": ["cc", "q"], "BCC": ["bcc", "cc"]}
    ch.basic_publish("", q, b"x", Properties(headers=headers))
    for name in ("q", "cc", "bcc"):
        (got,) = get_all(ch, name)
        assert (got.routing_key, got.properties.headers) == ("q", {"CC": ["cc", "q"]})


@pytest.mark.parametrize("name", ["CC", "BCC"])
def test_cc_must_be_a_list(ch, q, name):
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{name}",longstr}}'
    with closing(ch, 406, text):
        ch.basic_publish("", q, b"", Properties(headers={name: "q"}))


def test_a_message_that_is_too_large_leaves_the_channel_open(clock):
    with msglog.Broker(":memory:", clock=clock, max_record_bytes=1000) as broker, broker.channel() as ch:
        ch.queue_declare("q")
        for properties in (None, Properties(delivery_mode=2), Properties(headers={"a": 1})):
            with pytest.raises(msglog.RecordTooLargeError):
                ch.basic_publish("", "q", bytes(1000), properties)
        assert ch.queue_declare("q").message_count == 0


def test_an_expiration_of_zero_reaches_who_waits_only(ch, other, q):
    ch.basic_publish("", q, b"lost", Properties(expiration="0"))
    other.basic_consume(q, no_ack=True)
    ch.basic_publish("", q, b"got", Properties(expiration="0"))
    assert bodies(other) == [b"got"]


def test_a_queue_without_room_hands_on_to_who_waits(ch, other):
    ch.queue_declare("q", arguments={"x-max-length": 0})
    ch.basic_publish("", "q", b"lost")
    other.basic_consume("q", no_ack=True)
    publish_all(ch, "q", b"1", b"2")
    assert bodies(other) == [b"1", b"2"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_a_queue_without_room_that_refuses_does_so_whoever_waits(ch, other, overflow):
    ch.queue_declare("q", arguments={"x-max-length": 0, "x-overflow": overflow})
    ch.queue_declare("bytes", arguments={"x-max-length-bytes": 3, "x-overflow": overflow})
    other.basic_consume("q", no_ack=True)
    other.basic_consume("bytes", no_ack=True)
    ch.confirm_select()
    publish_all(ch, "q", b"x")
    publish_all(ch, "bytes", b"1234", b"123")
    assert [(event.delivery_tag, event.ack) for event in ch.poll()] == [(1, False), (2, False), (3, True)]
    assert bodies(other) == [b"123"]


def test_messages_of_the_broker_and_of_channels_are_the_same(broker, ch, q):
    ch.basic_publish("", q, b"from a channel", Properties(delivery_mode=1))
    with broker.get(q) as delivery:
        assert delivery.body == b"from a channel"
    ch.basic_consume(q, no_ack=True)
    broker.send(q, b"1")
    broker.publish_many("", [(q, b"2"), (q, b"3")])
    broker.send(q, b"4", headers={"a": 1})
    assert bodies(ch) == [b"1", b"2", b"3", b"4"]
