"""One consumer after the other. Row 64, the part of 53 on such queues, and their detail."""

import pytest

from msglog import AccessRefusedError
from support.brokers import Call, info, send_all, take


@pytest.fixture
def single(broker):
    return broker.declare_queue("q", single_active_consumer=True).name


def test_the_first_consumer_gets_all(broker, single):
    with broker.consume(single) as first, broker.consume(single) as second:
        send_all(broker, single, b"1", b"2", b"3")
        assert second.get(0) is None
        assert second.get(0.005) is None
        held = list(first.iter(0))
        assert [delivery.body for delivery in held] == [b"1", b"2", b"3"]
        for delivery in held:
            delivery.ack()
        assert info(broker, single).consumer_count == 2


def test_the_next_takes_over_when_the_first_ends(broker, single):
    first, second, third = (broker.consume(single) for _ in range(3))
    send_all(broker, single, b"1", b"2")
    held = first.get(0)
    assert held.body == b"1"
    assert (second.get(0), third.get(0)) == (None, None)
    first.close()
    assert third.get(0) is None
    with second.get(0) as again:
        assert (again.body, again.redelivered) == (b"1", True)
    second.close()
    with third.get(0) as delivery:
        assert delivery.body == b"2"
    third.close()


def test_one_that_ends_while_it_waits_for_its_turn_is_left_out(broker, single):
    first, second, third = (broker.consume(single) for _ in range(3))
    broker.send(single, b"x")
    second.close()
    first.close()
    with third.get(0) as delivery:
        assert delivery.body == b"x"
    third.close()


def test_taking_over_wakes_who_waits(broker, single):
    first = broker.consume(single)
    with broker.consume(single) as second:
        call = Call(second.get).until_asleep()
        broker.send(single, b"x")
        call.until_asleep()
        first.close()
        with call.result() as delivery:
            assert delivery.body == b"x"


def test_a_full_hand_does_not_give_the_turn_away(broker, single):
    send_all(broker, single, b"1", b"2")
    with broker.consume(single, prefetch_count=1) as first, broker.consume(single) as second:
        held = first.get(0)
        assert (first.get(0), second.get(0)) == (None, None)
        held.ack()
        assert second.get(0) is None
        with first.get(0) as delivery:
            assert delivery.body == b"2"


def test_a_later_consumer_takes_nobodys_place(broker, single):
    broker.send(single, b"x")
    with broker.consume(single) as first, broker.consume(single, priority=10) as second:
        assert second.get(0) is None
        with first.get(0) as delivery:
            assert delivery.body == b"x"


def test_nobody_is_exclusive_on_such_a_queue(broker, single):
    with pytest.raises(AccessRefusedError) as caught:
        broker.consume(single, exclusive=True)
    assert caught.value.reply_code == 403
    assert info(broker, single).consumer_count == 0
    broker.send(single, b"x")
    assert take(broker, single) == [b"x"]


def test_arguments_make_the_same_queue(broker):
    broker.declare_queue("q", arguments={"x-single-active-consumer": True})
    broker.send("q", b"x")
    with broker.consume("q") as first, broker.consume("q") as second:
        assert second.get(0) is None
        with first.get(0) as delivery:
            assert delivery.body == b"x"


def test_a_consumer_that_stopped_gives_its_turn_away_at_the_latest_when_it_closes(broker, single):
    first = broker.consume(single)
    with broker.consume(single) as second:
        first.stop()
        broker.send(single, b"x")
        assert first.get(0) is None
        first.close()
        with second.get(0) as delivery:
            assert delivery.body == b"x"
