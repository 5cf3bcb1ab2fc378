"""Direct reply-to. Row 63."""

import re

import pytest

import msglog
from msglog import Deliver, Properties, QueueInfo, Returned
from support.channels import REPLY_TO, bodies, closing


@pytest.fixture
def asking(ch):
    ch.queue_declare("requests")
    ch.basic_consume(REPLY_TO, "answers", no_ack=True)
    return ch


def ask(ch):
    """Publish a request and return the address that it wants the answer to."""
    ch.basic_publish("", "requests", b"?", Properties(reply_to=REPLY_TO, correlation_id="7"))
    return ch.basic_get("requests", no_ack=True).properties.reply_to


def test_an_answer_comes_to_the_channel_that_asked(broker, asking, other):
    address = ask(asking)
    assert re.fullmatch(re.escape(REPLY_TO) + r"\.[A-Za-z0-9_-]{22}", address)
    properties = Properties(correlation_id="7", headers={"a": 1})
    other.basic_publish("", address, b"!", properties)
    assert asking.poll() == [Deliver("answers", 2, False, "", address, properties, b"!")]
    assert other.poll() == []
    assert [queue.name for queue in broker.queues()] == ["requests"]


def test_the_broker_can_answer(broker, asking):
    asking.basic_publish("", "requests", b"?", Properties(reply_to=REPLY_TO, correlation_id="7"))
    with broker.get("requests") as request:
        assert request.reply(b"!")
    (answer,) = asking.poll()
    assert (answer.body, answer.properties.correlation_id) == (b"!", "7")


def test_each_channel_has_its_own_address(asking, other):
    other.basic_consume(REPLY_TO, no_ack=True)
    first, second = ask(asking), ask(other)
    assert first != second
    other.basic_publish("", first, b"1")
    asking.basic_publish("", second, b"2")
    assert (bodies(asking), bodies(other)) == ([b"1"], [b"2"])


def test_answers_in_a_transaction_come_with_the_commit(asking, other):
    address = ask(asking)
    other.tx_select()
    other.basic_publish("", address, b"!")
    assert asking.poll() == []
    other.tx_commit()
    assert bodies(asking) == [b"!"]


def test_the_consumer_must_not_acknowledge(ch):
    with closing(ch, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"):
        ch.basic_consume(REPLY_TO)


def test_there_is_one_on_a_channel(asking):
    with closing(asking, 406, "PRECONDITION_FAILED - reply consumer already set"):
        asking.basic_consume(REPLY_TO, no_ack=True)


def test_its_tag_is_in_use(asking):
    asking.queue_declare("q")
    assert asking.consumer_tags == ["answers"]
    with closing(asking, 530, "NOT_ALLOWED - attempt to reuse consumer tag 'answers'"):
        asking.basic_consume("q", "answers")


def test_who_wants_answers_must_listen(ch):
    ch.queue_declare("requests")
    with closing(ch, 406, "PRECONDITION_FAILED - fast reply consumer does not exist"):
        ask(ch)


@pytest.mark.parametrize("end", ["cancel", "close"])
def test_nobody_answers_who_has_gone(asking, other, end):
    address = ask(asking)
    if end == "cancel":
        asking.basic_cancel("answers")
    else:
        asking.close()
    other.basic_publish("", address, b"!", mandatory=True)
    assert other.poll() == [Returned(312, "NO_ROUTE", "", address, Properties(), b"!")]
    with closing(other, 404, f"NOT_FOUND - no queue '{address}' in vhost '/'"):
        other.queue_declare(address, passive=True)


def test_a_cancelled_one_can_be_started_again(asking):
    asking.basic_cancel("answers")
    asking.basic_consume(REPLY_TO, no_ack=True)
    assert bodies_of_answer(asking, asking) == [b"!"]


def bodies_of_answer(asking, answering):
    answering.basic_publish("", ask(asking), b"!")
    return bodies(asking)


@pytest.mark.parametrize("passive", [True, False])
def test_the_address_looks_like_a_queue(asking, other, passive):
    address = ask(asking)
    assert other.queue_declare(address, passive=passive) == QueueInfo(address, 0, 1)
    assert other.queue_declare(REPLY_TO, passive=passive) == QueueInfo(REPLY_TO, 0, 1)
    assert other.is_open


def test_a_mandatory_answer_that_arrives_is_not_returned_but_confirmed(asking, other):
    address = ask(asking)
    other.confirm_select()
    other.basic_publish("", address, b"!", mandatory=True)
    assert other.poll() == [msglog.Confirmed(1, multiple=False, ack=True)]
    assert bodies(asking) == [b"!"]
