"""The public interface is what was promised: names, parameters, which of them go by position, and defaults.

A signature may have more than its promise, as long as the promised call goes on to work: what is more has a default.
"""

import inspect
import typing

import pytest

import msglog
from msglog import BYTES, Retry, aio
from msglog.log.rules.assignors import ASSIGNORS
from msglog.log.rules.membership import AssignorName
from msglog.log.rules.topic_config import (
    CleanupPolicy,
    Compression,
    FurtherTopicOptions,
    TimestampType,
    TopicConfig,
    TopicOptions,
)
from msglog.store import StoreOptions
from msglog.testing import ManualClock

ANY = object()  # a default that may change

APPENDING = "key=None, headers={}, partition=None, {}=None, expected_offset=None, expected_key_offset=None"
APPEND = "topic, value, *, " + APPENDING.format("()", "timestamp_ms")
APPEND_MANY = "topic, values, *, keys=None, " + APPENDING.format("None", "timestamps_ms")
PUBLISH = "headers=None, properties=None, priority=None, expiration_ms=None, delay_ms=None, persistent=True"
LEAVING = "kind, error, trace"
RUNNING = {"stop": "", "close": "timeout=None", "join": "timeout=None", "wait_idle": "timeout=None"}

PROMISED = {
    msglog: {
        "salvage": "path, into",
        "verify": "path, *, progress=None",
        "json_of": "kind, /",
        "msgpack_of": "kind, /",
    },
    msglog.Store: {
        "__init__": (
            "path, *, sync='commit', sync_interval_ms=1000, readonly=False, clock=None, segment_bytes=64 << 20,"
            "max_record_bytes=16 << 20"
        ),
        "transaction": "",
        "process": "source, handler, *, retry=Retry()",
        "flush": "",
        "close": "",
        "verify": "",
        "backup": "directory",
        "metrics": "",
    },
    msglog.Log: {
        "__init__": "path_or_store, **store_options",
        "close": "",
        "create_topic": (
            "name, *, partitions=1, exist_ok=False, retention_ms=None, retention_bytes=None, segment_bytes=None,"
            "segment_ms=None, cleanup_policy='delete', timestamp_type='create', compression=None, **config"
        ),
        "delete_topic": "name",
        "topics": "",
        "describe_topic": "name",
        "add_partitions": "name, total",
        "alter_topic": "name, **config",
        "append": APPEND,
        "append_many": APPEND_MANY,
        "partition_for": "topic, key",
        "read": "topic, partition=None, *, start=None, stop=None, max_records=None",
        "start_offset": "topic, partition=None",
        "end_offset": "topic, partition=None",
        "offset_at": "topic, timestamp_ms, *, partition=None",
        "read_key": "topic, key, *, start=None",
        "delete_records": "topic, partition, before_offset",
        "clean": "topic=None",
        "consumer": (
            "*topics, group=None, start='earliest', auto_commit=False, assignor='range', instance_id=None,"
            "session_timeout_ms=ANY, max_poll_interval_ms=ANY, on_assign=None, on_revoke=None, on_lost=None"
        ),
        "subscribe": "*topics, group, callback, workers=1, on_error=Retry()",
        "share_consumer": "*topics, group",
        "producer": "name",
        "topic": "name, *, key=BYTES, value=BYTES",
        "groups": "",
        "describe_group": "group",
        "reset_offsets": "group, topic, *, to='earliest', to_timestamp_ms=None",
        "delete_group": "group",
    },
    msglog.Producer: {
        "append": APPEND + ", sequence=None",
        "append_many": APPEND_MANY + ", first_sequence=None",
        "close": "",
    },
    msglog.Consumer: {
        "poll": "timeout=None, max_records=500",
        "iter": "timeout=None",
        "__iter__": "",
        "stop": "",
        "commit": "upto=None",
        "committed": "tp",
        "position": "tp",
        "seek": "tp, offset",
        "seek_to_time": "timestamp_ms",
        "seek_to_beginning": "*tps",
        "seek_to_end": "*tps",
        "seek_to_committed": "",
        "pause": "*tps",
        "resume": "*tps",
        "assignment": "",
        "assign": "tps",
        "lag": "",
        "close": "",
    },
    msglog.ShareConsumer: {"poll": "timeout=None, max_records=500", "iter": "timeout=None", "stop": "", "close": ""},
    msglog.ShareRecord: {"ack": "", "release": "", "reject": ""},
    msglog.Broker: {
        "__init__": "path_or_store, **store_options",
        "close": "",
        "declare_exchange": (
            "name, type='direct', *, durable=True, auto_delete=False, internal=False, alternate_exchange=None,"
            "passive=False, arguments=None"
        ),
        "declare_queue": (
            "name='', *, durable=True, exclusive=False, auto_delete=False, passive=False, message_ttl_ms=None,"
            "expires_ms=None, max_length=None, max_length_bytes=None, overflow='drop-head', dead_letter_exchange=None,"
            "dead_letter_routing_key=None, max_priority=None, delivery_limit=None, single_active_consumer=False,"
            "history_ms=None, arguments=None"
        ),
        "delete_exchange": "name, *, if_unused=False",
        "delete_queue": "name, *, if_unused=False, if_empty=False",
        "purge_queue": "name",
        "bind": "queue, exchange, routing_key='', *, arguments=None",
        "unbind": "queue, exchange, routing_key='', *, arguments=None",
        "bind_exchange": "destination, source, routing_key='', *, arguments=None",
        "unbind_exchange": "destination, source, routing_key='', *, arguments=None",
        "exchanges": "",
        "queues": "",
        "bindings": "",
        "set_policy": "name, pattern, definition, *, priority=0, apply_to='all'",
        "delete_policy": "name",
        "publish": f"exchange, routing_key, body, *, {PUBLISH}, mandatory=False",
        "send": f"queue, body, *, {PUBLISH}",
        "publish_many": "exchange, messages, *, persistent=True, mandatory=False",
        "get": "queue, *, timeout=0, no_ack=False",
        "peek": "queue, limit=10",
        "consume": "queue, *, prefetch_count=100, no_ack=False, exclusive=False, priority=0, on_error=Retry()",
        "subscribe": "queue, callback, *, workers=1, on_error=Retry()",
        "request": "exchange, routing_key, body, *, timeout",
        "history": "queue, *, since_ms=None, limit=None",
        "replay": "queue, *, since_ms=None, until_ms=None, to=None",
        "channel": "",
        "queue": "name, *, body=BYTES",
        "exchange": "name, *, body=BYTES",
    },
    msglog.Message: {"__init__": "body, *, routing_key='', headers=None, properties=None"},
    msglog.Delivery: {
        "ack": "",
        "nack": "requeue=True, *, delay_ms=0",
        "reject": "",
        "reply": "body",
        "__enter__": "",
        "__exit__": LEAVING,
    },
    msglog.QueueConsumer: {"get": "timeout=None", "iter": "timeout=None", "__iter__": "", "stop": "", "close": ""},
    msglog.Retry: {"__init__": "limit=None, delay_ms=1000, factor=2.0, max_delay_ms=60_000"},
    msglog.Transaction: {
        "append": APPEND,
        "append_many": APPEND_MANY,
        "publish": f"exchange, routing_key, body, *, {PUBLISH}, mandatory=False",
        "publish_many": "exchange, messages, *, persistent=True, mandatory=False",
        "send": f"queue, body, *, {PUBLISH}",
        "ack": "delivery",
        "nack": "delivery, requeue=True, *, delay_ms=0",
        "reject": "delivery",
        "commit_offsets": "consumer_or_group, upto=None",
        "rollback": "",
        "__enter__": "",
        "__exit__": LEAVING,
        "__aenter__": "",
        "__aexit__": LEAVING,
    },
    ManualClock: {"__init__": "start_ms=1_700_000_000_000", "advance": "*, seconds=0, ms=0"},
    msglog.Subscription: RUNNING,
    msglog.QueueSubscription: RUNNING,
}

TOPIC_CALLS = (
    *("append", "append_many", "partition_for", "read", "read_key", "start_offset", "end_offset", "offset_at"),
    *("last_record", "consumer", "share_consumer", "subscribe"),
)
QUEUE_CALLS = ("send", "get", "peek", "consume", "subscribe", "history")

# Views: as what they are views of, without the name.
PROMISED |= {
    msglog.TypedTopic: {name: PROMISED[msglog.Log][name].replace("topic, ", "") for name in TOPIC_CALLS[:8]},
    msglog.TypedQueue: {name: PROMISED[msglog.Broker][name].replace("queue, ", "") for name in QUEUE_CALLS},
    msglog.TypedExchange: {
        name: PROMISED[msglog.Broker][name].replace("exchange, ", "") for name in ("publish", "publish_many", "request")
    },
    msglog.TypedConsumer: {name: text for name, text in PROMISED[msglog.Consumer].items() if name != "assign"},
    msglog.TypedShareConsumer: PROMISED[msglog.ShareConsumer],
    msglog.TypedShareRecord: PROMISED[msglog.ShareRecord],
    msglog.TypedQueueConsumer: PROMISED[msglog.QueueConsumer],
    msglog.TypedDelivery: PROMISED[msglog.Delivery],
    msglog.TypedProducer: {name: text.replace("topic, ", "") for name, text in PROMISED[msglog.Producer].items()},
}
PROMISED[msglog.TypedTopic] |= {name: PROMISED[msglog.Log][name].replace("*topics", "*") for name in TOPIC_CALLS[-3:]}

CALLS = [(owner, name, text) for owner, table in PROMISED.items() for name, text in table.items()]

READING = tuple(name for name in PROMISED[msglog.TypedConsumer] if name != "__iter__")

# What a view's call hands on, and what of its parameters is the view's own.
HANDED_ON = {
    (msglog.TypedTopic, msglog.Log): ("topic topics", TOPIC_CALLS),
    (msglog.TypedProducer, msglog.Producer): ("topic", ("append", "append_many")),
    (msglog.TypedQueue, msglog.Broker): ("queue", QUEUE_CALLS),
    (msglog.TypedExchange, msglog.Broker): ("exchange", ("publish", "publish_many")),
    (msglog.TypedConsumer, msglog.Consumer): ("", tuple(PROMISED[msglog.TypedConsumer])),
    (msglog.TypedDelivery, msglog.Delivery): ("", ("ack", "nack", "reject")),
    # Those for tasks: as those for threads, but for what both call differently (`subscribe`).
    (aio.TypedTopic, msglog.TypedTopic): ("", (*TOPIC_CALLS[:-1], "producer", "decode")),
    (aio.TypedTopic, aio.Log): ("topic topics", ("append", "append_many", "consumer", "share_consumer", "subscribe")),
    (aio.TypedProducer, msglog.TypedProducer): ("", ("append", "append_many")),
    (aio.TypedQueue, msglog.TypedQueue): ("", (*QUEUE_CALLS[:4], "history", "send_many", "request", "decode")),
    (aio.TypedQueue, aio.Broker): ("queue", ("consume", "subscribe", "get")),
    (aio.TypedExchange, msglog.TypedExchange): ("", ("publish", "publish_many", "request")),
    (aio.TypedConsumer, msglog.TypedConsumer): ("", READING),
    (aio.TypedShareConsumer, msglog.TypedShareConsumer): ("", ("poll", "iter", "stop", "close")),
    (aio.TypedQueueConsumer, msglog.TypedQueueConsumer): ("", ("get", "iter", "stop", "close")),
    (aio.TypedDelivery, msglog.TypedDelivery): ("", ("ack", "nack", "reject", "reply")),
    (aio.Log, msglog.Log): ("", ("topic",)),
    (aio.Broker, msglog.Broker): ("", ("queue", "exchange")),
    (aio.Store, msglog.Store): ("", ("process", "transaction")),
}

CONTEXTS = [
    msglog.Store,
    msglog.Log,
    msglog.Broker,
    msglog.Consumer,
    msglog.ShareConsumer,
    msglog.Producer,
    msglog.QueueConsumer,
    msglog.Subscription,
    msglog.QueueSubscription,
    msglog.Channel,
    msglog.Transaction,
    msglog.Delivery,
    msglog.TypedConsumer,
    msglog.TypedShareConsumer,
    msglog.TypedQueueConsumer,
    msglog.TypedProducer,
    msglog.TypedDelivery,
]


def promise(text):
    """Return the parameters of a signature that is written down."""
    names = {"Retry": Retry, "BYTES": BYTES, "ANY": ANY}
    exec(f"def promised({text}): ...", names)
    return list(inspect.signature(names["promised"]).parameters.values())


def parameters(owner, name):
    assert hasattr(owner, name)  # what stands in `msglog` itself is imported by this
    found = list(inspect.signature(inspect.getattr_static(owner, name)).parameters.values())
    return found if inspect.ismodule(owner) else found[1:]


def by_position(found):
    return [one.name for one in found if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]


def differences(promised, found):
    """Yield what of a promise does not hold."""
    have = {one.name: one for one in found}
    positional = by_position(promised)
    if by_position(found)[: len(positional)] != positional:
        yield f"by position: {by_position(found)}, not {positional}"
    for one in promised:
        real = have.get(one.name)
        if real is None:
            yield f"there is no {one.name}"
        elif one.kind is one.KEYWORD_ONLY and real.kind is not real.KEYWORD_ONLY:
            yield f"{one.name} does not go by its name only"
        elif one.kind is not one.KEYWORD_ONLY and real.kind is not one.kind:
            yield f"{one.name} is {real.kind}"
        elif one.default is not ANY and one.default is not one.empty and one.default != real.default:
            yield f"{one.name} is {real.default!r} by default, not {one.default!r}"
        elif one.default is one.empty and one.kind is one.KEYWORD_ONLY and real.default is not real.empty:
            yield f"{one.name} may be left out"
    promises = {one.name for one in promised}
    for one in found:
        variable = one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
        if one.name not in promises and not variable and one.default is one.empty:
            yield f"{one.name} must be given, which nobody knows"


@pytest.mark.parametrize(("owner", "name", "text"), CALLS, ids=[f"{owner.__name__}.{name}" for owner, name, _ in CALLS])
def test_a_call_has_the_signature_that_was_promised(owner, name, text):
    assert list(differences(promise(text), parameters(owner, name))) == []


@pytest.mark.parametrize(
    ("view", "plain", "name", "own"),
    [(view, plain, name, own.split()) for (view, plain), (own, names) in HANDED_ON.items() for name in names],
    ids=lambda given: getattr(given, "__name__", given) if not isinstance(given, list) else "",
)
def test_a_view_has_every_option_of_what_it_calls(view, plain, name, own):
    wanted = {one.name: (one.kind, one.default) for one in parameters(plain, name) if one.name not in own}
    assert {one.name: (one.kind, one.default) for one in parameters(view, name)} == wanted


@pytest.mark.parametrize(
    ("promised", "real", "difference"),
    [
        ("a", "", "by position: [], not ['a']"),
        ("a, b", "b, a", "by position: ['b', 'a'], not ['a', 'b']"),
        ("*, a=1", "*, a=2", "a is 2 by default, not 1"),
        ("*, a=1", "a=1", "a does not go by its name only"),
        ("*, a", "*, a=1", "a may be left out"),
        ("*topics", "topics", "topics is POSITIONAL_OR_KEYWORD"),
        ("", "a", "a must be given, which nobody knows"),
        ("*, a=1", "", "there is no a"),
    ],
)
def test_every_kind_of_difference_is_found(promised, real, difference):
    assert difference in [text.replace("ParameterKind.", "") for text in differences(promise(promised), promise(real))]


def test_more_with_a_default_is_no_difference():
    assert list(differences(promise("a, *, b=1"), promise("a, c=0, *, b=1, d=ANY, **options"))) == []


@pytest.mark.parametrize("owner", CONTEXTS)
def test_what_ends_is_a_context_manager(owner):
    assert not list(differences(promise(""), parameters(owner, "__enter__")))
    assert not list(differences(promise(LEAVING), parameters(owner, "__exit__")))


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (msglog.Store, "log broker recovery path closed"),
        (msglog.Log, "store closed"),
        (msglog.Broker, "store closed"),
        (msglog.Producer, "name last_sequence"),
        (msglog.Transaction, "metadata"),
        (msglog.Message, "body routing_key exchange headers properties timestamp_ms"),
        (msglog.Delivery, "body queue exchange routing_key redelivered delivery_count settled"),
        (msglog.TypedMessage, "body raw routing_key exchange headers properties timestamp_ms"),
        (msglog.TypedDelivery, "body raw queue exchange routing_key redelivered delivery_count settled"),
        (msglog.TypedRecord, "topic partition offset timestamp_ms key value headers raw"),
        (msglog.TypedShareRecord, "topic partition offset timestamp_ms key value headers raw delivery_count"),
    ],
)
def test_an_object_has_the_attributes_that_were_promised(owner, names):
    missing = [name for name in names.split() if not hasattr(owner, name) and name not in typing.get_type_hints(owner)]
    assert missing == []


@pytest.mark.parametrize(
    ("owner", "fields"),
    [
        (msglog.Record, "topic partition offset timestamp_ms key value headers"),
        (msglog.RecordMetadata, "topic partition offset timestamp_ms duplicate"),
        (msglog.TopicPartition, "topic partition"),
        (msglog.QueueInfo, "name message_count consumer_count"),
    ],
)
def test_a_tuple_has_its_fields_in_order(owner, fields):
    assert owner._fields == tuple(fields.split())


def test_what_type_checkers_know_of_options_is_what_there_is():
    explicit = set(inspect.signature(msglog.Log.create_topic).parameters)
    config = set(TopicConfig.__dataclass_fields__)
    assert TopicOptions.__annotations__.keys() == config
    assert FurtherTopicOptions.__annotations__.keys() == config - explicit
    assert set(typing.get_args(AssignorName)) == set(ASSIGNORS)
    store = set(inspect.signature(msglog.Store).parameters)
    assert StoreOptions.__annotations__.keys() == store - {"path"}


@pytest.mark.parametrize(
    ("choices", "option"),
    [(CleanupPolicy, "cleanup_policy"), (TimestampType, "timestamp_type"), (Compression, "compression")],
    ids=["cleanup_policy", "timestamp_type", "compression"],
)
def test_every_choice_that_type_checkers_know_is_one(choices, option):
    for choice in typing.get_args(choices):
        assert getattr(TopicConfig(**{option: choice}), option) == choice
    with pytest.raises(msglog.InvalidOptionError):
        TopicConfig(**{option: "another"})


def test_properties_are_amqps():
    assert set(inspect.signature(msglog.Properties).parameters) == {
        "content_type",
        "content_encoding",
        "headers",
        "delivery_mode",
        "priority",
        "correlation_id",
        "reply_to",
        "expiration",
        "message_id",
        "timestamp",
        "type",
        "user_id",
        "app_id",
        "cluster_id",
    }


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ClosedError", ValueError),
        ("StoreLockedError", OSError),
        ("ReadOnlyError", OSError),
        ("StoreFailedError", OSError),
        ("DiskFullError", OSError),
        ("CorruptionError", OSError),
        ("UnsupportedFormatError", OSError),
        ("InvalidNameError", ValueError),
        ("InvalidOptionError", ValueError),
        ("RecordTooLargeError", ValueError),
        ("TransactionTooLargeError", ValueError),
        ("TopicNotFoundError", LookupError),
        ("TopicExistsError", ValueError),
        ("PartitionNotFoundError", LookupError),
        ("OffsetOutOfRangeError", LookupError),
        ("OffsetConflictError", ValueError),
        ("GroupError", RuntimeError),
        ("NoEventLoopError", RuntimeError),
        ("FencedError", msglog.GroupError),
        ("RebalanceError", msglog.GroupError),
        ("EncodeError", TypeError),
        ("DecodeError", ValueError),
    ],
)
def test_an_error_is_also_the_builtin_that_fits(name, builtin):
    kind = getattr(msglog, name)
    assert issubclass(kind, msglog.MsglogError)
    assert issubclass(kind, builtin)
    assert not issubclass(kind, KeyError)
