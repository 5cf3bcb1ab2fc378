"""Options of queues: two spellings, ranges, RabbitMQ's refusals, and when a second declaration fits."""

from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.rules.queue_options import (
    QueueOptions,
    inequivalence,
    pack_queue_options,
    queue_options,
    unpack_queue_options,
)
from msglog.errors import InvalidNameError, InvalidOptionError, InvalidTypeError, PreconditionFailedError

SPELLINGS = [
    ("message_ttl_ms", "x-message-ttl", 1000),
    ("expires_ms", "x-expires", 1000),
    ("max_length", "x-max-length", 0),
    ("max_length_bytes", "x-max-length-bytes", 10),
    ("overflow", "x-overflow", "reject-publish"),
    ("dead_letter_exchange", "x-dead-letter-exchange", ""),
    ("max_priority", "x-max-priority", 10),
    ("single_active_consumer", "x-single-active-consumer", True),
    ("history_ms", "x-history", 5),
]
QUORUM = {"x-queue-type": "quorum"}
TEN_YEARS_MS = 315_360_000_000


def test_defaults():
    assert queue_options("q") == QueueOptions(
        durable=True,
        exclusive=False,
        auto_delete=False,
        message_ttl_ms=None,
        expires_ms=None,
        max_length=None,
        max_length_bytes=None,
        overflow="drop-head",
        dead_letter_exchange=None,
        dead_letter_routing_key=None,
        max_priority=None,
        delivery_limit=None,
        single_active_consumer=False,
        history_ms=None,
        queue_type="classic",
        arguments={},
    )


@pytest.mark.parametrize(("keyword", "argument", "value"), SPELLINGS)
def test_a_keyword_and_its_argument_are_the_same_thing(keyword, argument, value):
    by_keyword = queue_options("q", **{keyword: value})
    by_argument = queue_options("q", arguments={argument: value})
    assert by_keyword == by_argument == queue_options("q", **{keyword: value}, arguments={argument: value})
    assert getattr(by_keyword, keyword) == value
    assert by_keyword.arguments == {argument: value}
    assert inequivalence("q", by_keyword, by_argument) is None


@pytest.mark.parametrize(
    ("keyword", "argument", "value", "other"),
    [
        ("message_ttl_ms", "x-message-ttl", 1000, 2000),
        ("max_length", "x-max-length", 1, "1"),
        ("max_length", "x-max-length", 1, True),
        ("overflow", "x-overflow", "reject-publish", "drop-head"),
        ("dead_letter_exchange", "x-dead-letter-exchange", "a", "b"),
        ("single_active_consumer", "x-single-active-consumer", True, False),
    ],
)
def test_two_spellings_that_contradict_each_other_are_refused(keyword, argument, value, other):
    with pytest.raises(InvalidOptionError, match=f"{keyword}=.* and {argument}=.* contradict each other") as caught:
        queue_options("q", **{keyword: value}, arguments={argument: other})
    assert caught.value.option == keyword


def test_a_keyword_at_its_default_leaves_the_argument_alone():
    options = queue_options(
        "q",
        overflow="drop-head",
        single_active_consumer=False,
        max_length=None,
        arguments={"x-overflow": "reject-publish", "x-single-active-consumer": True, "x-max-length": 3},
    )
    assert (options.overflow, options.single_active_consumer, options.max_length) == ("reject-publish", True, 3)


def test_unknown_arguments_are_kept_and_mean_nothing():
    options = queue_options("q", arguments={"x-mine": [1], "other": None})
    assert options.arguments == {"x-mine": [1], "other": None}
    assert options == QueueOptions(arguments=options.arguments)


def test_the_callers_arguments_are_copied():
    arguments = {"x-mine": [1]}
    options = queue_options("q", max_length=1, arguments=arguments)
    arguments["x-mine"].append(2)
    assert options.arguments == {"x-mine": [1], "x-max-length": 1}
    assert "x-max-length" not in arguments


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("message_ttl_ms", -1),
        ("message_ttl_ms", TEN_YEARS_MS + 1),
        ("expires_ms", TEN_YEARS_MS + 1),
        ("expires_ms", 0),
        ("max_length", -1),
        ("max_length_bytes", 1 << 63),
        ("overflow", "drop-tail"),
        ("dead_letter_routing_key", "k" * 256),
        ("max_priority", -1),
        ("max_priority", 256),
        ("delivery_limit", -2),
        ("history_ms", -1),
    ],
)
def test_a_keyword_out_of_range_is_refused(keyword, value):
    with pytest.raises(InvalidOptionError, match=f"{keyword}=.*allowed: ") as caught:
        queue_options("q", **{keyword: value})
    assert caught.value.option == keyword


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("durable", 1),
        ("exclusive", None),
        ("auto_delete", "yes"),
        ("message_ttl_ms", "1000"),
        ("message_ttl_ms", True),
        ("expires_ms", 1.5),
        ("overflow", 1),
        ("dead_letter_exchange", 1),
        ("dead_letter_routing_key", b"k"),
        ("single_active_consumer", 1),
        ("arguments", [("x-max-length", 1)]),
    ],
)
def test_a_keyword_of_the_wrong_type_is_refused(keyword, value):
    with pytest.raises(InvalidTypeError, match=f"{keyword} must be ") as caught:
        queue_options("q", **{keyword: value})
    assert caught.value.option == keyword


def test_other_refusals_of_keywords():
    with pytest.raises(InvalidNameError, match="names no exchange"):
        queue_options("q", dead_letter_exchange="a\n")
    with pytest.raises(InvalidOptionError, match="'colour' is no option of a queue; allowed: message_ttl_ms"):
        queue_options("q", colour="red")
    with pytest.raises(
        InvalidOptionError, match="dead_letter_routing_key='k'; allowed: only with dead_letter_exchange"
    ):
        queue_options("q", dead_letter_routing_key="k")
    with pytest.raises(InvalidTypeError, match=r"arguments\['a'\] must be"):
        queue_options("q", arguments={"a": object()})


def test_a_dead_letter_routing_key_may_be_spelled_otherwise_than_its_exchange():
    options = queue_options("q", dead_letter_routing_key="k", arguments={"x-dead-letter-exchange": "x"})
    assert (options.dead_letter_exchange, options.dead_letter_routing_key) == ("x", "k")


ROW_46 = [
    ({"x-message-ttl": "1000"}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got longstr\""),
    ({"x-message-ttl": True}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got bool\""),
    ({"x-message-ttl": None}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got void\""),
    ({"x-message-ttl": Decimal(1)}, "invalid arg 'x-message-ttl' for {q}: \"expected integer, got decimal\""),
    ({"x-message-ttl": -1}, "invalid arg 'x-message-ttl' for {q}: {value_negative,-1}"),
    ({"x-message-ttl": 1 << 63}, "invalid arg 'x-message-ttl' for {q}: {value_too_big,9223372036854775808}"),
    ({"x-message-ttl": TEN_YEARS_MS + 1}, "invalid arg 'x-message-ttl' for {q}: {value_too_large,315360000001}"),
    ({"x-expires": TEN_YEARS_MS + 1}, "invalid arg 'x-expires' for {q}: {value_too_large,315360000001}"),
    ({"x-expires": 0}, "invalid arg 'x-expires' for {q}: {value_zero,0}"),
    ({"x-expires": -1}, "invalid arg 'x-expires' for {q}: {value_negative,-1}"),
    ({"x-expires": 1.0}, "invalid arg 'x-expires' for {q}: \"expected integer, got double\""),
    ({"x-dead-letter-exchange": 1}, "invalid type 'signedint' for arg 'x-dead-letter-exchange' in {q}"),
    (
        {"x-dead-letter-routing-key": "k"},
        "invalid arg 'x-dead-letter-routing-key' for {q}: routing_key_but_no_dlx_defined",
    ),
    (
        {"x-dead-letter-routing-key": 1},
        "invalid arg 'x-dead-letter-routing-key' for {q}: {unacceptable_type,signedint}",
    ),
    ({"x-max-length": -1}, "invalid arg 'x-max-length' for {q}: {value_negative,-1}"),
    ({"x-max-length-bytes": "1"}, "invalid arg 'x-max-length-bytes' for {q}: \"expected integer, got longstr\""),
    ({"x-max-priority": 256}, "invalid arg 'x-max-priority' for {q}: {max_value_exceeded,256}"),
    ({"x-max-priority": -1}, "invalid arg 'x-max-priority' for {q}: {value_negative,-1}"),
    ({"x-overflow": "drop-tail"}, "invalid arg 'x-overflow' for {q}: invalid_overflow"),
    ({"x-overflow": 1}, "invalid arg 'x-overflow' for {q}: {unacceptable_type,signedint}"),
    ({"x-single-active-consumer": 1}, "invalid arg 'x-single-active-consumer' for {q}: {unacceptable_type,signedint}"),
    ({"x-queue-mode": "eager"}, "invalid arg 'x-queue-mode' for {q}: \"unsupported queue mode 'eager'\""),
    ({"x-queue-mode": 1}, "invalid arg 'x-queue-mode' for {q}: {unacceptable_type,signedint}"),
    ({"x-queue-type": "heap"}, "invalid arg 'x-queue-type' for {q}: \"unsupported queue type 'heap'\""),
    ({"x-queue-type": 1}, "invalid arg 'x-queue-type' for {q}: {unacceptable_type,signedint}"),
    ({"x-queue-version": 3}, "invalid arg 'x-queue-version' for {q}: \"unsupported queue version '3'\""),
    ({"x-queue-version": "2"}, "invalid arg 'x-queue-version' for {q}: \"expected integer, got longstr\""),
    ({"x-queue-version": -1}, "invalid arg 'x-queue-version' for {q}: {value_negative,-1}"),
    ({"x-queue-leader-locator": "any"}, "invalid arg 'x-queue-leader-locator' for {q}: invalid_queue_locator_arg"),
    ({"x-queue-leader-locator": 1}, "invalid arg 'x-queue-leader-locator' for {q}: {unacceptable_type,signedint}"),
    ({"x-history": -1}, "invalid arg 'x-history' for {q}: {value_negative,-1}"),
    ({"x-delivery-limit": 3}, "invalid arg 'x-delivery-limit' for {q} of queue type rabbit_classic_queue"),
    ({"x-max-age": "1D"}, "invalid arg 'x-max-age' for {q} of queue type rabbit_classic_queue"),
    (QUORUM | {"x-max-priority": 5}, "invalid arg 'x-max-priority' for {q} of queue type rabbit_quorum_queue"),
    (QUORUM | {"x-delivery-limit": "3"}, "invalid arg 'x-delivery-limit' for {q}: \"expected integer, got longstr\""),
    (QUORUM | {"x-overflow": "reject-publish-dlx"}, "invalid arg 'x-overflow' with value 'reject-publish-dlx' for {q}"),
]


@pytest.mark.parametrize(("arguments", "text"), ROW_46, ids=lambda value: str(value)[:60])
def test_row_46_bad_arguments_are_refused_in_rabbitmqs_words(arguments, text):
    with pytest.raises(PreconditionFailedError) as caught:
        queue_options("o.q", arguments=arguments)
    assert str(caught.value) == text.replace("{q}", "queue 'o.q' in vhost '/'")
    assert caught.value.reply_code == 406


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ({"durable": False}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_row_46_a_quorum_queue_is_durable_and_for_all(flags, name):
    with pytest.raises(PreconditionFailedError) as caught:
        queue_options("o.q", **flags, arguments=QUORUM)
    assert str(caught.value) == f"invalid property '{name}' for queue 'o.q' in vhost '/'"


def test_row_46_a_keyword_that_a_quorum_queue_cannot_have_is_refused_likewise():
    with pytest.raises(PreconditionFailedError, match="'x-max-priority' for queue 'q' in vhost '/' of queue type"):
        queue_options("q", max_priority=3, arguments=QUORUM)


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        ({"x-max-priority": 0}, "max_priority", 0),
        ({"x-max-priority": 255}, "max_priority", 255),
        ({"x-message-ttl": 0}, "message_ttl_ms", 0),
        ({"x-message-ttl": TEN_YEARS_MS}, "message_ttl_ms", TEN_YEARS_MS),
        ({"x-expires": 1}, "expires_ms", 1),
        ({"x-overflow": "reject-publish-dlx"}, "overflow", "reject-publish-dlx"),
        ({"x-queue-type": "classic"}, "queue_type", "classic"),
        (QUORUM, "queue_type", "quorum"),
        ({"x-queue-mode": "lazy", "x-queue-version": 2}, "queue_type", "classic"),
        ({"x-queue-leader-locator": "balanced", "x-queue-master-locator": "min-masters"}, "queue_type", "classic"),
    ],
)
def test_row_46_good_arguments_are_taken(arguments, field, value):
    assert getattr(queue_options("q", arguments=arguments), field) == value


def test_a_stream_is_refused_with_what_to_take_instead():
    with pytest.raises(PreconditionFailedError, match="streams are not supported, a topic of the log is one"):
        queue_options("q", arguments={"x-queue-type": "stream"})


@pytest.mark.parametrize(
    ("keywords", "arguments", "limit"),
    [
        ({}, {}, None),
        ({"delivery_limit": 3}, {}, 3),
        ({"delivery_limit": 0}, {}, 0),
        ({"delivery_limit": -1}, {}, None),
        ({}, QUORUM, 20),
        ({}, QUORUM | {"x-delivery-limit": 3}, 3),
        ({}, QUORUM | {"x-delivery-limit": 0}, 0),
        ({}, QUORUM | {"x-delivery-limit": -1}, None),
        ({"delivery_limit": 3}, QUORUM, 3),
        ({"delivery_limit": -1}, QUORUM, None),
    ],
)
def test_the_delivery_limit(keywords, arguments, limit):
    assert queue_options("q", **keywords, arguments=arguments).delivery_limit == limit


def test_the_delivery_limit_is_an_argument_of_quorum_queues_alone():
    assert queue_options("q", delivery_limit=3).arguments == {}
    assert queue_options("q", delivery_limit=3, arguments=QUORUM).arguments == QUORUM | {"x-delivery-limit": 3}


def test_of_several_faults_and_differences_rabbitmqs_first_is_told():
    faulty = {"x-overflow": "bad", "x-max-priority": 256, "x-max-length": -1}
    with pytest.raises(PreconditionFailedError, match="'x-max-length'"):
        queue_options("q", arguments=faulty)
    order = {"x-max-length-bytes": 1, "x-max-priority": 1, "x-overflow": "drop-head", "x-single-active-consumer": True}
    for arguments in (order, dict(reversed(order.items()))):
        left = dict(arguments)
        for name in order:
            difference = inequivalence("q", queue_options("q", arguments=left), queue_options("q"))
            assert f"'{name}'" in difference
            del left[name]


WHERE = "queue 'o.d' in vhost '/'"
NONE_BUT = "received none but current is the value"
ROW_43 = [
    (
        {"arguments": {"x-message-ttl": 1000}},
        {"arguments": {"x-message-ttl": 2000}},
        f"inequivalent arg 'x-message-ttl' for {WHERE}: received '2000' but current is '1000'",
    ),
    (
        {"arguments": {"x-message-ttl": 1000}},
        {},
        f"inequivalent arg 'x-message-ttl' for {WHERE}: {NONE_BUT} '1000' of type 'signedint'",
    ),
    (
        {},
        {"arguments": {"x-expires": 1 << 32}},
        f"inequivalent arg 'x-expires' for {WHERE}: received the value '4294967296' of type 'long' but current is none",
    ),
    ({}, {"durable": False}, f"inequivalent arg 'durable' for {WHERE}: received 'false' but current is 'true'"),
    (
        {"auto_delete": True},
        {},
        f"inequivalent arg 'auto_delete' for {WHERE}: received 'false' but current is 'true'",
    ),
    (
        {"arguments": QUORUM},
        {},
        f"inequivalent arg 'x-queue-type' for {WHERE}: received 'classic' but current is 'quorum'",
    ),
    (
        {"arguments": QUORUM},
        {"arguments": {"x-queue-type": "classic"}},
        f"inequivalent arg 'x-queue-type' for {WHERE}: received 'classic' but current is 'quorum'",
    ),
    (
        {"dead_letter_exchange": "a"},
        {"dead_letter_exchange": "b"},
        f"inequivalent arg 'x-dead-letter-exchange' for {WHERE}: received 'b' but current is 'a'",
    ),
    (
        {"single_active_consumer": True},
        {},
        f"inequivalent arg 'x-single-active-consumer' for {WHERE}: {NONE_BUT} 'true' of type 'bool'",
    ),
    (
        {"delivery_limit": 3},
        {},
        f"inequivalent arg 'x-delivery-limit' for {WHERE}: {NONE_BUT} '3' of type 'signedint'",
    ),
    (
        {"durable": False, "arguments": {"x-max-length": 1}},
        {"arguments": {"x-max-length": 2}},
        f"inequivalent arg 'durable' for {WHERE}: received 'true' but current is 'false'",
    ),
]


@pytest.mark.parametrize(("current", "received", "text"), ROW_43)
def test_row_43_another_declaration_is_refused_in_rabbitmqs_words(current, received, text):
    assert inequivalence("o.d", queue_options("o.d", **current), queue_options("o.d", **received)) == text


@pytest.mark.parametrize(
    ("current", "received"),
    [
        ({}, {"arguments": {"x-mine": 1}}),
        ({"arguments": {"x-mine": 1}}, {"arguments": {"x-mine": 2}}),
        ({}, {"arguments": {"x-queue-type": "classic"}}),
        ({"arguments": {"x-queue-type": "classic"}}, {}),
        ({"overflow": "drop-head"}, {}),
        ({"delivery_limit": -1}, {}),
        ({"exclusive": True}, {}),
    ],
)
def test_row_43_what_means_the_same_or_nothing_is_no_difference(current, received):
    assert inequivalence("q", queue_options("q", **current), queue_options("q", **received)) is None


DECLARATIONS = st.fixed_dictionaries(
    {},
    optional={
        "durable": st.booleans(),
        "exclusive": st.booleans(),
        "auto_delete": st.booleans(),
        "message_ttl_ms": st.integers(0, TEN_YEARS_MS),
        "expires_ms": st.integers(1, TEN_YEARS_MS),
        "max_length": st.integers(0, 5),
        "overflow": st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
        "dead_letter_exchange": st.sampled_from(["", "x"]),
        "max_priority": st.integers(0, 255),
        "delivery_limit": st.integers(-1, 3),
        "single_active_consumer": st.booleans(),
        "history_ms": st.integers(0, 5),
        "arguments": st.sampled_from([None, {}, {"x-mine": [Decimal("1.0"), {"a": b""}]}]),
    },
)


@given(DECLARATIONS)
def test_options_come_back_from_the_state_as_they_were(declaration):
    options = queue_options("q", **declaration)
    stored = msgpack.unpackb(msgpack.packb(pack_queue_options(options)))
    assert unpack_queue_options(stored) == options


def test_options_of_a_quorum_queue_come_back_too():
    for arguments in (QUORUM, QUORUM | {"x-delivery-limit": -1}, QUORUM | {"x-delivery-limit": 5}):
        options = queue_options("q", arguments=arguments)
        assert unpack_queue_options(pack_queue_options(options)) == options


def test_plain_options_take_no_room_in_the_state():
    assert pack_queue_options(queue_options("q")) == {}


@given(DECLARATIONS)
def test_declaring_a_queue_once_more_as_it_is_fits(declaration):
    options = queue_options("q", **declaration)
    assert inequivalence("q", options, queue_options("q", **declaration)) is None
