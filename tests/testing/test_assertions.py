"""What assertions of a recorder hold for, and what they say when they fail, word by word."""

import json
import re
import threading

import pytest

import msglog
from msglog.testing import ManualClock, Published, Settled, record

ANY_BODY = b"x" * 100


@pytest.fixture
def store():
    """In memory: where it lies makes no difference to what is said of it."""
    with msglog.Store(":memory:", clock=ManualClock()) as opened:
        yield opened


@pytest.fixture
def traffic(log, broker, recorder):
    """Some of everything."""
    broker.publish("", "q", b"hello", headers={"a": 1})
    broker.publish("", "nowhere", ANY_BODY)
    broker.get("q").reject()
    log.append("t", b"value", key=b"key", headers={"h": None})
    with log.consumer("t", group="g") as consumer:
        consumer.poll(0)
        consumer.commit()
        consumer.commit()
    return recorder


def message_of(assertion, *args, **options):
    with pytest.raises(AssertionError) as failure:
        assertion(*args, **options)
    return str(failure.value)


def lines(*parts):
    return "\n".join(parts)


HELLO = "exchange='' routing_key='q' body=b'hello' headers={'a': 1} -> 'q'"
LOST = f"exchange='' routing_key='nowhere' body={b'x' * 60!r}... (100 bytes) -> no queue"
REJECTED = "rejected queue='q' routing_key='q' body=b'hello' by get -> 'dead'"
VALUE = "topic='t' partition=0 offset=0 key=b'key' value=b'value' headers=(('h', None),)"


def test_what_is_there_is_returned(traffic):
    (hello,) = traffic.assert_published("", "q", b"hello", headers={"a": 1}, queues=("q",), delay_ms=0, count=1)
    assert hello is traffic.published[0]
    assert len(traffic.assert_published(exchange="")) == 2
    assert traffic.assert_published(queues=())[0].body == ANY_BODY
    (record,) = traffic.assert_appended("t", key=b"key", value=b"value", partition=0, headers=(("h", None),), count=1)
    assert record is traffic.appended[0]
    assert traffic.assert_appended(timestamp_ms=record.timestamp_ms) == [record]
    assert traffic.assert_appended("t", b"value") == [record]
    assert traffic.assert_committed("g", "t", offset=1) is traffic.committed[-1]
    assert traffic.assert_committed("g", "t").offset == 1
    assert traffic.assert_rejected("q", b"hello", by="get", count=1) == traffic.settled
    assert traffic.assert_acked(count=0) == []
    assert traffic.assert_requeued("q", count=0) == []
    traffic.assert_nothing_published("", "other")
    traffic.assert_nothing_appended("other")


def test_predicates_and_objects_that_compare_are_matched(traffic):
    class Shouted:
        def __eq__(self, other):
            return other == b"hello"

        __hash__ = None

    traffic.assert_published(body=Shouted())
    traffic.assert_published(body=lambda body: body.startswith(b"he"), routing_key=re.compile("q|r").fullmatch, count=1)
    traffic.assert_appended(key=lambda key: key is not None, value=b"value".__eq__)
    traffic.assert_committed("g", "t", offset=lambda offset: offset > 0)


def test_a_tombstone_is_expected_by_none(log, recorder):
    log.append("t", None, key=b"k")
    recorder.assert_appended("t", value=None)
    assert message_of(recorder.assert_appended, "t", key=None) == lines(
        "no record was appended with topic='t', key=None; there is:",
        "  1. topic='t' partition=0 offset=0 key=b'k' value=None",
        "nearest: 1. differs in key: b'k', not None",
    )


def test_the_message_lists_what_there_is_and_how_the_nearest_differs(traffic):
    assert message_of(traffic.assert_published, "", "q", b"hullo") == lines(
        "no message was published with exchange='', routing_key='q', body=b'hullo'; there is:",
        f"  1. {HELLO}",
        f"  2. {LOST}",
        "nearest: 1. differs in body: b'hello', not b'hullo'",
    )


def test_the_message_tells_where_long_bodies_differ(traffic):
    expected = b"x" * 70 + b"y" * 30
    assert message_of(traffic.assert_published, "", "nowhere", expected) == lines(
        f"no message was published with exchange='', routing_key='nowhere', body={b'x' * 60!r}... (100 bytes); "
        "there is:",
        f"  1. {HELLO}",
        f"  2. {LOST}",
        f"nearest: 2. differs in body from byte 70 on: ...{b'x' * 45!r}..., not ...{b'x' * 15 + b'y' * 30!r}...",
    )


def test_the_message_names_predicates(traffic):
    def is_urgent(headers):
        return headers.get("urgent")

    assert message_of(traffic.assert_published, "", headers=is_urgent) == lines(
        "no message was published with exchange='', headers that satisfies is_urgent; there is:",
        f"  1. {HELLO}",
        f"  2. {LOST}",
        "nearest: 2. differs in headers: {} does not satisfy is_urgent",
    )


def test_the_message_says_nothing_of_the_nearest_when_nothing_is_near(traffic):
    assert message_of(traffic.assert_published, "e", "k") == lines(
        "no message was published with exchange='e', routing_key='k'; there is:",
        f"  1. {HELLO}",
        f"  2. {LOST}",
    )


def test_the_message_counts(traffic):
    assert message_of(traffic.assert_published, "", "q", count=2) == lines(
        "expected 2 messages that were published with exchange='', routing_key='q', found 1; there is:", f"  1. {HELLO}"
    )
    assert message_of(traffic.assert_published, "", "r", count=1) == lines(
        "expected 1 message that was published with exchange='', routing_key='r', found 0; there is:",
        f"  1. {HELLO}",
        f"  2. {LOST}",
        "nearest: 2. differs in routing_key: 'nowhere', not 'r'",
    )
    assert message_of(traffic.assert_nothing_published, "", "q") == lines(
        "expected no message that was published with exchange='', routing_key='q', found 1; there is:", f"  1. {HELLO}"
    )
    assert message_of(traffic.assert_nothing_published) == lines(
        "expected no message that was published, found 2; there is:", f"  1. {HELLO}", f"  2. {LOST}"
    )
    assert message_of(traffic.assert_nothing_appended, "t", key=b"key") == lines(
        "expected no record that was appended with topic='t', key=b'key', found 1; there is:", f"  1. {VALUE}"
    )


def test_the_message_of_records(traffic):
    assert message_of(traffic.assert_appended, "t", value=b"other", partition=1) == lines(
        "no record was appended with topic='t', value=b'other', partition=1; there is:",
        f"  1. {VALUE}",
        "nearest: 1. differs in value: b'value', not b'other'; in partition: 0, not 1",
    )


def test_the_message_of_settlements(traffic):
    assert message_of(traffic.assert_acked, "q", b"hello") == lines(
        "no message was acknowledged with queue='q', body=b'hello'; there is:",
        f"  1. {REJECTED}",
        "nearest: 1. differs in outcome: 'rejected', not 'acked'",
    )
    assert message_of(traffic.assert_rejected, "q", by="consumer").startswith(
        "no message was rejected with queue='q', by='consumer'; there is:"
    )
    assert message_of(traffic.assert_requeued, count=1).startswith(
        "expected 1 message that was requeued, found 0; there is:"
    )


def test_the_message_of_offsets(traffic):
    assert message_of(traffic.assert_committed, "g", "t", offset=2) == lines(
        "the offset that was committed last with group='g', topic='t', partition=0 is 1, expected one with offset=2; "
        "it committed:",
        "  1. group='g' topic='t' partition=0 offset=1",
        "  2. group='g' topic='t' partition=0 offset=1",
    )
    assert message_of(traffic.assert_committed, "g", "t", 3, offset=2) == lines(
        "no offset was committed with group='g', topic='t', partition=3, offset=2; there is:",
        "  1. group='g' topic='t' partition=0 offset=1",
        "  2. group='g' topic='t' partition=0 offset=1",
        "nearest: 2. differs in partition: 0, not 3",
    )


def test_the_message_of_share_groups(log, recorder):
    log.append("t", b"v")
    with log.share_consumer("t", group="s") as consumer:
        consumer.poll(0)[0].ack()
    (settled,) = recorder.assert_share_settled("s", "t", 0, offset=0, count=1)
    assert settled is recorder.share_settled[0]
    assert message_of(recorder.assert_share_settled, "s", offset=1) == lines(
        "no record was settled with group='s', offset=1; there is:",
        "  1. acked group='s' topic='t' partition=0 offset=0",
        "nearest: 1. differs in offset: 0, not 1",
    )
    assert message_of(recorder.assert_share_settled, "s", outcome="rejected") == lines(
        "no record was settled with group='s', outcome='rejected'; there is:",
        "  1. acked group='s' topic='t' partition=0 offset=0",
        "nearest: 1. differs in outcome: 'acked', not 'rejected'",
    )


def test_only_the_offset_that_was_committed_last_counts(log, recorder):
    log.append_many("t", [b"1", b"2"])
    log.reset_offsets("g", "t", to="latest")
    log.reset_offsets("g", "t", to="earliest")
    recorder.assert_committed("g", "t", offset=0)
    with pytest.raises(AssertionError):
        recorder.assert_committed("g", "t", offset=2)


def test_the_message_when_there_is_nothing(recorder):
    assert (
        message_of(recorder.assert_published, "e")
        == "no message was published with exchange='e'; there is nothing at all"
    )
    assert message_of(recorder.assert_appended) == "no record was appended; there is nothing at all"
    assert (
        message_of(recorder.assert_committed, "g", "t", offset=1)
        == "no offset was committed with group='g', topic='t', partition=0, offset=1; there is nothing at all"
    )


def test_only_the_last_ones_of_many_are_listed(log, recorder):
    log.append_many("t", [b"%d" % number for number in range(30)])
    shown = message_of(recorder.assert_appended, "u").splitlines()
    assert shown[1] == "  ... 10 before"
    assert shown[2] == "  11. topic='t' partition=0 offset=10 key=None value=b'10'"
    assert len(shown) == 23


@pytest.mark.parametrize("name", ["body", "key", "value"])
def test_text_is_no_payload(recorder, name):
    assertion = recorder.assert_published if name == "body" else recorder.assert_appended
    with pytest.raises(msglog.InvalidTypeError) as refusal:
        assertion(**{name: "text"})
    assert str(refusal.value) == (
        f"{name} must be bytes, None, a predicate, or an object that compares equal to bytes "
        "(payloads are bytes: encode the text), not 'text'"
    )


@pytest.mark.parametrize(("option", "given"), [("count", -1), ("count", "1"), ("timeout", -1), ("timeout", "1")])
def test_bad_options_are_refused(recorder, option, given):
    with pytest.raises(msglog.InvalidOptionError, match=option):
        recorder.assert_published(**{option: given})


def test_an_assertion_waits_for_what_a_thread_does(log, broker, recorder):
    def work(delivery):
        log.append("t", delivery.body)

    with broker.subscribe("q", work):
        broker.send("q", b"job")
        recorder.assert_acked("q", b"job", timeout=30)
        recorder.assert_appended("t", value=b"job", timeout=30)
        recorder.assert_published(body=b"job", timeout=30)
        recorder.assert_idle(timeout=30)


def test_an_assertion_does_not_wait_longer_than_it_is_told(recorder):
    with pytest.raises(AssertionError, match="no record was appended"):
        recorder.assert_appended("t", timeout=0.05)


def test_a_count_waits_until_there_are_so_many(log, recorder):
    thread = threading.Thread(target=lambda: [log.append("t", b"%d" % number) for number in range(20)])
    thread.start()
    recorder.assert_appended("t", count=20, timeout=30)
    thread.join()


def test_an_idle_store_has_nothing_left_to_do(log, broker, recorder):
    recorder.assert_idle()
    log.create_topic("u", partitions=2)
    log.append("u", b"1", partition=1)
    recorder.assert_idle()  # no group has begun with it
    with log.consumer("u", group="g") as consumer:
        consumer.poll(0)
        consumer.commit()
    log.append_many("u", [b"2", b"3"], partition=1)
    broker.publish_many("", [("q", b"1"), ("q", b"2")])
    delivery = broker.get("q")
    assert message_of(recorder.assert_idle) == lines(
        "the store is not idle:",
        "  queue 'q': 1 wait, 1 in hand or held back",
        "  group 'g': topic 'u' partition 1 lags by 2",
    )
    delivery.ack()
    broker.purge_queue("q")
    log.reset_offsets("g", "u", to="latest")
    recorder.assert_idle()
    with log.share_consumer("u", group="s") as consumer:
        records = consumer.poll(0)
        records.pop(1).ack()
        assert message_of(recorder.assert_idle) == lines(
            "the store is not idle:", "  share group 's': topic 'u' partition 1 has 2 unsettled"
        )
        for record in records:
            record.ack()
        recorder.assert_idle()


def test_the_values_show_payloads():
    properties = msglog.Properties(headers={"a": 1})
    published = Published("e", "k", b"body", properties, ("q",), ("full",), 5)
    assert repr(published) == (
        "exchange='e' routing_key='k' body=b'body' headers={'a': 1} delay_ms=5 -> 'q', refused by 'full'"
    )
    assert repr(Settled("q", "expired", "e", "k", b"body")) == "expired queue='q' routing_key='k' body=b'body'"


def test_a_predicate_is_not_asked_about_what_differs_anyway(store):
    store.log.create_topic("raw")
    store.log.create_topic("t")
    store.broker.declare_queue("q")
    with record(store) as recorder:
        store.log.append("raw", b"\xff")
        store.log.append("t", b"1")
        store.broker.send("q", b"\xff")
        store.broker.send("q", b"1", headers={"json": True})
    recorder.assert_appended(value=lambda value: json.loads(value) == 1, topic="t", count=1)
    recorder.assert_published(body=lambda body: json.loads(body) == 1, headers={"json": True}, count=1)
    assert message_of(recorder.assert_appended, "t", value=lambda value: json.loads(value) == 2) == lines(
        "no record was appended with topic='t', value that satisfies <lambda>; there is:",
        "  1. topic='raw' partition=0 offset=0 key=None value=b'\\xff'",
        "  2. topic='t' partition=0 offset=0 key=None value=b'1'",
        "nearest: 2. differs in value: b'1' does not satisfy <lambda>",
    )


def test_what_a_predicate_raises_comes_out(store):
    store.log.create_topic("t")
    with record(store) as recorder:
        store.log.append("t", None, key=b"k")
    with pytest.raises(TypeError):  # else it would have held that there is none
        recorder.assert_nothing_appended("t", value=lambda value: json.loads(value) == 1)


def test_a_store_with_delayed_messages_is_not_idle(store):
    store.broker.declare_queue("q")
    with record(store) as recorder:
        store.broker.send("q", b"m", delay_ms=1000)
        assert message_of(recorder.assert_idle) == lines(
            "the store is not idle:", "  delayed messages: 1 wait until they are due"
        )
        store.core.clock.advance(ms=1000)
        assert message_of(recorder.assert_idle) == lines(
            "the store is not idle:", "  queue 'q': 1 wait, 0 in hand or held back"
        )
        store.broker.get("q").ack()
        recorder.assert_idle()
