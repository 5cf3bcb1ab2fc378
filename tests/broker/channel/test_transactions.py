"""AMQP's transactions: what is published and settled waits for the commit. Row 57."""

import pytest

import msglog
from msglog import Properties, Returned
from support.brokers import ready, take, take_deliveries
from support.channels import bodies, closing, publish_all


@pytest.fixture
def q(ch):
    return ch.queue_declare("q").name


@pytest.fixture
def tx(ch, q):
    """A channel in transaction mode with messages 1 and 2 in hand."""
    publish_all(ch, q, b"1", b"2")
    ch.tx_select()
    ch.basic_get(q)
    ch.basic_get(q)
    return ch


def test_nothing_is_published_before_the_commit(broker, tx, q):
    assert tx.basic_publish("", q, b"3") is None
    tx.basic_publish("", q, b"4", Properties(headers={"a": 1}))
    assert ready(broker, q) == 0
    tx.tx_commit()
    assert take(broker, q) == [b"3", b"4"]


def test_nothing_is_published_after_a_rollback(broker, tx, q):
    tx.basic_publish("", q, b"3")
    tx.tx_rollback()
    tx.tx_commit()
    assert ready(broker, q) == 0


def test_everything_is_one_commit(broker, tx, q):
    tx.queue_declare("dlq")
    tx.queue_declare("d", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dlq"})
    broker.publish_many("", [("d", b"a"), ("d", b"b"), ("d", b"c")])
    tags = [tx.basic_get("d").delivery_tag for _ in range(3)]
    before = broker.store.metrics()["commits"]
    tx.basic_ack(1)
    tx.basic_nack(2)
    tx.basic_reject(tags[0], requeue=False)
    tx.basic_nack(tags[2], requeue=False)
    tx.basic_ack(tags[1])
    tx.basic_publish("", q, b"3")
    tx.basic_publish("amq.direct", "nowhere", b"4")
    assert broker.store.metrics()["commits"] == before
    tx.tx_commit()
    assert broker.store.metrics()["commits"] == before + 1
    assert [one.body for one in take_deliveries(broker, "dlq")] == [b"a", b"c"]
    assert take(broker, q) == [b"2", b"3"]


def test_a_rollback_makes_tags_ackable_again(broker, tx, q):
    tx.basic_ack(2)
    tx.basic_nack(1, requeue=False)
    tx.tx_rollback()
    tx.basic_ack(1)
    tx.basic_nack(2)
    tx.tx_commit()
    assert take(broker, q) == [b"2"]


def test_after_a_rollback_the_order_of_the_tags_is_as_before(broker, tx, q):
    tx.basic_ack(1)
    tx.tx_rollback()
    tx.basic_ack(1, multiple=True)
    tx.tx_commit()
    tx.close()
    assert take(broker, q) == [b"2"]


def test_settling_twice_is_an_error_before_the_commit_too(tx):
    tx.basic_ack(1)
    with closing(tx, 406, "PRECONDITION_FAILED - unknown delivery tag 1"):
        tx.basic_ack(1)


@pytest.mark.parametrize("end", ["close", "error", "broker"])
def test_an_end_is_a_rollback(store, end):
    broker = msglog.Broker(store)
    ch = broker.channel()
    ch.queue_declare("q", durable=True)
    publish_all(ch, "q", b"1", b"2")
    ch.tx_select()
    ch.basic_get("q")
    ch.basic_ack(1)
    ch.basic_publish("", "q", b"3")
    if end == "close":
        ch.close()
    elif end == "broker":
        broker.close()
    else:
        with pytest.raises(msglog.QueueNotFoundError):
            ch.basic_get("missing")
    assert take(msglog.Broker(store), "q") == [b"1", b"2"]


def test_returns_come_with_the_commit(tx):
    tx.basic_publish("", "nowhere", b"x", mandatory=True)
    assert tx.poll() == []
    tx.tx_commit()
    assert tx.poll() == [Returned(312, "NO_ROUTE", "", "nowhere", Properties(), b"x")]


def test_room_is_made_by_the_commit(ch, q):
    publish_all(ch, q, b"1", b"2")
    ch.tx_select()
    ch.basic_qos(prefetch_count=1)
    ch.basic_consume(q)
    assert bodies(ch) == [b"1"]
    ch.basic_ack(1)
    assert bodies(ch) == []
    ch.tx_commit()
    assert bodies(ch) == [b"2"]


def test_what_is_published_is_pushed_with_the_commit(tx, other, q):
    other.basic_consume(q)
    tx.basic_publish("", q, b"3", Properties(delivery_mode=2))
    assert bodies(other) == []
    tx.tx_commit()
    assert bodies(other) == [b"3"]


def test_the_limits_of_queues_are_seen_within_a_commit(broker, ch):
    ch.queue_declare("drop", arguments={"x-max-length": 1})
    ch.tx_select()
    publish_all(ch, "drop", b"1", b"2")
    ch.tx_commit()
    assert take(broker, "drop") == [b"2"]


@pytest.mark.parametrize("overflow", ["reject-publish", "reject-publish-dlx"])
def test_a_message_that_a_full_queue_refuses_undoes_everything(broker, ch, q, dlq, overflow):
    arguments = {"x-max-length": 1, "x-overflow": overflow, "x-dead-letter-exchange": "",
                 "x-dead-letter-routing-key": dlq}  # fmt: skip
    ch.queue_declare("short", arguments=arguments)
    broker.send(q, b"in hand")
    ch.tx_select()
    ch.basic_ack(ch.basic_get(q).delivery_tag)
    publish_all(ch, "short", b"1", b"2")
    with closing(ch, 406, "PRECONDITION_FAILED - queue 'short' in vhost '/' is full: nothing was committed"):
        ch.tx_commit()
    assert (take(broker, "short"), take(broker, dlq), take(broker, q)) == ([], [], [b"in hand"])


@pytest.mark.parametrize(
    ("exchange", "properties", "code"),
    [
        ("missing", None, 404),
        ("", Properties(expiration="x"), 406),
        ("", Properties(headers={"CC": "q"}), 406),
        ("", Properties(user_id="bob"), 406),
    ],
)
def test_bad_publications_are_errors_at_once(tx, exchange, properties, code):
    with pytest.raises(msglog.MsglogError) as caught:
        tx.basic_publish(exchange, "q", b"", properties)
    assert caught.value.reply_code == code
    assert not tx.is_open


def test_an_exchange_that_is_deleted_meanwhile_undoes_everything(broker, tx, q):
    tx.exchange_declare("e")
    tx.basic_publish("", q, b"3")
    tx.basic_publish("e", "k", b"4")
    tx.basic_ack(1)
    tx.exchange_delete("e")
    with closing(tx, 404, "NOT_FOUND - no exchange 'e' in vhost '/'"):
        tx.tx_commit()
    assert take(broker, q) == [b"1", b"2"]


def test_settlements_of_a_deleted_queue_are_left_out(broker, tx, q):
    tx.queue_declare("other")
    tx.basic_ack(1)
    tx.basic_nack(2)
    tx.basic_publish("", "other", b"x")
    tx.queue_delete(q)
    tx.tx_commit()
    assert take(broker, "other") == [b"x"]


def test_transactions_and_confirms_exclude_each_other(ch, other):
    ch.tx_select()
    with closing(ch, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode"):
        ch.confirm_select()
    other.confirm_select()
    with closing(other, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode"):
        other.tx_select()


@pytest.mark.parametrize("end", ["tx_commit", "tx_rollback"])
def test_ending_what_was_not_begun(ch, end):
    with closing(ch, 406, "PRECONDITION_FAILED - channel is not transactional"):
        getattr(ch, end)()


def test_a_commit_is_durable_when_it_returns(disk, again):
    ch = disk.broker.channel()
    ch.queue_declare("q", durable=True)
    publish_all(ch, "q", b"1", b"2")
    ch.tx_select()
    ch.basic_get("q")
    ch.basic_ack(1)
    ch.basic_publish("", "q", b"3", Properties(delivery_mode=2))
    ch.tx_commit()
    ch.basic_publish("", "q", b"4", Properties(delivery_mode=2))
    assert take(again(), "q") == [b"2", b"3"]
