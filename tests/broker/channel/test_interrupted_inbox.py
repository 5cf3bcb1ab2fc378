"""An exception wherever a signal handler may raise one, while events lie in the inbox of a channel: none is lost."""

import signal
from contextlib import suppress
from threading import Thread

import pytest

from msglog import Broker, ClosedError, Confirmed, Deliver
from msglog.broker.channel.inbox import Inbox
from support.opcodes import TELLS_RETURNS, Striker, Struck
from support.telling import tell

strikes = pytest.mark.skipif(not TELLS_RETURNS, reason="where handlers run is known of these versions")


def _strike(scenario, record_property):
    """Run a scenario once for each place that its call passes."""
    at = 0
    while True:
        striker = Striker("msglog/", at)
        with Broker(":memory:") as broker:
            broker.declare_queue("q")
            scenario(broker.channel(), striker)
        if not striker.place:
            break
        at += 1
    tell(record_property, strikes=at)


def _call(striker, work):
    with suppress(Struck), striker.striking():
        return work()
    return None


def _publish(channel, count):
    for number in range(count):
        channel._broker.publish("", "q", b"%d" % number)


def _deliveries(channel):
    """Return the tags of what is polled, until nothing comes."""
    found = []
    while events := channel.poll():
        found += [event.delivery_tag for event in events if isinstance(event, Deliver)]
    return found


def _confirmed(channel):
    """Return the numbers that are confirmed, each as often as it is told."""
    found = []
    for event in channel.poll():
        if isinstance(event, Confirmed):
            first = max(found, default=0) + 1 if event.multiple else event.delivery_tag
            found += range(first, event.delivery_tag + 1)
    return found


RETURNS = {
    "one": lambda channel: channel.basic_nack(2),
    "several": lambda channel: channel.basic_nack(2, multiple=True),
    "all": lambda channel: channel.basic_recover(),
    "rejected": lambda channel: channel.basic_reject(2, requeue=False),
}


@strikes
@pytest.mark.parametrize("name", RETURNS)
def test_what_an_interrupt_keeps_from_going_back_is_still_told(name, record_property):
    def scenario(channel, striker):
        channel.basic_consume("q", "own")
        _publish(channel, 3)
        seen = [event.delivery_tag for event in channel.poll(max_events=1)]
        _call(striker, lambda: RETURNS[name](channel))
        told = _deliveries(channel)
        assert told == sorted(set(told)), striker.place
        session = channel._session
        assert {*seen, *told} >= session.unsettled.keys(), striker.place
        assert session.unsettled.keys() >= set(told), striker.place
        assert len(session.unsettled) == channel._broker._vhost.queues["q"].unsettled(), striker.place
        assert session.inbox.bytes_in == session.inbox.bytes_out, striker.place
        channel.close()

    _strike(scenario, record_property)


@strikes
def test_a_channel_whose_closing_was_interrupted_tells_nothing(record_property):
    def scenario(channel, striker):
        channel.basic_consume("q", "own")
        _publish(channel, 3)
        _call(striker, channel.close)
        if not channel.is_open:
            with pytest.raises(ClosedError):
                channel.poll()
        channel.close()

    _strike(scenario, record_property)


@strikes
def test_an_interrupt_of_publishing_loses_no_confirm(record_property):
    def scenario(channel, striker):
        channel.confirm_select()
        _call(striker, lambda: channel.basic_publish("", "q", b"1"))
        last = channel.basic_publish("", "q", b"2")
        assert _confirmed(channel) == list(range(1, last + 1)), striker.place
        channel.close()

    _strike(scenario, record_property)


@strikes
def test_an_interrupt_of_syncing_tells_each_confirm_once(record_property):
    def scenario(channel, striker):
        channel.confirm_select()
        confirms = channel._session.confirms
        for ack in (True, False, True, True):
            confirms.add(1, ack=ack)
        _call(striker, lambda: confirms.synced(1))
        confirms.synced(1)
        assert _confirmed(channel) == [1, 2, 3, 4], striker.place
        channel.close()

    _strike(scenario, record_property)


@strikes
def test_an_interrupt_of_waiting_for_confirms_forgets_no_refusal(record_property):
    def scenario(channel, striker):
        channel.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
        channel.basic_consume("q", "own")
        channel.confirm_select()
        channel.basic_publish("", "full", b"0")
        _publish(channel, 3)
        told = _call(striker, channel.wait_for_confirms)
        assert told is False or channel.wait_for_confirms() is False, striker.place
        assert _deliveries(channel) == [1, 2, 3], striker.place
        channel.close()

    _strike(scenario, record_property)


@strikes
def test_what_an_interrupted_get_took_goes_back(record_property):
    def scenario(channel, striker):
        _publish(channel, 1)
        got = _call(striker, lambda: channel.basic_get("q")) or channel.basic_get("q")
        assert got is not None, striker.place
        assert list(channel._session.unsettled) == [got.delivery_tag], striker.place
        channel.close()

    _strike(scenario, record_property)


def test_a_poll_that_is_refused_in_another_thread_takes_nothing_from_the_one_that_polls():
    with Broker(":memory:") as broker, broker.channel() as channel:
        broker.declare_queue("q")
        channel.basic_consume("q", "own")
        _publish(channel, 4)
        refused = []

        def poll():
            with pytest.raises(RuntimeError):
                channel.poll()
            refused.append(True)

        def listener():
            thread = Thread(target=poll)
            thread.start()
            thread.join()
            raise KeyboardInterrupt

        channel._session.inbox.on_event = listener  # without a call of it now
        with pytest.raises(KeyboardInterrupt):
            channel.poll(max_events=2)
        channel.on_event = None
        assert refused
        assert _deliveries(channel) == [1, 2, 3, 4]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no alarms")
def test_what_a_signal_handler_polled_does_not_come_again():
    with Broker(":memory:") as broker, broker.channel() as channel:
        broker.declare_queue("q")
        channel.basic_consume("q", "own")
        seen = []

        def handler(*_):
            if seen:
                raise TimeoutError
            _publish(channel, 2)
            seen.extend(event.delivery_tag for event in channel.poll())

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
        try:
            with pytest.raises(TimeoutError):
                channel.poll(timeout=30)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert seen == [1, 2]
        assert channel.poll() == []


def test_another_thread_may_count_while_the_channel_takes_out():
    inbox = Inbox()

    class Taken:
        def __getitem__(self, _):
            inbox.entries.popleft()  # as the channel's thread does, which has no lock
            return (0, 0, b"", b"12")

    inbox.entries.extend([(None, 1, Taken()), (None, 2, Taken())])
    inbox.bytes_in = 4
    inbox.recount()
    assert inbox.bytes_out == 0


@strikes
def test_an_interrupted_commit_leaves_no_tags_of_what_it_settled(record_property):
    def scenario(channel, striker):
        queue = channel._broker._vhost.queues["q"]
        channel.basic_qos(prefetch_count=2, global_qos=True)
        channel.basic_consume("q", "own")
        _publish(channel, 3)
        channel.poll()
        channel.tx_select()
        channel.basic_ack(2, multiple=True)
        _call(striker, channel.tx_commit)
        channel._broker.peek("q")  # somebody looks after the queue
        assert channel._session.pushed == queue.unsettled(), striker.place
        channel.tx_rollback()
        assert len(channel._session.unsettled) == queue.unsettled(), striker.place
        channel.close()

    _strike(scenario, record_property)


def test_after_an_interrupt_what_went_with_its_queue_can_be_settled():
    with Broker(":memory:") as broker, broker.channel() as channel:
        broker.declare_queue("q")
        channel.basic_consume("q", "own")
        _publish(channel, 1)
        assert _deliveries(channel) == [1]
        broker.delete_queue("q")
        with pytest.raises(KeyboardInterrupt), channel._guard:
            raise KeyboardInterrupt
        broker.declare_queue("other")
        assert broker.get("other") is None  # somebody looks after queues
        channel.basic_ack(1)
        assert channel.is_open
