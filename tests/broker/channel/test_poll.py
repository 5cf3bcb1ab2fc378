"""How `poll` waits, and how it is woken."""

import time

import pytest

import msglog
from msglog import Closed, CorruptionError, InvalidOptionError, Properties
from support.brokers import Call, forget, take, wait_until
from support.channels import bodies, publish_all


@pytest.fixture
def q(ch):
    name = ch.queue_declare("q").name
    ch.basic_consume(name)
    return name


@pytest.mark.usefixtures("q")
def test_without_events_it_returns_at_once(ch):
    assert ch.poll() == []


@pytest.mark.usefixtures("q")
def test_it_waits_as_long_as_it_was_asked_to(ch):
    begin = time.monotonic()
    assert ch.poll(0.05) == []
    assert time.monotonic() - begin >= 0.05


def test_it_returns_at_most_so_many(ch, q):
    publish_all(ch, q, b"1", b"2", b"3")
    assert [event.body for event in ch.poll(max_events=2)] == [b"1", b"2"]
    assert [event.body for event in ch.poll(None, max_events=2)] == [b"3"]


@pytest.mark.parametrize("arguments", [(-1,), (float("nan"),), (0, 0)])
def test_bad_limits(ch, arguments):
    with pytest.raises(InvalidOptionError):
        ch.poll(*arguments)
    assert ch.is_open


def test_a_message_wakes_it(broker, ch, q):
    call = Call(lambda: ch.poll(None)).until_asleep()
    broker.send(q, b"x")
    assert [event.body for event in call.result()] == [b"x"]


def test_a_deleted_queue_wakes_it(broker, ch, q):
    (tag,) = ch.consumer_tags
    call = Call(lambda: ch.poll(None)).until_asleep()
    broker.delete_queue(q)
    assert call.result() == [msglog.Cancelled(tag)]


@pytest.mark.usefixtures("q")
def test_wake_ends_one_wait(ch):
    call = Call(lambda: ch.poll(None)).until_asleep()
    ch.wake()
    assert call.result() == []
    assert ch.is_open
    ch.wake()
    assert ch.poll(None) == []
    call = Call(lambda: ch.poll(None)).until_asleep()
    ch.wake()
    assert call.result() == []


def test_stop_ends_this_wait_and_all_later_ones(ch, q):
    call = Call(lambda: ch.poll(None)).until_asleep()
    ch.stop()
    assert call.result() == []
    assert ch.poll(None) == []
    ch.basic_publish("", q, b"x")
    assert bodies(ch) == [b"x"]


@pytest.mark.parametrize("end", ["channel", "broker", "store"])
def test_closing_ends_the_wait(clock, end):
    store = msglog.Store(":memory:", clock=clock)
    broker = msglog.Broker(store)
    ch = broker.channel()
    call = Call(lambda: ch.poll(None)).until_asleep()
    {"channel": ch, "broker": broker, "store": store}[end].close()
    with pytest.raises(msglog.ClosedError):
        call.result()
    ch.close()
    broker.close()
    store.close()


def test_one_thread_at_a_time(ch, q):
    call = Call(lambda: ch.poll(None)).until_asleep()
    for use in (lambda: ch.basic_ack(1), ch.poll, lambda: ch.basic_publish("", q, b"")):
        with pytest.raises(RuntimeError, match="one thread at a time"):
            use()
    ch.wake()
    call.result()
    assert ch.poll() == []


def test_a_channel_may_go_from_thread_to_thread(ch, q):
    Call(lambda: ch.basic_publish("", q, b"x")).result()
    assert bodies(ch) == [b"x"]
    Call(lambda: ch.basic_ack(1)).result()


# The listener


def test_the_listener_hears_once_until_the_next_poll(broker, ch, q):
    calls = []
    ch.on_event = lambda: calls.append(1)
    publish_all(ch, q, b"1", b"2", b"3")
    assert calls == [1]
    assert len(ch.poll()) == 3
    broker.send(q, b"4")
    assert calls == [1, 1]


def test_the_listener_hears_of_what_a_poll_has_left(ch, q):
    calls = []
    ch.on_event = lambda: calls.append(1)
    publish_all(ch, q, b"1", b"2")
    calls.clear()
    ch.poll(max_events=1)
    assert calls == [1]
    ch.poll()
    assert calls == [1]


def test_a_listener_that_comes_late_hears_at_once(ch, q):
    ch.basic_publish("", q, b"x")
    calls = []
    ch.on_event = lambda: calls.append(1)
    assert calls == [1]
    assert ch.on_event is not None
    ch.on_event = None
    ch.basic_publish("", q, b"x")
    assert calls == [1]


def test_a_listener_that_fails_is_logged(ch, q, caplog):
    ch.on_event = lambda: 1 / 0
    ch.basic_publish("", q, b"x")
    assert bodies(ch) == [b"x"]
    assert "the listener of a channel failed" in caplog.text


def test_a_listener_must_be_callable(ch):
    with pytest.raises(msglog.InvalidTypeError):
        ch.on_event = "call me"


@pytest.mark.parametrize("event", ["return", "confirm", "cancel", "reply", "closed"])
def test_the_listener_hears_of_every_kind_of_event(broker, ch, other, q, event):
    calls = []
    ch.on_event = lambda: calls.append(1)
    if event == "return":
        ch.basic_publish("", "nowhere", b"", mandatory=True)
    elif event == "confirm":
        ch.confirm_select()
        ch.basic_publish("", "nowhere", b"")
    elif event == "cancel":
        broker.delete_queue(q)
    elif event == "reply":
        ch.basic_consume("amq.rabbitmq.reply-to", no_ack=True)
        broker.publish("", ch._session.reply_consumer.address, b"")
    else:
        with pytest.raises(msglog.NotSupportedError):
            other.basic_qos(1)
    assert calls == [1]
    assert len(ch.poll()) == 1


# With a journal


def test_polling_makes_the_sync_that_messages_wait_for(tmp_path, clock):
    with (
        msglog.Broker(tmp_path / "s", sync="commit", clock=clock) as broker,
        broker.channel() as ch,
        broker.channel() as other,
    ):
        ch.queue_declare("q", durable=True)
        ch.basic_consume("q")
        publish_all(other, "q", b"1", properties=Properties(delivery_mode=2))
        publish_all(other, "q", b"2", properties=Properties(headers={"a": 1}))
        assert bodies(ch) == [b"1", b"2"]


def test_messages_nobody_waits_for_are_handed_out_soon(tmp_path):
    with msglog.Broker(tmp_path / "s", sync="commit", sync_interval_ms=3_600_000) as broker, broker.channel() as ch:
        ch.queue_declare("q", durable=True)
        ch.basic_consume("q")
        publish_all(ch, "q", b"1", b"2")
        wait_until(lambda: len(ch._session.unsettled) == 2)
        with broker.consume("q") as consumer:
            call = Call(consumer.get).until_asleep()
            ch.basic_cancel(ch.consumer_tags[0])
            ch.basic_publish("", "q", b"3")
            with call.result() as delivery:
                assert delivery.body == b"3"


def test_a_listener_hears_of_messages_that_wait_for_a_sync(tmp_path):
    with msglog.Broker(tmp_path / "s", sync="commit") as broker, broker.channel() as ch, broker.channel() as other:
        ch.queue_declare("q", durable=True)
        ch.basic_consume("q")
        calls = []
        ch.on_event = lambda: calls.append(1)
        other.basic_publish("", "q", b"x")
        wait_until(lambda: calls)
        assert bodies(ch) == [b"x"]


def test_getting_makes_the_sync_too(tmp_path, clock):
    with msglog.Broker(tmp_path / "s", sync="commit", clock=clock) as broker, broker.channel() as ch:
        ch.queue_declare("q", durable=True)
        ch.basic_publish("", "q", b"x")
        assert ch.basic_get("q").body == b"x"


# Ends


def test_a_connection_that_ends_is_told_to_the_other_channels(ch, other, q):
    ch.basic_publish("", q, b"lost")
    ch.basic_consume(q, "no_ack", no_ack=True)
    ch.basic_publish("", q, b"1")
    ch.basic_publish("", q, b"2")
    with pytest.raises(msglog.NotSupportedError) as caught:
        other.basic_recover(requeue=False)
    events = ch.poll()
    assert events[-1] == Closed(caught.value)
    assert [event.body for event in events[:-1]] == [b"2"]
    with pytest.raises(msglog.ClosedError, match=r"^channel 1 was closed: NOT_IMPLEMENTED - requeue=false$"):
        ch.poll()
    assert (ch.error, ch.is_open) == (caught.value, False)


def test_the_connections_end_is_not_told_to_other_connections(store):
    with msglog.Broker(store) as mine, msglog.Broker(store) as theirs, theirs.channel() as channel:
        with pytest.raises(msglog.NotSupportedError):
            mine.channel().basic_qos(1)
        assert channel.is_open
        with mine.channel() as again:
            assert again.is_open


def test_a_channel_that_met_an_error_gives_everything_back(broker, ch, q):
    publish_all(ch, q, b"1", b"2")
    ch.poll(max_events=1)
    with pytest.raises(msglog.QueueNotFoundError):
        ch.basic_get("missing")
    assert take(broker, q) == [b"1", b"2"]
    with pytest.raises(msglog.ClosedError):
        ch.poll()


def test_closing_twice_is_once(ch):
    ch.close()
    ch.close()
    assert not ch.is_open
    assert ch.error is None
    with pytest.raises(msglog.ClosedError, match=r"^channel 1 was closed$"), ch:
        pass


def test_a_closed_channel_can_be_replaced(broker, ch):
    ch.close()
    with broker.channel() as another:
        assert another.number == 1


def test_an_unclosed_channel_warns_and_its_messages_go_back(broker):
    broker.declare_queue("q")
    broker.send("q", b"1")
    broker.send("q", b"2")
    channels = [broker.channel()]
    channels[0].basic_consume("q")
    channels[0].queue_declare("other")
    channels[0].basic_publish("", "other", b"3")
    channels[0].basic_get("other")
    with pytest.warns(ResourceWarning, match="unclosed <msglog.Channel 1 "):
        forget(channels)
    assert take(broker, "q") == [b"1", b"2"]
    assert take(broker, "other") == [b"3"]
    assert [queue.consumer_count for queue in broker.queues()] == [0, 0]


def test_the_flow_cannot_be_stopped(ch, other):
    assert ch.flow(True) is True
    with pytest.raises(msglog.NotSupportedError, match="active=false"):
        ch.flow(False)
    assert not other.is_open


def test_a_damaged_message_is_met_by_who_polls(tmp_path, clock):
    path = tmp_path / "s"
    with msglog.Broker(path, sync="none", clock=clock) as broker:
        broker.declare_queue("q")
        broker.publish_many("", [("q", b"x" * 100) for _ in range(300)])
        broker.store.flush()
        (segment,) = [file for file in (path).rglob("*queue-q*") if file.is_file()]
        with broker.channel() as ch:
            ch.basic_qos(prefetch_count=1)
            broker.get("q", no_ack=True)
            with segment.open("r+b") as file:
                file.seek(20_000)
                file.write(b"?" * 100)
            for lane in broker._vhost.queues["q"].lanes:
                lane.forget_buffer()
            ch.basic_consume("q")
            with pytest.raises(CorruptionError):
                ch.poll()
            assert ch.is_open


def test_a_channel_belongs_to_a_user_with_a_short_name(broker):
    with pytest.raises(msglog.InvalidTypeError):
        broker.channel(user=7)
    with pytest.raises(InvalidOptionError):
        broker.channel(user="x" * 256)


def test_a_readonly_store_has_no_channels(tmp_path):
    with msglog.Store(tmp_path / "s"), msglog.Store(tmp_path / "t"):
        pass
    with msglog.Broker(tmp_path / "s", readonly=True) as broker, pytest.raises(msglog.ReadOnlyError):
        broker.channel()


def test_a_closed_broker_opens_no_channel(broker):
    broker.close()
    with pytest.raises(msglog.ClosedError):
        broker.channel()
