"""`repr` of what tasks use: one line with names, never a payload, and never an error."""

import re

import pytest

import msglog
from msglog import TEXT, aio

SECRET = b"secret"


class Stage:
    """A store with something of everything in it, in a running loop."""

    def __init__(self, store):
        self.store, self.log, self.broker = store, store.log, store.broker
        self.ends = []

    async def prepare(self):
        await self.log.create_topic("clicks")
        await self.log.append("clicks", SECRET, key=SECRET)
        await self.broker.declare_queue("mails")
        await self.broker.send("mails", SECRET)
        await self.broker.send("mails", SECRET)

    def closing(self, made):
        self.ends.append(made)
        return made


async def handle(_message):
    """Be done with it."""


def topic(stage):
    return stage.log.topic("clicks", value=TEXT)


def queue(stage):
    return stage.broker.queue("mails", body=TEXT)


EXAMPLES = {
    "Broker": (lambda stage: stage.broker, "queues=1"),
    "Consumer": (lambda stage: stage.closing(stage.log.consumer("clicks", group="g")), "group='g'"),
    "Delivery": (lambda stage: stage.delivery, "queue='mails'"),
    "Log": (lambda stage: stage.log, "topics=1"),
    "Producer": (lambda stage: stage.log.producer("till"), "'till'"),
    "QueueConsumer": (lambda stage: stage.closing(stage.broker.consume("mails")), "queue='mails'"),
    "QueueSubscription": (lambda stage: stage.closing(stage.broker.subscribe("mails", handle)), "1 tasks alive"),
    "ShareConsumer": (lambda stage: stage.closing(stage.log.share_consumer("clicks", group="s")), "group='s'"),
    "Store": (lambda stage: stage.store, "':memory:'"),
    "Subscription": (
        lambda stage: stage.closing(stage.log.subscribe("clicks", group="h", callback=handle)),
        "group='h' 1 tasks alive",
    ),
    "TypedConsumer": (lambda stage: stage.closing(topic(stage).consumer(group="t")), "group='t'"),
    "TypedDelivery": (lambda stage: stage.typed_delivery, "queue='mails'"),
    "TypedExchange": (lambda stage: stage.broker.exchange("amq.topic", body=TEXT), "'amq.topic' body=TEXT"),
    "TypedProducer": (lambda stage: topic(stage).producer("till"), "topic='clicks'"),
    "TypedQueue": (queue, "'mails' body=TEXT"),
    "TypedQueueConsumer": (lambda stage: stage.closing(queue(stage).consume()), "queue='mails'"),
    "TypedShareConsumer": (lambda stage: stage.closing(topic(stage).share_consumer(group="u")), "group='u'"),
    "TypedTopic": (topic, "'clicks' key=BYTES value=TEXT"),
    "Written": (lambda stage: stage.closing(stage.log.consumer("clicks", group="w")).commit(), "Written commit="),
}


def test_every_public_class_has_an_example():
    assert EXAMPLES.keys() == set(aio.__all__)


@pytest.mark.parametrize("name", EXAMPLES)
async def test_it_says_what_a_person_wants_to_know_open_and_closed(name):
    make, expected = EXAMPLES[name]
    async with aio.Store(":memory:") as store:
        stage = Stage(store)
        await stage.prepare()
        stage.delivery = await stage.broker.get("mails")
        stage.typed_delivery = await queue(stage).get()
        if name == "QueueSubscription":
            stage.delivery.ack()
            stage.typed_delivery.ack()
        made = make(stage)
        shown = [repr(made)]
        assert expected in shown[0]
        for end in stage.ends:
            await end.close()
        shown.append(repr(made))
    shown.append(repr(made))
    for text in shown:
        assert type(made).__name__ in text
        assert not re.search(r"object at 0x|\n|secret", text)


def test_a_store_that_was_not_opened_says_so():
    assert repr(aio.Store(":memory:")) == "<msglog.aio.Store ':memory:' not opened>"
    assert "not opened" in repr(aio.Log(":memory:"))
    assert msglog.Store.__name__ in repr(aio.Store(":memory:"))
