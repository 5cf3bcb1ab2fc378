"""Messages as JSON Lines: an exact round trip of bodies, properties and header tables, and lines that are wrong."""

import io
import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog import DecodeError, InvalidOptionError, InvalidTypeError, PublishRejectedError, QueueNotFoundError
from msglog.broker.rules.field_lines import pack_fields, unpack_fields
from msglog.store import lines
from msglog.testing import ManualClock
from support import tables

GOOD = '{"exchange":"news","routing_key":"a.b","properties":{"delivery_mode":2},"body":"text"}\n'


@pytest.fixture
def broker():
    with msglog.Broker(":memory:", clock=ManualClock()) as broker:
        broker.declare_queue("q")
        broker.declare_queue("copy")
        yield broker


def stored(broker, queue):
    """What waits in a queue, in bytes: metadata and bodies."""
    return [(message._stored.meta, message.body) for message in broker.peek(queue, 1000)]


@given(st.dictionaries(tables.short_texts, tables.values, max_size=5))
def test_field_tables_come_back_in_value_and_type(table):
    text = json.dumps(pack_fields(table), allow_nan=False)
    assert tables.exact(unpack_fields(json.loads(text))) == tables.exact(table)


def test_the_round_trip_is_exact(broker):
    everything = msglog.Properties(
        content_type="text/plain",
        content_encoding="utf-8",
        headers={
            "none": None,
            "yes": True,
            "int": -(1 << 63),
            "large": (1 << 64) - 1,
            "float": 1.0,
            "nan": float("nan"),
            "inf": float("-inf"),
            "decimal": Decimal("1.500"),
            "text": "grüße",
            "bytes": b"text",
            "time": datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=timezone(timedelta(hours=1, microseconds=3))),
            "naive": datetime(2024, 2, 3),  # noqa: DTZ001 AMQP knows both
            "utc": datetime(2024, 2, 3, tzinfo=UTC),
            "list": [1, b"\xff", [None], {"base64": "no bytes"}],
            "table": {"decimal": "1", "table": {}},
        },
        delivery_mode=1,
        priority=9,
        correlation_id="c",
        reply_to="r",
        expiration="60000",
        message_id="m",
        timestamp=1_700_000_000,
        type="t",
        user_id="guest",
        app_id="a",
        cluster_id="l",
    )
    broker.declare_exchange("news", "fanout")
    broker.bind("q", "news")
    broker.publish("news", "some key", b"\xff\x00", properties=everything)
    broker.send("q", "grüße".encode())
    broker.send("q", b"")
    file = io.StringIO()
    assert broker.export_messages("q", file) == 3
    assert broker.import_messages("copy", io.StringIO(file.getvalue())) == 3
    assert stored(broker, "copy") == stored(broker, "q")
    first = broker.peek("copy")[0]
    assert (first.exchange, first.routing_key, first.properties.app_id) == ("news", "some key", "a")


def test_what_a_line_looks_like(broker):
    broker.send("q", b"text", headers={"n": 1, "b": b"x"})
    file = io.StringIO()
    broker.export_messages("q", file)
    assert json.loads(file.getvalue()) == {
        "exchange": "",
        "routing_key": "q",
        "timestamp_ms": broker.peek("q")[0].timestamp_ms,
        "properties": {"delivery_mode": 2, "headers": {"n": 1, "b": {"base64": "eA=="}}},
        "body": "text",
    }


def test_what_is_in_hand_is_left_out_and_nothing_is_taken(broker):
    for body in (b"one", b"two", b"three", b"four"):
        broker.send("q", body)
    held, returned = broker.get("q"), broker.get("q")
    returned.nack()
    file = io.StringIO()
    assert broker.export_messages("q", file) == 3
    assert [json.loads(line)["body"] for line in file.getvalue().splitlines()] == ["two", "three", "four"]
    assert broker.export_messages("q", io.StringIO(), limit=2) == 2
    assert [message.body for message in broker.peek("q")] == [b"two", b"three", b"four"]
    held.nack()


def test_priorities_and_returns_come_in_the_order_of_delivery(broker):
    broker.declare_queue("urgent", max_priority=5)
    broker.declare_queue("quorum", arguments={"x-queue-type": "quorum"})
    for number in range(6):
        broker.send("urgent", b"%d" % number, priority=number % 3)
        broker.send("quorum", b"%d" % number)
    taken = [broker.get("quorum") for _ in range(3)]
    for place in (2, 0, 1):
        taken[place].nack()
    for queue in ("urgent", "quorum"):
        file = io.StringIO()
        broker.export_messages(queue, file)
        bodies = [json.loads(line)["body"].encode() for line in file.getvalue().splitlines()]
        assert bodies == [message.body for message in broker.peek(queue)]
        broker.purge_queue(queue)
        broker.import_messages(queue, io.StringIO(file.getvalue()))
        assert [message.body for message in broker.peek(queue)] == bodies


def test_dead_letters_stay_dead_letters(broker):
    broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="q")
    broker.send("work", b"poison")
    broker.get("work").reject()
    file = io.StringIO()
    broker.export_messages("q", file)
    assert json.loads(file.getvalue())["dead_lettered"] is True
    broker.import_messages("copy", io.StringIO(file.getvalue()))
    assert stored(broker, "copy") == stored(broker, "q")


def test_the_keys_of_bcc_come_along(broker):
    broker.declare_queue("work")
    broker.send("work", b"x", headers={"BCC": ["bcc"], "a": 1})
    file = io.StringIO()
    broker.export_messages("work", file)
    line = json.loads(file.getvalue())
    assert (line["blind_copies"], line["properties"]["headers"]) == (["bcc"], {"a": 1})
    broker.import_messages("copy", io.StringIO(file.getvalue()))
    assert stored(broker, "copy") == stored(broker, "work")


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ('{"body":"secret","blind_copies":"k"}', DecodeError),
        ('{"body":"secret","blind_copies":[7]}', InvalidTypeError),
        ("{", DecodeError),
        ("[]", DecodeError),
        ('{"body":null}', DecodeError),
        ('{"routing_key":"no body"}', DecodeError),
        ('{"body":"secret","propertys":{}}', DecodeError),
        ('{"body":"secret","properties":{"colour":"red"}}', DecodeError),
        ('{"body":"secret","properties":{"priority":"high"}}', InvalidTypeError),
        ('{"body":"secret","properties":{"priority":256}}', InvalidOptionError),
        ('{"body":"secret","properties":{"expiration":"soon"}}', msglog.PreconditionFailedError),
        ('{"body":"secret","properties":{"headers":[]}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":{"decimal":"x"}}}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":{"datetime":["x",null]}}}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":{"datetime":"2024-01-01"}}}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":{"b":1,"c":2}}}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":{"table":7}}}}', DecodeError),
        ('{"body":"secret","properties":{"headers":{"a":18446744073709551616}}}', InvalidOptionError),
        ('{"body":"secret","properties":{"headers":{"a":"\\ud800"}}}', InvalidOptionError),
        ('{"body":"secret","routing_key":7}', DecodeError),
        ('{"body":"secret","routing_key":"' + "k" * 256 + '"}', InvalidOptionError),
        ('{"body":"secret","dead_lettered":1}', DecodeError),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_published(broker, bad, error):
    with pytest.raises(error, match=r"\Aline 3: ") as caught:
        broker.import_messages("q", io.StringIO(GOOD + GOOD + bad + "\n" + GOOD))
    assert (caught.value.line, caught.value.imported) == (3, 0)
    assert "secret" not in str(caught.value)
    assert broker.peek("q") == []


def test_a_full_queue_refuses_the_batch(broker, monkeypatch):
    broker.declare_queue("full", max_length=5, overflow="reject-publish")
    with pytest.raises(PublishRejectedError, match="line 6: ") as caught:
        broker.import_messages("full", io.StringIO(GOOD * 7))
    assert (caught.value.queues, caught.value.imported) == (("full",), 0)
    assert broker.peek("full") == []
    monkeypatch.setattr(lines, "BATCH_LINES", 2)
    with pytest.raises(PublishRejectedError) as caught:
        broker.import_messages("full", io.StringIO(GOOD * 7))
    assert (caught.value.line, caught.value.imported) == (6, 4)
    assert len(broker.peek("full")) == 4


def test_queues_that_are_not_there(broker):
    with pytest.raises(QueueNotFoundError):
        broker.export_messages("missing", io.StringIO())
    with pytest.raises(QueueNotFoundError):
        broker.import_messages("missing", io.StringIO(GOOD))
    with pytest.raises(InvalidOptionError):
        broker.export_messages("q", io.StringIO(), limit=-1)


def test_imported_messages_are_durable(tmp_path):
    (tmp_path / "in.jsonl").write_text(GOOD * 3)
    with msglog.Broker(tmp_path / "s") as broker:
        broker.declare_queue("q")
        assert broker.import_messages("q", tmp_path / "in.jsonl") == 3
    with msglog.Broker(tmp_path / "s", readonly=True) as broker:
        assert broker.export_messages("q", tmp_path / "out.jsonl") == 3
    assert [json.loads(line)["body"] for line in (tmp_path / "out.jsonl").read_text().splitlines()] == ["text"] * 3


@pytest.mark.parametrize(
    "headers",
    [
        "null",
        "{}",
        '{"x-death":5}',
        '{"x-death":[5]}',
        '{"x-death":[{"table":{"queue":5,"reason":"expired","count":1}}]}',
        '{"x-death":[{"table":{"queue":"q","count":1}}]}',
        '{"x-death":[{"table":{"queue":"q","reason":"expired","count":true}}]}',
        '{"x-death":[{"table":{"queue":"q","reason":"expired","count":18446744073709551615}}]}',
    ],
)
def test_deaths_that_no_broker_wrote_are_refused(broker, headers):
    """Dead-lettering goes on with these headers: it must not find out that it cannot."""
    line = f'{{"dead_lettered":true,"properties":{{"headers":{headers}}},"body":"text"}}\n'
    with pytest.raises(DecodeError, match="x-death") as caught:
        broker.import_messages("q", io.StringIO(GOOD + line))
    assert (caught.value.line, caught.value.imported) == (2, 0)
    assert broker.peek("q") == []


def test_what_is_nested_too_deeply_is_an_error_of_its_line(broker):
    line = '{"properties":{"headers":{"a":' + "[" * 900 + "]" * 900 + '}},"body":"text"}\n'
    with pytest.raises(DecodeError) as caught:
        broker.import_messages("q", io.StringIO(GOOD + line))
    assert (caught.value.line, caught.value.imported) == (2, 0)
    assert broker.peek("q") == []
