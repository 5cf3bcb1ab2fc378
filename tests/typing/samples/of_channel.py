"""What a user of AMQP channels writes."""

from typing import assert_type

from msglog import (
    Cancelled,
    Channel,
    ChannelEvent,
    Closed,
    Confirmed,
    Deliver,
    GetOk,
    MsglogError,
    Properties,
    QueueInfo,
    Returned,
    Store,
)


def use_channels(store: Store) -> None:
    with store.broker.channel() as channel:
        assert_type(channel, Channel)
        assert_type(channel.queue_declare("q", durable=True, arguments={"x-message-ttl": 60_000}), QueueInfo)
        channel.exchange_declare("e", "fanout")
        channel.queue_bind("q", "e")
        channel.confirm_select()
        assert_type(channel.basic_publish("e", "", b"body", Properties(delivery_mode=2), mandatory=True), int | None)
        assert_type(channel.wait_for_confirms(60), bool)
        taken = channel.basic_get("q")
        assert_type(taken, GetOk | None)
        if taken is not None:
            channel.basic_nack(taken.delivery_tag, requeue=True)
        channel.basic_qos(prefetch_count=10)
        tag = channel.basic_consume("q", no_ack=False)
        assert_type(tag, str)
        for event in channel.poll(timeout=0):
            on_event(channel, event)
        channel.basic_cancel(tag)
        channel.on_event = channel.wake
        news: list[int] = []
        channel.on_event = lambda: len(news)
        assert_type(channel.stopped, bool)
        assert_type(channel.error, MsglogError | None)
        assert_type(channel.queue_delete("q"), int)


def on_event(channel: Channel, event: ChannelEvent) -> str:
    match event:
        case Deliver(delivery_tag=tag, body=body):
            assert_type(body, bytes)
            channel.basic_ack(tag)
            return event.consumer_tag
        case Returned():
            return event.reply_text
        case Confirmed(delivery_tag=_, multiple=multiple, ack=ack):
            assert_type((multiple, ack), tuple[bool, bool])
            return "confirmed"
        case Cancelled(consumer_tag=tag):
            return tag
        case Closed(error=error):
            assert_type(error, MsglogError)
            return error.reply_text
