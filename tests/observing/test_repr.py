"""`repr` of everything public: one line that says what a person wants to know, never a payload, and never an error.

A new public class fails here until it has an example in `EXAMPLES`.
"""

import contextlib
import inspect
import multiprocessing
import re

import pytest

import msglog
import msglog.prometheus
import msglog.testing
from msglog import Message, Properties, TopicPartition

SECRET = b"secret"
# What the assertions of recorders print: the user's own test data, as the test expects them.
TOLD_IN_FULL = {"Committed", "Published", "Settled", "ShareSettled"}
NO_INSTANCES = {
    "BYTES": "a codec",
    "Clock": "a protocol",
    "Codec": "a protocol",
    "JSON": "a codec",
    "MSGPACK": "a codec",
    "TEXT": "a codec",
    "drain": "a function",
    "evict": "a function",
    "expire_lock": "a function",
    "rebalance": "a function",
    "record": "a function",
    "redeliver": "a function",
    "json_of": "a function",
    "msgpack_of": "a function",
    "ChannelEvent": "a union",
    "__version__": "a str",
    "salvage": "a function",
    "verify": "a function",
}


class World:
    """A store with something of everything in it. Closed at the end of each test."""

    def __init__(self, folder):
        self.folder = folder
        self.ending = contextlib.ExitStack()
        self.store = self.ending.enter_context(msglog.Store(":memory:"))
        self.log, self.broker = self.store.log, self.store.broker
        self.log.create_topic("clicks", partitions=2)
        self.log.append_many("clicks", [SECRET] * 5, key=SECRET)
        self.broker.declare_queue("mails")
        for _ in range(5):
            self.broker.send("mails", SECRET, headers={"token": "hidden"})

    def consumer(self):
        consumer = self.ending.enter_context(self.log.consumer("clicks", group="billing"))
        consumer.poll(0, max_records=2)
        return consumer

    def share_consumer(self):
        return self.ending.enter_context(self.log.share_consumer("clicks", group="workers"))

    def share_record(self):
        self.sharer = self.share_consumer()
        return self.sharer.poll(0, max_records=1)[0]

    def producer(self):
        producer = self.ending.enter_context(self.log.producer("till"))
        producer.append_many("clicks", [SECRET] * 3)
        return producer

    def subscription(self):
        return self.ending.enter_context(
            self.log.subscribe("clicks", group="mailing", callback=lambda _: None, workers=2)
        )

    def queue_consumer(self):
        consumer = self.ending.enter_context(self.broker.consume("mails"))
        self.deliveries = [consumer.get(0), consumer.get(0)]
        return consumer

    def queue_subscription(self):
        self.broker.declare_queue("idle")
        return self.ending.enter_context(self.broker.subscribe("idle", lambda _: None, workers=2))

    def channel(self):
        channel = self.ending.enter_context(self.broker.channel())
        channel.basic_consume("mails")
        return channel

    def event(self, kind):
        channel = self.ending.enter_context(self.broker.channel())
        if kind is msglog.GetOk:
            return channel.basic_get("mails")
        channel.confirm_select()
        channel.basic_publish("", "nowhere", SECRET, mandatory=True)
        channel.basic_consume("mails")
        events = [event for _ in range(3) for event in channel.poll(0)]
        return next(event for event in events if isinstance(event, kind))

    @property
    def topic(self):
        return self.log.topic("clicks", key=msglog.BYTES, value=msglog.BYTES)

    @property
    def queue(self):
        return self.broker.queue("mails", body=msglog.BYTES)

    @property
    def partition(self):
        return self.log.partition_for("clicks", SECRET)

    def view(self, made):
        return self.ending.enter_context(made)

    def typed_share_record(self):
        self.sharer = self.view(self.topic.share_consumer(group="workers"))
        return self.sharer.poll(0, max_records=1)[0]

    @property
    def faults(self):
        return self.view(msglog.testing.Faults(self.store))

    def recorded(self):
        with msglog.testing.record(self.store) as recorder:
            self.broker.send("mails", SECRET)
            self.broker.get("mails").ack()
            self.log.reset_offsets("g", "clicks", to={0: 0})
        return recorder

    def transaction(self):
        self.tx = self.store.transaction()
        self.ending.enter_context(self.tx)
        self.tx.append("clicks", SECRET)
        return self.tx


def error(kind):
    return kind("what happened", topic="t", path="/p")


EXAMPLES = {
    "BackupReport": (lambda w: w.store.backup(w.folder / "copy"), "commit="),
    "Binding": (lambda w: w.broker.bind("mails", "amq.topic", "a.*") or w.broker.bindings()[0], "routing_key='a.*'"),
    "Broker": (lambda w: w.broker, "queues=1 ready=5 unsettled=0>"),
    "Cancelled": (lambda _: msglog.Cancelled("tag"), "consumer_tag='tag'"),
    "Channel": (World.channel, "1 consumers"),
    "CleanReport": (lambda w: w.log.clean(), "records_removed=0"),
    "Closed": (lambda _: msglog.Closed(msglog.ClosedError("x")), "ClosedError"),
    "Confirmed": (lambda w: w.event(msglog.Confirmed), "delivery_tag=1, multiple=False, ack=True"),
    "Consumer": (World.consumer, "<msglog.Consumer group='billing' partitions=2 lag=3>"),
    "Deliver": (lambda w: w.event(msglog.Deliver), "routing_key='mails', body=<6 bytes>"),
    "Delivery": (
        lambda w: w.queue_consumer() and w.deliveries[0],
        "<msglog.Delivery queue='mails' exchange='' routing_key='mails' unsettled delivery_count=0 body=<6 bytes>>",
    ),
    "ExchangeInfo": (lambda w: w.broker.exchanges()[0], "name='amq.direct', type='direct'"),
    "Gap": (lambda _: msglog.Gap("t", None, 0, 3, 5), "first_offset=3, next_offset=5"),
    "GetOk": (lambda w: w.event(msglog.GetOk), "body=<6 bytes>, message_count=4"),
    "GroupDescription": (lambda w: w.consumer() and w.log.describe_group("billing"), "state='Stable'"),
    "Log": (lambda w: w.log, "topics=1 partitions=2 records=5>"),
    "MemberDescription": (lambda w: w.consumer() and w.log.describe_group("billing").members[0], "member_id='consumer"),
    "Message": (lambda _: Message(SECRET, routing_key="k", headers={"token": "hidden"}), "body=<6 bytes>"),
    "PartitionDescription": (lambda w: w.log.describe_topic("clicks").partitions[0], "start_offset=0"),
    "Problem": (lambda _: msglog.Problem("frame", "/p", 7, "bad"), "position=7"),
    "Producer": (World.producer, "<msglog.Producer 'till' epoch=0 last_sequence=2>"),
    "Properties": (lambda _: Properties(headers={"token": "hidden"}, priority=3), "headers=<token>, priority=3"),
    "QueueConsumer": (World.queue_consumer, "<msglog.QueueConsumer queue='mails' ready=3 unsettled=2>"),
    "QueueInfo": (lambda w: w.broker.queues()[0], "QueueInfo(name='mails', message_count=5, consumer_count=0)"),
    "QueueSubscription": (World.queue_subscription, "queue='idle' 2 of 2 workers alive>"),
    "Record": (lambda w: w.consumer().poll(0)[0], "offset=2"),
    "RecordMetadata": (lambda w: w.log.append("clicks", SECRET, partition=1), "partition=1"),
    "RecoveryReport": (lambda w: w.store.recovery, "clean=True"),
    "Retry": (lambda _: msglog.Retry(limit=3), "Retry(limit=3, delay_ms=1000"),
    "Returned": (lambda w: w.event(msglog.Returned), "reply_code=312"),
    "SalvageReport": (lambda _: msglog.SalvageReport("/p", "/q", 3, 4), "records=3"),
    "ShareConsumer": (World.share_consumer, "<msglog.ShareConsumer group='workers' partitions=2 in_hand=0>"),
    "ShareRecord": (World.share_record, "delivery_count=1, in hand)"),
    "Store": (lambda w: w.store, "':memory:' sync='commit' commits="),
    "Subscription": (World.subscription, "group='mailing' 2 of 2 workers alive>"),
    "SystemClock": (lambda _: msglog.SystemClock(), "SystemClock()"),
    "TopicDescription": (lambda w: w.log.describe_topic("clicks"), "name='clicks'"),
    "TopicPartition": (lambda _: TopicPartition("clicks", 1), "TopicPartition(topic='clicks', partition=1)"),
    "Transaction": (World.transaction, "open bytes="),
    "MsglogCollector": (lambda w: msglog.prometheus.MsglogCollector(w.store), "MsglogCollector of ':memory:'>"),
    "TypedConsumer": (
        lambda w: w.view(w.topic.consumer(group="g")),
        "<msglog.Consumer group='g' ",
    ),
    "TypedDelivery": (lambda w: w.view(w.queue.consume()).get(0), "<msglog.TypedDelivery queue='mails' "),
    "TypedExchange": (lambda w: w.broker.exchange("amq.topic", body=msglog.BYTES), "'amq.topic'"),
    "TypedMessage": (lambda w: w.queue.peek()[0], "<msglog.TypedMessage exchange='' routing_key='mails' "),
    "TypedProducer": (lambda w: w.view(w.topic.producer("till")), "<msglog.Producer 'till' epoch=0 last_sequence=-1>"),
    "TypedQueue": (lambda w: w.queue, "<msglog.TypedQueue 'mails' "),
    "TypedQueueConsumer": (lambda w: w.view(w.queue.consume()), "<msglog.QueueConsumer queue='mails' ready=5 "),
    "TypedRecord": (lambda w: next(w.topic.read(w.partition)), "TypedRecord(topic='clicks'"),
    "TypedShareConsumer": (lambda w: w.view(w.topic.share_consumer(group="s")), "<msglog.ShareConsumer group='s' "),
    "TypedShareRecord": (World.typed_share_record, "TypedShareRecord(topic='clicks'"),
    "TypedTopic": (lambda w: w.topic, "<msglog.TypedTopic 'clicks' "),
    "Committed": (lambda w: w.recorded().committed[0], "group='g' topic='clicks' partition=0 offset=0"),
    "Fault": (lambda w: w.faults.fail("publish", msglog.StoreFailedError), "publish raises StoreFailedError"),
    "Faults": (lambda w: w.faults, "<msglog.testing.Faults ':memory:' 0 in force>"),
    "Published": (lambda w: w.recorded().published[0], "exchange='' routing_key='mails'"),
    "Recorder": (World.recorded, "<msglog.testing.Recorder 1 published, 0 appended, 1 committed, 1 settled>"),
    "Settled": (lambda w: w.recorded().settled[0], "acked queue='mails'"),
    "ShareSettled": (lambda _: msglog.testing.ShareSettled("g", "t", 0, 1), "group='g' topic='t'"),
    "SimulatedDisk": (lambda _: msglog.testing.SimulatedDisk(), "<msglog.testing.SimulatedDisk '/dev/null/"),
    "ManualClock": (lambda _: msglog.testing.ManualClock(5), "ManualClock(now_ms=5)"),
}

PUBLIC = {
    name: getattr(module, name) for module in (msglog, msglog.prometheus, msglog.testing) for name in module.__all__
}
ERRORS = [name for name, kind in PUBLIC.items() if inspect.isclass(kind) and issubclass(kind, msglog.MsglogError)]


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    with contextlib.suppress(msglog.MsglogError):
        world.ending.close()


def test_every_public_class_has_an_example():
    others = PUBLIC.keys() - set(ERRORS) - NO_INSTANCES.keys()
    assert others == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_says_what_a_person_wants_to_know(world, name):
    make, expected = EXAMPLES[name]
    made = make(world)
    assert isinstance(made, PUBLIC[name])
    shown = repr(made)
    assert expected in shown
    assert not re.search("object at 0x|\n", shown)
    if name not in TOLD_IN_FULL:
        assert name in shown
        assert not re.search("secret|hidden", shown)


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_says_what_happened(name):
    assert repr(error(PUBLIC[name])) == f"{name}('what happened')"


@pytest.mark.parametrize("name", [name for name, what in NO_INSTANCES.items() if what == "a codec"])
def test_a_codec_shows_its_name(name):
    assert repr(PUBLIC[name]) == f"msglog.{name}"


ENDING = [
    "Broker",
    "Channel",
    "Consumer",
    "Log",
    "Producer",
    "QueueConsumer",
    "ShareConsumer",
    "Store",
    "TypedConsumer",
    "TypedProducer",
    "TypedQueueConsumer",
    "TypedShareConsumer",
]


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_can_be_looked_at_after_the_end_of_the_store(world, name):
    made = EXAMPLES[name][0](world)
    with contextlib.suppress(msglog.MsglogError):
        world.ending.close()
    shown = repr(made)
    assert name in shown or name in TOLD_IN_FULL
    assert "Error)" not in shown or name == "Closed"
    assert ("closed" in shown) == (name in ENDING)


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_can_be_looked_at_when_topic_and_queue_are_gone(world, name):
    made = EXAMPLES[name][0](world)
    world.log.delete_topic("clicks")
    world.broker.delete_queue("mails")
    shown = repr(made)
    assert "Error)" not in shown or name == "Closed"
    if name == "QueueConsumer":
        assert "deleted" in shown


def _look(made, names, pipe):
    pipe.send([f"{name}: {one!r}" for name, one in zip(names, made, strict=True)])
    pipe.close()


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_look_at_all_of_it(tmp_path):
    names = [name for name in EXAMPLES if name != "BackupReport"]
    worlds = [World(tmp_path) for _ in names]
    made = [EXAMPLES[name][0](world) for name, world in zip(names, worlds, strict=True)]
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_look, args=(made, names, theirs))
    process.start()
    theirs.close()
    shown = dict(line.split(": ", 1) for line in ours.recv())
    process.join()
    for world in worlds:
        world.ending.close()
    assert process.exitcode == 0
    assert shown.keys() == set(names)
    assert [line for name, line in shown.items() if "Error)" in line and name != "Closed"] == []
    assert sorted(name for name, line in shown.items() if "closed" in line) == ENDING


def test_a_producer_that_was_fenced_says_so(world):
    first = world.producer()
    world.log.producer("till").close()
    assert repr(first) == "<msglog.Producer 'till' epoch=0 fenced>"


def test_a_store_that_failed_says_so(world):
    world.store.core.engine.stop_writing("a sync failed", OSError("test"))
    assert repr(world.store).endswith(" failed>")


def test_what_is_stopped_says_so(world):
    for consumer in (world.consumer(), world.share_consumer(), world.queue_consumer()):
        consumer.stop()
        assert repr(consumer).endswith(" stopped>")


def test_settling_shows(world):
    world.queue_consumer()
    first, second = world.deliveries
    first.ack()
    assert " settled " in repr(first)
    tx = world.transaction()
    tx.ack(second)
    assert " in a transaction " in repr(second)
    record = world.share_record()
    record.ack()
    assert repr(record).endswith(" settled)")


def test_a_broken_object_is_shown_without_an_error(world):
    del world.log._topics
    assert repr(world.log) == "<msglog.Log (AttributeError)>"
    world.log._topics = {}
