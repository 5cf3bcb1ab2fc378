"""Publisher confirms, and what is durable when they come. Rows 26, 27 and 30."""

import pytest

import msglog
from msglog import Confirmed, Properties, Returned
from msglog.testing import ManualClock
from support.brokers import Disk, ready
from support.channels import closing, publish_all

PERSISTENT = Properties(delivery_mode=2)


@pytest.fixture
def confirming(ch):
    ch.confirm_select()
    ch.queue_declare("q")
    return ch


def test_messages_are_numbered_from_the_first_confirmed_one(ch):
    ch.queue_declare("q")
    assert ch.basic_publish("", "q", b"") is None
    ch.confirm_select()
    assert [ch.basic_publish("", "q", b"") for _ in range(3)] == [1, 2, 3]
    ch.confirm_select()
    assert ch.basic_publish("", "q", b"") == 4


def test_confirms_that_come_together_are_told_as_one(confirming):
    publish_all(confirming, "q", b"1", b"2", b"3")
    assert confirming.poll() == [Confirmed(3, multiple=True, ack=True)]
    publish_all(confirming, "q", b"4")
    assert confirming.poll() == [Confirmed(4, multiple=False, ack=True)]


def test_what_no_queue_gets_is_confirmed(confirming):
    confirming.basic_publish("amq.direct", "k", b"")
    assert confirming.poll() == [Confirmed(1, multiple=False, ack=True)]


def test_a_return_comes_before_its_confirm(confirming):
    confirming.basic_publish("", "q", b"")
    confirming.basic_publish("", "nowhere", b"x", mandatory=True)
    confirming.basic_publish("", "q", b"")
    assert confirming.poll() == [
        Confirmed(1, multiple=False, ack=True),
        Returned(312, "NO_ROUTE", "", "nowhere", Properties(), b"x"),
        Confirmed(3, multiple=True, ack=True),
    ]


def test_a_full_queue_that_refuses_gives_a_nack(broker, confirming):
    confirming.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    publish_all(confirming, "full", b"1", b"2", b"3")
    assert confirming.poll() == [
        Confirmed(1, multiple=False, ack=True), Confirmed(2, multiple=False, ack=False),
        Confirmed(3, multiple=False, ack=False),
    ]  # fmt: skip
    assert ready(broker, "full") == 1


def test_the_other_queues_have_what_one_refused(broker, confirming):
    confirming.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    for name in ("full", "q"):
        confirming.queue_bind(name, "amq.fanout", "")
    confirming.basic_publish("amq.fanout", "", b"x")
    assert confirming.poll() == [Confirmed(1, multiple=False, ack=False)]
    assert ready(broker, "q") == 1


def test_acknowledged_neighbours_of_a_nack_are_not_told_twice(confirming):
    confirming.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    for queue in ("q", "q", "full", "q", "q"):
        confirming.basic_publish("", queue, b"")
    assert confirming.poll() == [
        Confirmed(2, multiple=True, ack=True),
        Confirmed(3, multiple=False, ack=False),
        Confirmed(5, multiple=True, ack=True),
    ]


def test_confirms_are_cut_like_other_events(confirming):
    confirming.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    for queue in ("q", "full", "q"):
        confirming.basic_publish("", queue, b"")
    assert confirming.poll(max_events=2) == [
        Confirmed(1, multiple=False, ack=True), Confirmed(2, multiple=False, ack=False)]  # fmt: skip
    confirming.basic_publish("", "q", b"")
    assert confirming.poll(max_events=2) == [Confirmed(4, multiple=True, ack=True)]


def test_waiting_for_all(confirming):
    assert confirming.wait_for_confirms() is True
    publish_all(confirming, "q", b"1", b"2")
    assert confirming.wait_for_confirms() is True
    assert confirming.poll() == []
    publish_all(confirming, "q", b"3")
    assert confirming.poll() == [Confirmed(3, multiple=False, ack=True)]


def test_waiting_tells_whether_something_was_refused(confirming):
    confirming.queue_declare("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    confirming.basic_publish("", "full", b"")
    confirming.basic_publish("", "q", b"")
    assert confirming.wait_for_confirms() is False
    assert confirming.wait_for_confirms() is True


def test_waiting_leaves_returns_and_deliveries(confirming):
    confirming.basic_consume("q", "t")
    confirming.basic_publish("", "q", b"x")
    confirming.basic_publish("", "nowhere", b"", mandatory=True)
    assert confirming.wait_for_confirms()
    assert [type(event).__name__ for event in confirming.poll()] == ["Deliver", "Returned"]


def test_waiting_without_confirm_mode(ch):
    with closing(ch, 406, "PRECONDITION_FAILED - channel is not in confirm mode"):
        ch.wait_for_confirms()


def test_a_failed_publication_is_not_counted(confirming):
    with pytest.raises(msglog.InvalidTypeError):
        confirming.basic_publish("", "q", "text")
    assert confirming.basic_publish("", "q", b"") == 1


@pytest.fixture
def durable(tmp_path):
    """A confirming channel of a store that syncs every commit, with a durable queue."""
    with msglog.Broker(tmp_path / "s", sync="commit", clock=ManualClock()) as broker, broker.channel() as ch:
        ch.queue_declare("q", durable=True)
        ch.confirm_select()
        yield ch


def unsynced(ch):
    engine = ch._vhost.engine
    return engine.commit_number - engine.published


def test_publishing_does_not_wait_and_one_sync_confirms_all(durable, monkeypatch):
    syncs = []
    sync = type(durable._vhost.engine.writer)._sync_areas
    monkeypatch.setattr(
        type(durable._vhost.engine.writer), "_sync_areas", lambda *args: [syncs.append(1), sync(*args)][1]
    )
    for _ in range(100):
        durable.basic_publish("", "q", b"x", PERSISTENT)
    assert (unsynced(durable), syncs) == (100, [])
    assert durable.wait_for_confirms(timeout=0) is False
    assert durable.wait_for_confirms() is True
    assert (unsynced(durable), syncs) == (0, [1])


def test_polling_makes_the_sync_that_a_confirm_waits_for(durable):
    durable.basic_publish("", "q", b"x", PERSISTENT)
    durable.basic_publish("", "q", b"x", PERSISTENT)
    assert unsynced(durable) == 2
    assert durable.poll() == [Confirmed(2, multiple=True, ack=True)]
    assert unsynced(durable) == 0


def test_transient_messages_are_confirmed_without_a_sync(durable):
    durable.basic_publish("", "q", b"x")
    durable.basic_publish("", "q", b"x", Properties(delivery_mode=1))
    assert durable.poll() == [Confirmed(2, multiple=True, ack=True)]
    assert unsynced(durable) == 2


def test_confirms_keep_their_order_whatever_is_durable(durable):
    durable.basic_publish("", "q", b"x", PERSISTENT)
    durable.basic_publish("", "q", b"x")
    durable.basic_publish("", "nowhere", b"x", PERSISTENT)
    assert durable.poll() == [Confirmed(3, multiple=True, ack=True)]


def test_what_was_confirmed_survives_a_crash(tmp_path):
    disk = Disk(tmp_path, sync="commit", clock=ManualClock())
    ch = disk.broker.channel()
    ch.queue_declare("q", durable=True)
    ch.confirm_select()
    for number in range(10):
        ch.basic_publish("", "q", b"%d" % number, PERSISTENT)
    assert ch.wait_for_confirms()
    assert ready(disk.crash(), "q") == 10
    disk.broker.close()
