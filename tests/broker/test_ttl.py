"""Messages that expire. Rows 5, 17, 18, 20 and the detail on TTL; deaths themselves are in `test_dead_letters`."""

import pytest

from msglog import Broker, Properties
from support.brokers import DEAD_LETTERED, Call, ready, send_all, take, take_one, wait_until


@pytest.fixture
def expiring(broker, dlq):
    """A queue whose messages live for 300 ms and are dead-lettered then."""
    options = {"dead_letter_exchange": "", "dead_letter_routing_key": dlq}
    return broker.declare_queue("q", message_ttl_ms=300, **options).name


def test_a_message_expires_when_its_time_is_over(broker, clock, q):
    broker.send(q, b"x", expiration_ms=50)
    clock.advance(ms=49)
    assert ready(broker, q) == 1
    clock.advance(ms=1)
    assert ready(broker, q) == 0
    assert broker.get(q) is None


def test_the_expiration_may_come_as_a_property(broker, clock, q):
    broker.send(q, b"x", properties=Properties(expiration="50"))
    clock.advance(ms=49)
    assert ready(broker, q) == 1
    clock.advance(ms=1)
    assert ready(broker, q) == 0


def test_a_queue_gives_its_messages_a_time(broker, clock, expiring, dlq):
    broker.send(expiring, b"1")
    clock.advance(ms=100)
    broker.send(expiring, b"2")
    clock.advance(ms=200)
    assert (ready(broker, expiring), take(broker, dlq)) == (1, [b"1"])
    clock.advance(ms=99)
    assert ready(broker, dlq) == 0
    clock.advance(ms=1)
    assert (ready(broker, expiring), take(broker, dlq)) == (0, [b"2"])


@pytest.mark.parametrize(("expiration_ms", "lives_ms"), [(50, 50), (300, 300), (1000, 300)])
def test_the_shorter_time_counts(broker, clock, expiring, expiration_ms, lives_ms):
    broker.send(expiring, b"x", expiration_ms=expiration_ms)
    clock.advance(ms=lives_ms - 1)
    assert ready(broker, expiring) == 1
    clock.advance(ms=1)
    assert ready(broker, expiring) == 0


def test_only_the_head_expires(broker, clock, dlq):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"long", expiration_ms=60_000)
    broker.send("q", b"short", expiration_ms=50)
    broker.send("q", b"for ever")
    clock.advance(ms=100)
    assert (ready(broker, "q"), ready(broker, dlq)) == (3, 0)
    head = broker.get("q")
    assert head.body == b"long"
    following = broker.get("q")
    assert following.body == b"for ever"
    assert take(broker, dlq) == [b"short"]
    head.ack()
    following.ack()


def test_many_expire_at_once_in_their_order(broker, clock, expiring, dlq):
    bodies = [b"%d" % number for number in range(500)]
    broker.publish_many("", [(expiring, body) for body in bodies])
    clock.advance(ms=300)
    assert ready(broker, expiring) == 0
    assert take(broker, dlq) == bodies


def test_what_is_in_hand_does_not_expire(broker, clock, expiring, dlq):
    broker.send(expiring, b"x")
    held = broker.get(expiring)
    clock.advance(ms=1000)
    held.ack()
    assert (ready(broker, expiring), ready(broker, dlq)) == (0, 0)


def test_the_time_runs_on_while_a_message_is_in_hand(broker, clock, expiring, dlq):
    broker.send(expiring, b"x")
    held = broker.get(expiring)
    clock.advance(ms=400)
    assert ready(broker, dlq) == 0
    held.nack()
    assert ready(broker, expiring) == 0
    assert broker.get(expiring) is None
    assert take(broker, dlq) == [b"x"]


def test_a_return_does_not_begin_the_time_anew(broker, clock, expiring):
    broker.send(expiring, b"x")
    clock.advance(ms=100)
    broker.get(expiring).nack()
    clock.advance(ms=199)
    assert ready(broker, expiring) == 1
    clock.advance(ms=1)
    assert ready(broker, expiring) == 0


def test_the_time_of_a_delayed_message_begins_when_it_is_due(broker, clock, q):
    broker.send(q, b"x", delay_ms=1000, expiration_ms=50)
    clock.advance(ms=1000)
    assert ready(broker, q) == 1
    clock.advance(ms=49)
    assert ready(broker, q) == 1
    clock.advance(ms=1)
    assert ready(broker, q) == 0


def test_no_time_at_all_drops_what_nobody_waits_for(broker, q):
    broker.send(q, b"x", expiration_ms=0)
    assert ready(broker, q) == 0
    assert broker.get(q) is None


def test_no_time_at_all_makes_a_dead_letter(broker, dlq):
    broker.declare_queue("q", message_ttl_ms=0, **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2")
    assert take(broker, "q") == []
    assert take(broker, dlq) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("queue_options", "options"), [({}, {"expiration_ms": 0}), ({"message_ttl_ms": 0}, {})], ids=["message", "queue"]
)
def test_no_time_at_all_is_enough_for_a_consumer_that_waits(broker, queue_options, options):
    broker.declare_queue("q", **queue_options)
    with broker.consume("q") as consumer:
        call = Call(consumer.get).until_asleep()
        broker.send("q", b"x", **options)
        delivery = call.result()
        assert delivery.body == b"x"
        delivery.ack()


@pytest.mark.parametrize("ttl_ms", [0, 50])
def test_a_message_that_comes_back_too_late_expires_although_a_consumer_waits(broker, clock, dlq, ttl_ms):
    broker.declare_queue("q", message_ttl_ms=ttl_ms, **DEAD_LETTERED)
    with broker.channel() as channel:
        channel.basic_consume("q")
        broker.send("q", b"x")
        clock.advance(ms=ttl_ms)
        (delivery,) = channel.poll()
        channel.basic_nack(delivery.delivery_tag)
        assert channel.poll() == []
        assert take(broker, dlq) == [b"x"]


def test_a_queue_that_would_get_its_own_expired_messages_drops_them(broker, clock):
    broker.declare_queue("q", message_ttl_ms=50, dead_letter_exchange="")
    broker.send("q", b"x")
    clock.advance(ms=50)
    assert ready(broker, "q") == 0
    clock.advance(ms=1000)
    assert broker.get("q") is None


def test_who_waits_is_not_woken_by_what_has_expired(broker, clock, expiring):
    broker.send(expiring, b"x")
    held = broker.get(expiring)
    clock.advance(ms=300)
    call = Call(lambda: broker.get(expiring, timeout=10, no_ack=True)).until_asleep()
    held.nack()
    broker.send(expiring, b"y")
    assert call.result().body == b"y"


def test_expired_messages_go_from_queue_to_queue(broker, clock):
    for number in range(5):
        broker.declare_queue(
            f"q{number}", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key=f"q{number + 1}"
        )
    broker.declare_queue("q5")
    broker.send("q0", b"x")
    clock.advance(ms=499)
    assert ready(broker, "q4") == 1
    clock.advance(ms=1)
    deaths = take_one(broker, "q5").headers["x-death"]
    assert [death["queue"] for death in deaths] == ["q4", "q3", "q2", "q1", "q0"]


def test_one_long_step_of_the_clock_is_as_good_as_many(broker, clock):
    broker.declare_queue("a", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key="b")
    broker.declare_queue("b", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key="c")
    broker.declare_queue("c")
    broker.send("a", b"x")
    clock.advance(seconds=3600)
    delivery = take_one(broker, "c")
    start_ms = 1_700_000_000_000
    assert delivery.timestamp_ms == start_ms + 200


def test_expiry_on_the_machines_clock(tmp_path):
    with Broker(tmp_path / "s", sync="none") as broker:
        broker.declare_queue("q")
        broker.send("q", b"x", expiration_ms=20)
        wait_until(lambda: ready(broker, "q") == 0)
        assert broker.get("q") is None


def test_what_expired_behind_a_message_that_a_limit_drops_is_dead_lettered(broker, clock):
    broker.declare_queue("dlq")
    broker.declare_queue("q", max_length=3, **DEAD_LETTERED)
    broker.send("q", b"first")
    broker.send("q", b"second", expiration_ms=3000)
    broker.send("q", b"third")
    clock.advance(ms=5000)
    broker.send("q", b"fourth")
    assert [ready(broker, name) for name in ("q", "dlq")] == [2, 2]
    assert take(broker, "dlq") == [b"first", b"second"]


def test_what_expires_behind_a_message_that_a_limit_drops_is_dead_lettered_in_time(broker, clock):
    broker.declare_queue("dlq")
    broker.declare_queue("q", max_length=2, **DEAD_LETTERED)
    broker.send("q", b"first")
    broker.send("q", b"second", expiration_ms=3000)
    broker.send("q", b"third")
    clock.advance(ms=3000)
    assert [ready(broker, name) for name in ("q", "dlq")] == [1, 2]
