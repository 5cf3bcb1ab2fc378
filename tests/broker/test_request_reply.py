"""Asking and answering."""

import pytest

from msglog import ExchangeNotFoundError, InvalidOptionError, InvalidTypeError, Message, RequestTimeoutError
from support.brokers import Call, exchange_names, queue_names, ready, take_one, wait_until


def get_request(broker, queue):
    return broker.get(queue, timeout=10)


def test_a_request_gets_its_reply(any_broker):
    any_broker.declare_queue("q")
    with any_broker.subscribe("q", lambda delivery: delivery.reply(delivery.body.upper())) as server:
        for body in (b"one", b"two"):
            reply = any_broker.request("", "q", body, timeout=10)
            assert isinstance(reply, Message)
            assert reply.body == body.upper()
        assert server.wait_idle(10)


def test_requests_go_over_any_exchange(broker, q):
    broker.bind(q, "amq.topic", "question.*")
    call = Call(lambda: broker.request("amq.topic", "question.one", b"?", timeout=10))
    request = get_request(broker, q)
    assert (request.exchange, request.routing_key, request.body) == ("amq.topic", "question.one", b"?")
    assert request.properties.reply_to
    request.reply(b"!")
    request.ack()
    assert call.result().body == b"!"


def test_a_reply_does_not_settle(broker, q):
    call = Call(lambda: broker.request("", q, b"?", timeout=10))
    request = get_request(broker, q)
    request.reply(b"!")
    assert call.result().body == b"!"
    assert not request.settled
    request.nack()
    assert take_one(broker, q).redelivered


def test_a_request_may_be_answered_after_it_was_settled(broker, q):
    call = Call(lambda: broker.request("", q, b"?", timeout=10))
    request = get_request(broker, q)
    request.ack()
    request.reply(b"!")
    assert call.result().body == b"!"


def test_each_request_gets_its_own_reply(broker, q):
    calls = {body: Call(lambda body=body: broker.request("", q, body, timeout=10)) for body in (b"a", b"b", b"c")}
    wait_until(lambda: ready(broker, q) == 3)
    requests = [broker.get(q) for _ in calls]
    for request in reversed(requests):
        request.reply(b"to " + request.body)
        request.ack()
    assert {body: call.result().body for body, call in calls.items()} == {body: b"to " + body for body in calls}


def test_the_first_reply_counts(broker, q):
    call = Call(lambda: broker.request("", q, b"?", timeout=10))
    request = get_request(broker, q)
    request.reply(b"first")
    request.reply(b"second")
    assert call.result().body == b"first"
    request.ack()


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_a_request_without_a_reply_times_out(broker, q, timeout):
    with pytest.raises(RequestTimeoutError) as caught:
        broker.request("", q, b"secret", timeout=timeout)
    assert isinstance(caught.value, TimeoutError)
    assert "secret" not in str(caught.value)


def test_a_reply_that_comes_too_late_is_dropped(broker, q):
    call = Call(lambda: broker.request("", q, b"?", timeout=0.03))
    request = get_request(broker, q)
    with pytest.raises(RequestTimeoutError):
        call.result()
    before = queue_names(broker)
    request.reply(b"too late")
    request.ack()
    assert queue_names(broker) == before == {q}
    second = Call(lambda: broker.request("", q, b"again", timeout=10))
    request = get_request(broker, q)
    request.reply(b"in time")
    request.ack()
    assert second.result().body == b"in time"


def test_nothing_is_left_of_a_request(broker, q):
    exchanges = exchange_names(broker)
    with broker.subscribe(q, lambda delivery: delivery.reply(b"!")):
        for _ in range(5):
            broker.request("", q, b"?", timeout=10)
    assert queue_names(broker) == {q}
    assert broker.bindings() == []
    assert exchange_names(broker) == exchanges


def test_one_who_answers_may_ask_others(broker, q):
    broker.declare_queue("inner")
    with (
        broker.subscribe("inner", lambda delivery: delivery.reply(delivery.body + b" inner")),
        broker.subscribe(q, lambda d: d.reply(broker.request("", "inner", d.body, timeout=10).body + b" outer")),
    ):
        assert broker.request("", q, b"?", timeout=10).body == b"? inner outer"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("missing", "q", b"?", 1), ExchangeNotFoundError),
        (("", "q", "text", 1), InvalidTypeError),
        (("", None, b"?", 1), InvalidTypeError),
        (("", "q", b"?", -1), InvalidOptionError),
        (("", "q", b"?", "1"), InvalidTypeError),
    ],
)
def test_bad_requests(broker, q, arguments, error):
    exchange, routing_key, body, timeout = arguments
    with pytest.raises(error):
        broker.request(exchange, routing_key, body, timeout=timeout)
    assert (ready(broker, q), queue_names(broker)) == (0, {q})


def test_bad_replies(broker, q):
    call = Call(lambda: broker.request("", q, b"?", timeout=10))
    request = get_request(broker, q)
    with pytest.raises(InvalidTypeError):
        request.reply("text")
    request.reply(b"!")
    request.ack()
    assert call.result().body == b"!"
