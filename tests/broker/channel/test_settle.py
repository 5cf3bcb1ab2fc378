"""Delivery tags: what settles, in which order things return, errors. Rows 8 to 16, 20 and 55."""

import pytest

import msglog
from support.brokers import ready, take, take_deliveries
from support.channels import bodies, closing, deliveries, get_all, publish_all


@pytest.fixture
def q(ch):
    return ch.queue_declare("q").name


@pytest.fixture
def five(ch, q):
    """Five messages in hand, tags 1 to 5."""
    publish_all(ch, q, *(b"%d" % number for number in range(1, 6)))
    assert [event.delivery_tag for event in get_all(ch, q)] == [1, 2, 3, 4, 5]


@pytest.mark.usefixtures("five")
def test_ack(broker, ch, q):
    for tag in range(1, 6):
        ch.basic_ack(tag)
    ch.basic_recover()
    assert ready(broker, q) == 0


@pytest.mark.usefixtures("five")
def test_ack_of_several_leaves_out_what_was_settled_before(broker, ch, q):
    ch.basic_ack(2)
    ch.basic_ack(4, multiple=True)
    ch.basic_nack(0, multiple=True)
    assert take(broker, q) == [b"5"]


@pytest.mark.usefixtures("five")
def test_nack_of_all_restores_the_order(broker, ch, q):
    ch.basic_nack(0, multiple=True)
    again = take_deliveries(broker, q)
    assert [(one.body, one.redelivered, one.delivery_count) for one in again] == [
        (b"%d" % number, True, 1) for number in range(1, 6)
    ]


def test_returned_messages_go_to_their_places(broker, ch, q):
    publish_all(ch, q, *(b"%d" % number for number in range(1, 6)))
    for _ in range(4):
        ch.basic_get(q)
    ch.basic_nack(2)
    ch.basic_reject(4)
    again = take_deliveries(broker, q)
    assert [(one.body, one.redelivered) for one in again] == [(b"2", True), (b"4", True), (b"5", False)]


def test_two_channels_give_back_in_order(broker, ch, other, q):
    publish_all(ch, q, *(b"%d" % number for number in range(6)))
    for _ in range(3):
        ch.basic_get(q)
        other.basic_get(q)
    other.close()
    ch.close()
    again = take_deliveries(broker, q)
    assert [(one.body, one.redelivered) for one in again] == [(b"%d" % number, True) for number in range(6)]


def test_a_returned_message_is_pushed_again_when_there_is_room(ch, q):
    publish_all(ch, q, *(b"%d" % number for number in range(1, 7)))
    ch.basic_qos(prefetch_count=3)
    ch.basic_consume(q)
    seen = []
    while events := ch.poll(max_events=1):
        (event,) = events
        seen.append((event.delivery_tag, event.body, event.redelivered))
        if event.delivery_tag == 1:
            ch.basic_nack(1)
        else:
            ch.basic_ack(event.delivery_tag)
    assert seen == [(1, b"1", False), (2, b"2", False), (3, b"3", False), (4, b"1", True),
                    (5, b"4", False), (6, b"5", False), (7, b"6", False)]  # fmt: skip


def test_rejecting_dead_letters_in_one_commit(broker, ch):
    ch.queue_declare("dlq")
    ch.queue_declare("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"})
    publish_all(ch, "q", b"1", b"2", b"3")
    get_all(ch, "q")
    before = broker.store.metrics()["commits"]
    ch.basic_nack(0, multiple=True, requeue=False)
    assert broker.store.metrics()["commits"] == before + 1
    letters = take_deliveries(broker, "dlq")
    assert [one.body for one in letters] == [b"1", b"2", b"3"]
    assert {one.headers["x-death"][0]["reason"] for one in letters} == {"rejected"}
    assert ready(broker, "q") == 0


def test_ack_of_many_is_one_commit(broker, ch, q):
    publish_all(ch, q, *(b"%d" % number for number in range(100)))
    get_all(ch, q)
    ch.basic_ack(50)
    before = broker.store.metrics()["commits"]
    ch.basic_ack(0, multiple=True)
    assert broker.store.metrics()["commits"] == before + 1


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("settle", "tag"),
    [
        (lambda ch: ch.basic_ack(6), 6),
        (lambda ch: ch.basic_ack(77, multiple=True), 77),
        (lambda ch: ch.basic_ack(), 0),
        (lambda ch: ch.basic_nack(), 0),
        (lambda ch: ch.basic_nack(9), 9),
        (lambda ch: ch.basic_reject(9, requeue=False), 9),
        (lambda ch: [ch.basic_ack(3), ch.basic_ack(3)], 3),
        (lambda ch: [ch.basic_ack(3), ch.basic_ack(3, multiple=True)], 3),
        (lambda ch: [ch.basic_recover(), ch.basic_ack(1)], 1),
    ],
)
def test_an_unknown_tag_closes_the_channel_and_gives_the_rest_back(broker, ch, q, settle, tag):
    with closing(ch, 406, f"PRECONDITION_FAILED - unknown delivery tag {tag}"):
        settle(ch)
    assert isinstance(ch.error, msglog.UnknownDeliveryTagError)
    assert ch.error.delivery_tag == tag
    assert [body for body in take(broker, q) if body != b"3"] == [b"1", b"2", b"4", b"5"]


def test_settling_everything_when_there_is_nothing_is_no_error(ch):
    ch.basic_ack(0, multiple=True)
    ch.basic_nack(0, multiple=True)
    ch.basic_recover()
    assert ch.is_open


def test_tags_are_the_channels_own(ch, other, q):
    publish_all(ch, q, b"1", b"2")
    assert (ch.basic_get(q).delivery_tag, other.basic_get(q).delivery_tag) == (1, 1)
    other.basic_ack(1)
    with closing(other, 406, "PRECONDITION_FAILED - unknown delivery tag 1"):
        other.basic_ack(1)
    ch.basic_ack(1)


def test_recover_gives_back_all_of_the_channel_and_nobody_elses(broker, ch, other, q):
    publish_all(ch, q, b"1", b"2", b"3")
    ch.basic_get(q)
    other.basic_get(q)
    ch.basic_get(q)
    ch.basic_recover()
    assert take(broker, q) == [b"1", b"3"]
    other.basic_ack(1)


def test_recover_without_requeue_closes_the_connection(ch, other):
    with closing(ch, 540, "NOT_IMPLEMENTED - requeue=false"):
        ch.basic_recover(requeue=False)
    assert not other.is_open


def test_what_went_back_before_it_was_polled_comes_once(ch, q):
    ch.basic_consume(q)
    publish_all(ch, q, b"1", b"2")
    ch.basic_recover()
    assert [(event.body, event.delivery_tag, event.redelivered) for event in deliveries(ch)] == [
        (b"1", 3, True), (b"2", 4, True)]  # fmt: skip


def test_what_was_acknowledged_before_it_was_polled_is_still_told(ch, q):
    ch.basic_consume(q)
    ch.basic_publish("", q, b"1")
    ch.basic_ack(0, multiple=True)
    assert bodies(ch) == [b"1"]


def test_the_count_of_deliveries_of_a_quorum_queue(broker, ch):
    ch.queue_declare("dlq")
    arguments = {"x-queue-type": "quorum", "x-delivery-limit": 2, "x-dead-letter-exchange": "",
                 "x-dead-letter-routing-key": "dlq"}  # fmt: skip
    ch.queue_declare("quorum", durable=True, arguments=arguments)
    ch.basic_publish("", "quorum", b"x", msglog.Properties(headers={"a": 1}))
    ch.basic_consume("quorum")
    seen = []
    while events := ch.poll():
        (event,) = events
        seen.append((event.properties.headers, event.delivery_count, event.redelivered))
        ch.basic_nack(event.delivery_tag)
    again = [({"a": 1, "x-delivery-count": count}, count, True) for count in (1, 2)]
    assert seen == [({"a": 1}, 0, False), *again]
    (letter,) = take_deliveries(broker, "dlq")
    assert "x-delivery-count" not in letter.headers
    assert letter.headers["x-death"][0]["reason"] == "delivery_limit"


def test_a_quorum_queue_counts_for_get_and_without_headers_too(ch):
    ch.queue_declare("quorum", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": -1})
    ch.basic_publish("", "quorum", b"x")
    for count in range(25):
        got = ch.basic_get("quorum")
        headers = {"x-delivery-count": count} if count else None
        assert (got.properties.headers, got.delivery_count) == (headers, count)
        ch.basic_nack(got.delivery_tag)


def test_a_classic_queue_tells_no_count(ch, q):
    ch.basic_publish("", q, b"x")
    assert ch.basic_get(q).properties.headers is None


def test_many_nacks_at_the_delivery_limit_are_one_commit_with_their_dead_letters(broker, ch):
    ch.queue_declare("dlq")
    ch._broker.declare_queue("q", delivery_limit=0, dead_letter_exchange="", dead_letter_routing_key="dlq")
    publish_all(ch, "q", b"1", b"2")
    get_all(ch, "q")
    ch.basic_nack(0, multiple=True)
    assert take(broker, "dlq") == [b"1", b"2"]
    assert ready(broker, "q") == 0


def test_time_to_live_goes_on_in_the_hand(broker, clock, ch):
    ch.queue_declare("q", arguments={"x-message-ttl": 300})
    ch.basic_publish("", "q", b"x")
    ch.basic_get("q")
    clock.advance(ms=400)
    ch.basic_nack(1)
    assert take(broker, "q") == []
