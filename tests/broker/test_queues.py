"""Queues: declared, declared again, deleted, purged. Rows 43 to 48, 51, 52, 54, and the half of 60 on queues; 61."""

import re

import pytest

from msglog import (
    AccessRefusedError,
    Broker,
    InvalidNameError,
    InvalidOptionError,
    InvalidTypeError,
    PreconditionFailedError,
    QueueNotFoundError,
    ResourceLockedError,
)
from support.brokers import DEAD_LETTERED, hold, info, queue_names, ready, send_all, take


def test_declaring_tells_about_the_queue(broker):
    assert broker.declare_queue("q") == ("q", 0, 0)
    send_all(broker, "q", b"1", b"2", b"3")
    held = broker.get("q")
    with broker.consume("q"), broker.consume("q"):
        again = broker.declare_queue("q")
        assert (again.name, again.message_count, again.consumer_count) == ("q", 2, 2)
        assert broker.declare_queue("q", passive=True) == again
        assert broker.queues() == [again]
    assert broker.queues() == [("q", 2, 0)]
    held.ack()


def test_a_new_broker_has_no_queues(broker):
    assert broker.queues() == []


def test_a_queue_without_a_name_is_given_one(broker):
    names = {broker.declare_queue().name for _ in range(20)}
    assert len(names) == 20
    assert all(re.fullmatch(r"amq\.gen-[\w-]{22}", name, re.ASCII) for name in names)
    assert queue_names(broker) == names


def test_a_given_name_can_be_declared_again(broker):
    name = broker.declare_queue().name
    assert broker.declare_queue(name, passive=True).name == name


# Declared again


def test_declaring_the_same_again_changes_nothing(broker):
    options = {"message_ttl_ms": 1000, "max_length": 5, **DEAD_LETTERED}
    broker.declare_queue("q", **options)
    broker.send("q", b"x")
    assert broker.declare_queue("q", **options).message_count == 1


def test_keywords_and_arguments_are_two_spellings_of_one_thing(broker):
    keywords = {
        "message_ttl_ms": 1000,
        "expires_ms": 60_000,
        "max_length": 5,
        "max_length_bytes": 500,
        "overflow": "reject-publish",
        "dead_letter_exchange": "amq.direct",
        "dead_letter_routing_key": "k",
        "max_priority": 3,
        "single_active_consumer": True,
        "history_ms": 1000,
    }
    arguments = {
        "x-message-ttl": 1000,
        "x-expires": 60_000,
        "x-max-length": 5,
        "x-max-length-bytes": 500,
        "x-overflow": "reject-publish",
        "x-dead-letter-exchange": "amq.direct",
        "x-dead-letter-routing-key": "k",
        "x-max-priority": 3,
        "x-single-active-consumer": True,
        "x-history": 1000,
    }
    broker.declare_queue("q", **keywords)
    assert broker.declare_queue("q", arguments=arguments).name == "q"
    broker.declare_queue("r", arguments=arguments)
    assert broker.declare_queue("r", **keywords).name == "r"
    for missing in keywords:
        if missing != "dead_letter_exchange":  # which the routing key needs
            with pytest.raises(PreconditionFailedError, match="inequivalent arg"):
                broker.declare_queue("q", **{name: value for name, value in keywords.items() if name != missing})


def test_both_spellings_must_agree(broker):
    broker.declare_queue("q", message_ttl_ms=5, arguments={"x-message-ttl": 5})
    with pytest.raises(InvalidOptionError):
        broker.declare_queue("r", message_ttl_ms=5, arguments={"x-message-ttl": 6})
    assert queue_names(broker) == {"q"}


def test_another_ttl_is_refused(broker):
    broker.declare_queue("q", message_ttl_ms=1000)
    with pytest.raises(PreconditionFailedError) as caught:
        broker.declare_queue("q", message_ttl_ms=2000)
    text = "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received '2000' but current is '1000'"
    assert (str(caught.value), caught.value.reply_text) == (text, f"PRECONDITION_FAILED - {text}")
    assert caught.value.reply_code == 406
    with pytest.raises(PreconditionFailedError) as caught:
        broker.declare_queue("q")
    assert str(caught.value).startswith(
        "inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received none but current is the value '1000'"
    )


@pytest.mark.parametrize("changed", [{"durable": False}, {"auto_delete": True}, {"exclusive": True}])
def test_other_flags_are_refused(broker, changed):
    broker.declare_queue("q")
    with pytest.raises((PreconditionFailedError, ResourceLockedError)) as caught:
        broker.declare_queue("q", **changed)
    if "exclusive" not in changed:
        assert str(caught.value).startswith(f"inequivalent arg '{next(iter(changed))}' for queue 'q' in vhost '/'")
    broker.send("q", b"x")
    assert broker.declare_queue("q").message_count == 1


def test_arguments_nobody_knows_are_not_compared(broker):
    broker.declare_queue("q", arguments={"x-mine": 1})
    assert broker.declare_queue("q").name == "q"
    assert broker.declare_queue("q", arguments={"x-mine": 2, "x-other": "o"}).name == "q"


def test_a_passive_declaration_asks_only_for_the_name(broker):
    broker.declare_queue("q", message_ttl_ms=1000)
    send_all(broker, "q", b"1", b"2")
    assert broker.declare_queue("q", passive=True, durable=False, max_length=3) == ("q", 2, 0)
    assert ready(broker, "q") == 2


def test_a_passive_declaration_makes_nothing(broker):
    with pytest.raises(QueueNotFoundError) as caught:
        broker.declare_queue("q", passive=True)
    assert str(caught.value) == "no queue 'q' in vhost '/'"
    assert caught.value.reply_text == "NOT_FOUND - no queue 'q' in vhost '/'"
    assert (caught.value.reply_code, caught.value.queue) == (404, "q")
    assert broker.queues() == []


# Names and options


@pytest.mark.parametrize("name", ["amq.mine", "amq.gen-0123456789012345678901"])
def test_names_of_the_broker_itself_are_reserved(broker, name):
    with pytest.raises(AccessRefusedError, match="reserved prefix 'amq") as caught:
        broker.declare_queue(name)
    assert caught.value.reply_code == 403
    assert broker.queues() == []


@pytest.mark.parametrize("name", ["q" * 256, "ä" * 128, "a\nb", "\0"])
def test_bad_names(broker, name):
    with pytest.raises(InvalidNameError):
        broker.declare_queue(name)
    assert broker.queues() == []


@pytest.mark.parametrize("name", ["q" * 255, "a/b c.d:e", "ÄÖ", "日本", ".", "..", "amq", "AMQ.x"])
def test_odd_names(broker, name):
    broker.declare_queue(name)
    broker.send(name, b"x")
    delivery = broker.get(name)
    assert (delivery.queue, delivery.body) == (name, b"x")
    delivery.ack()


BAD_VALUES = {
    "message_ttl_ms": [-1],
    "expires_ms": [0, -1],
    "max_length": [-1],
    "max_length_bytes": [-1],
    "overflow": ["drop-tail"],
    "max_priority": [-1, 256],
    "history_ms": [-1],
}


@pytest.mark.parametrize(
    ("option", "value"), [(option, value) for option in BAD_VALUES for value in BAD_VALUES[option]]
)
def test_options_out_of_range(broker, option, value):
    with pytest.raises(InvalidOptionError):
        broker.declare_queue("q", **{option: value})
    assert broker.queues() == []


@pytest.mark.parametrize(
    "option",
    [
        "durable",
        "exclusive",
        "auto_delete",
        "passive",
        "message_ttl_ms",
        "expires_ms",
        "max_length",
        "max_length_bytes",
        "overflow",
        "dead_letter_exchange",
        "max_priority",
        "delivery_limit",
        "single_active_consumer",
        "history_ms",
        "arguments",
    ],
)
@pytest.mark.parametrize("value", [1.5, b"1", [1]])
def test_options_of_wrong_types(broker, option, value):
    with pytest.raises((InvalidTypeError, InvalidNameError)):
        broker.declare_queue("q", **{option: value})
    assert broker.queues() == []


@pytest.mark.parametrize("option", ["message_ttl_ms", "max_length", "max_priority", "delivery_limit", "history_ms"])
def test_a_flag_is_no_number(broker, option):
    with pytest.raises(InvalidTypeError):
        broker.declare_queue("q", **{option: True})
    assert broker.queues() == []


@pytest.mark.parametrize("name", [None, 5, b"q", ["q"]])
def test_names_of_wrong_types(broker, name):
    with pytest.raises((InvalidTypeError, InvalidNameError)):
        broker.declare_queue(name)
    assert broker.queues() == []


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": "1000"},
        {"x-message-ttl": -1},
        {"x-expires": 0},
        {"x-expires": "60"},
        {"x-max-length": -1},
        {"x-max-length-bytes": 1.5},
        {"x-dead-letter-routing-key": "k"},
        {"x-dead-letter-exchange": 5},
        {"x-max-priority": 256},
        {"x-max-priority": -1},
        {"x-overflow": "drop-tail"},
        {"x-overflow": 1},
        {"x-single-active-consumer": "yes"},
        {"x-queue-type": "nonsense"},
        {"x-queue-type": "stream"},
        {"x-queue-type": "quorum", "x-max-priority": 5},
        {"x-delivery-limit": 3},
        {"x-queue-type": "classic", "x-delivery-limit": 3},
    ],
)
def test_bad_arguments(broker, arguments):
    with pytest.raises(PreconditionFailedError) as caught:
        broker.declare_queue("q", arguments=arguments)
    assert caught.value.reply_code == 406
    assert broker.queues() == []


@pytest.mark.parametrize("flags", [{"durable": False}, {"exclusive": True}])
def test_a_quorum_queue_is_durable_and_for_all(broker, flags):
    with pytest.raises(PreconditionFailedError):
        broker.declare_queue("q", arguments={"x-queue-type": "quorum"}, **flags)
    assert broker.queues() == []


def test_a_dead_letter_routing_key_needs_an_exchange(broker):
    with pytest.raises((InvalidOptionError, PreconditionFailedError)):
        broker.declare_queue("q", dead_letter_routing_key="k")
    assert broker.queues() == []


def test_no_priorities_at_all_are_allowed(broker):
    assert broker.declare_queue("q", max_priority=0).name == "q"
    assert broker.declare_queue("r", arguments={"x-max-priority": 0}).name == "r"


# Deleted and purged


def test_deleting_tells_how_many_messages_went(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    assert broker.delete_queue(q) == 3
    assert broker.queues() == []
    with pytest.raises(QueueNotFoundError):
        broker.send(q, b"x")


def test_a_queue_made_anew_has_nothing_of_the_old(broker, q):
    send_all(broker, q, b"1", b"2")
    broker.delete_queue(q)
    assert broker.declare_queue(q, message_ttl_ms=5).message_count == 0
    broker.send(q, b"3")
    assert take(broker, q) == [b"3"]


def test_deleting_what_is_not_there_is_fine(broker):
    assert broker.delete_queue("q") == 0
    assert broker.delete_queue("q", if_unused=True, if_empty=True) == 0


def test_a_queue_that_is_not_empty_is_kept_if_so_wished(broker, q):
    broker.send(q, b"x")
    with pytest.raises(PreconditionFailedError, match="queue 'q' in vhost '/' not empty"):
        broker.delete_queue(q, if_empty=True)
    assert take(broker, q) == [b"x"]
    assert broker.delete_queue(q, if_empty=True) == 0
    assert broker.queues() == []


def test_a_queue_in_use_is_kept_if_so_wished(broker, q):
    with broker.consume(q):
        with pytest.raises(PreconditionFailedError, match="queue 'q' in vhost '/' in use"):
            broker.delete_queue(q, if_unused=True)
        assert info(broker, q).consumer_count == 1
    assert broker.delete_queue(q, if_unused=True) == 0
    assert broker.queues() == []


def test_purging_removes_what_is_ready(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    held = broker.get(q)
    assert broker.purge_queue(q) == 2
    assert ready(broker, q) == 0
    held.nack()
    assert take(broker, q) == [b"1"]
    assert broker.purge_queue(q) == 0


def test_a_purged_queue_goes_on(broker, q):
    send_all(broker, q, b"1", b"2", b"3")
    held = hold(broker, q, 2)
    held[1].nack()
    assert broker.purge_queue(q) == 2
    broker.send(q, b"4")
    held[0].nack()
    assert take(broker, q) == [b"1", b"4"]


@pytest.mark.parametrize("remove", [Broker.purge_queue, Broker.delete_queue])
def test_purged_and_deleted_messages_are_no_dead_letters(broker, dlq, remove):
    broker.declare_queue("q", **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2")
    assert remove(broker, "q") == 2
    assert ready(broker, dlq) == 0


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.purge_queue("missing"),
        lambda broker: broker.get("missing"),
        lambda broker: broker.peek("missing"),
        lambda broker: broker.consume("missing"),
        lambda broker: broker.subscribe("missing", print),
        lambda broker: broker.send("missing", b""),
        lambda broker: list(broker.history("missing")),
        lambda broker: broker.replay("missing"),
    ],
)
def test_a_missing_queue_is_an_error(broker, use):
    with pytest.raises(QueueNotFoundError, match="no queue 'missing' in vhost '/'") as caught:
        use(broker)
    assert (caught.value.queue, caught.value.reply_code) == ("missing", 404)
    assert broker.queues() == []


# Exclusive


@pytest.fixture
def others(store):
    """Two brokers on one store: two connections."""
    with Broker(store) as one, Broker(store) as two:
        yield one, two


@pytest.mark.parametrize(
    "use",
    [
        lambda broker: broker.declare_queue("q"),
        lambda broker: broker.declare_queue("q", exclusive=True),
        lambda broker: broker.declare_queue("q", passive=True),
        lambda broker: broker.get("q"),
        lambda broker: broker.consume("q"),
        lambda broker: broker.purge_queue("q"),
        lambda broker: broker.delete_queue("q"),
        lambda broker: broker.bind("q", "amq.fanout"),
    ],
)
def test_an_exclusive_queue_is_for_its_own_broker(others, use):
    one, two = others
    one.declare_queue("q", exclusive=True)
    with pytest.raises(ResourceLockedError, match="exclusive") as caught:
        use(two)
    assert caught.value.reply_code == 405
    one.send("q", b"x")
    assert take(one, "q") == [b"x"]


def test_everybody_may_publish_to_an_exclusive_queue(others):
    one, two = others
    one.declare_queue("q", exclusive=True)
    two.send("q", b"1")
    two.publish("", "q", b"2")
    assert take(one, "q") == [b"1", b"2"]


def test_an_exclusive_queue_goes_with_its_broker(others):
    one, two = others
    one.declare_queue("q", exclusive=True)
    one.declare_queue("plain")
    one.bind("q", "amq.fanout")
    one.close()
    assert queue_names(two) == {"plain"}
    assert two.bindings() == []
    assert two.declare_queue("q").message_count == 0


# Auto-delete


def test_an_auto_delete_queue_goes_with_its_last_consumer(broker):
    broker.declare_queue("q", auto_delete=True)
    broker.send("q", b"x")
    with broker.consume("q"):
        with broker.consume("q"):
            pass
        assert ready(broker, "q") == 1
    assert broker.queues() == []


def test_an_auto_delete_queue_that_never_had_a_consumer_stays(broker):
    broker.declare_queue("q", auto_delete=True)
    broker.send("q", b"x")
    assert take(broker, "q") == [b"x"]
    assert queue_names(broker) == {"q"}


# Expiry of the queue itself


@pytest.mark.parametrize(
    ("use", "renews"),
    [
        (lambda broker: broker.get("q"), True),
        (lambda broker: broker.declare_queue("q", expires_ms=1000), True),
        (lambda broker: broker.consume("q").close(), True),
        (lambda broker: broker.send("q", b"x"), False),
        (lambda broker: broker.publish("", "q", b"x"), False),
        (lambda broker: broker.queues(), False),
    ],
    ids=["get", "declare", "consume", "send", "publish", "queues"],
)
def test_an_unused_queue_expires(broker, clock, use, renews):
    broker.declare_queue("q", expires_ms=1000)
    clock.advance(ms=999)
    assert queue_names(broker) == {"q"}
    use(broker)
    clock.advance(ms=999)
    assert queue_names(broker) == ({"q"} if renews else set())
    clock.advance(ms=1)
    assert queue_names(broker) == set()


def test_a_queue_with_a_consumer_does_not_expire(broker, clock):
    broker.declare_queue("q", expires_ms=1000)
    with broker.consume("q"):
        clock.advance(seconds=10)
        assert queue_names(broker) == {"q"}
    clock.advance(ms=999)
    assert queue_names(broker) == {"q"}
    clock.advance(ms=1)
    assert queue_names(broker) == set()


def test_an_expired_queue_leaves_no_dead_letters(broker, dlq, clock):
    broker.declare_queue("q", expires_ms=1000, **DEAD_LETTERED)
    broker.bind("q", "amq.fanout")
    broker.send("q", b"x")
    clock.advance(seconds=1)
    assert queue_names(broker) == {dlq}
    assert broker.bindings() == []
    assert ready(broker, dlq) == 0
