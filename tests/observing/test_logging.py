"""What msglog logs: that the documented events are all there are, each with its fields, and what sets them off."""

import ast
import asyncio
import functools
import itertools
import logging
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from pathlib import Path

import pytest

import msglog
import msglog.aio
from msglog.testing import ManualClock

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/how-to/logging.md"
# Modules that log by a method of another one, and events whose name is a variable.
LOGGERS_OF = {"msglog/broker/vhost/removing.py": "msglog.broker"}
VARIABLE = {"what": {"evicted", "fenced"}, "event": {"checkpoint_failed", "no_draft", "not_marked"}}


def documented():
    found, logger = defaultdict(set), None
    for row in re.findall(r"^\| (`msglog\.\w+` )?\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE):
        logger = row[0].strip("` ") or logger
        found[logger].add(row[1])
    return found


@functools.cache
def trees():
    """Return the parsed modules that log."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in sorted(ROOT.glob("msglog/**/*.py"))}
    return [(path, ast.parse(text)) for path, text in texts.items() if "extra" in text or "logger" in text]


def logger_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "logging.getLogger":
            return ast.literal_eval(node.args[0])
    return None


def events_in(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "event":
                    yield from [value.value] if isinstance(value, ast.Constant) else VARIABLE[ast.unparse(value)]


def test_the_page_lists_all_loggers_and_events():
    found = defaultdict(set)
    for path, tree in trees():
        for event in events_in(tree):
            found[LOGGERS_OF.get(path) or logger_of(tree)].add(event)
    assert found == documented()


LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def test_every_log_call_has_fields():
    calls = [
        (path, node)
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in LEVELS
        and ast.unparse(node.func.value) == "logger"
    ]
    assert len(calls) > 20
    assert [
        f"{path}:{node.lineno}" for path, node in calls if "extra" not in {keyword.arg for keyword in node.keywords}
    ] == []


class Heard(logging.Handler):
    """Keeps the fields of what is logged; formatting them fails where they clash with those of `logging`."""

    def __init__(self):
        super().__init__()
        self.records = []
        self.does = None

    def emit(self, record):
        record.getMessage()
        self.records.append(record)
        if self.does is not None:
            self.does()

    def of(self, event):
        return [record for record in self.records if record.event == event]

    def one(self, event):
        (record,) = self.of(event)
        return record


@pytest.fixture
def heard():
    logger, handler = logging.getLogger("msglog"), Heard()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    known = documented()
    assert [record for record in handler.records if record.event not in known[record.name]] == []


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store(heard, clock):  # noqa: ARG001 hears from the beginning
    with msglog.Store(":memory:", clock=clock) as store:
        store.log.create_topic("orders", partitions=2)
        yield store


def test_opening_and_closing_tell_at_debug(heard, tmp_path):
    msglog.Store(tmp_path / "s").close()
    with msglog.Store(tmp_path / "s") as store, msglog.Store(tmp_path / "s"):
        path = store.path
    assert [(one.event, one.levelname, one.path) for one in heard.records] == [
        ("opened", "DEBUG", path),
        ("closed", "DEBUG", path),
    ] * 2


KILLED = """
import os, sys, msglog
log = msglog.Log(sys.argv[1], sync="none")
log.create_topic("t")
log.append_many("t", [b"x" * 100] * 100)
os._exit(0)
"""


def test_recovery_and_quarantine_are_told(heard, tmp_path):
    path = tmp_path / "s"
    subprocess.run([sys.executable, "-c", KILLED, path], check=True)
    (path / "segments" / "stranger").write_bytes(b"x" * 100)
    with msglog.Store(path) as store:
        report = store.recovery
    recovered, quarantined = heard.one("recovered"), heard.one("quarantined")
    assert (recovered.levelname, recovered.commit) == ("INFO", report.commit)
    assert recovered.replayed_commits == report.replayed_commits > 0
    assert (quarantined.levelname, quarantined.files) == ("WARNING", list(report.quarantined))
    assert heard.of("opened") == []


def test_a_failed_store_is_told(heard, store):
    store.core.engine.stop_writing("a sync failed", OSError("test"))
    assert (heard.one("failed").levelname, heard.one("failed").path) == ("ERROR", ":memory:")


def test_rebalances_and_evictions_are_told(heard, store, clock):
    consumer = store.log.consumer("orders", group="g", max_poll_interval_ms=1000)
    consumer.poll(0)
    clock.advance(ms=2000)
    consumer.close()
    joined, left = heard.of("rebalanced")
    assert (joined.group, joined.generation, joined.members) == ("g", 1, 1)
    assert (left.generation, left.members) == (2, 0)
    evicted = heard.one("evicted")
    assert (evicted.levelname, evicted.group) == ("WARNING", "g")
    assert evicted.member.startswith("consumer-")


def test_fencing_is_told(heard, store, clock):
    first = store.log.consumer("orders", group="g", instance_id="one")
    first.poll(0)
    second = store.log.consumer("orders", group="g", instance_id="one")
    second.poll(0)
    clock.advance(ms=1)
    assert (heard.one("fenced").group, heard.one("fenced").levelname) == ("g", "WARNING")
    first.close()
    second.close()


def test_a_new_holder_of_a_producer_is_told(heard, store):
    store.log.producer("till").close()
    assert heard.of("taken_over") == []
    store.log.producer("till").close()
    assert (heard.one("taken_over").producer, heard.one("taken_over").epoch) == ("till", 1)


def test_expired_locks_are_told(heard, store, clock):
    store.log.append_many("orders", [b"x"] * 3, partition=0)
    with store.log.share_consumer("orders", group="g", lock_ms=1000) as consumer:
        records = consumer.poll(0)
        records[0].ack()
        clock.advance(ms=1500)
    assert (heard.one("lock_expired").records, heard.one("lock_expired").lock_ms) == (2, 1000)


def test_a_callback_that_fails_is_told_with_its_record(heard, store):
    tried = threading.Event()

    def fail(_record):
        tried.set()
        raise ZeroDivisionError

    retry = msglog.Retry(limit=0)
    with store.log.subscribe("orders", group="g", callback=fail, on_error=retry) as subscription:
        store.log.append("orders", b"secret", partition=1)
        tried.wait()
        assert subscription.wait_idle(10)
    given_up = heard.one("given_up")
    assert (given_up.topic, given_up.partition, given_up.offset) == ("orders", 1, 0)
    assert (given_up.group, given_up.attempt, given_up.levelname) == ("g", 1, "ERROR")
    assert given_up.exc_info[0] is ZeroDivisionError


def fail(_delivery):
    raise ZeroDivisionError


def fail_settled(delivery):
    delivery.ack()
    raise ZeroDivisionError


async def fail_in_a_task(_delivery):
    raise ZeroDivisionError


def called_by_threads(broker, callback, on_error):
    with broker.subscribe("q", callback, on_error=on_error) as subscription:
        assert subscription.wait_idle(10)


def called_by_tasks(broker, callback, on_error):
    async def main():
        async with (
            msglog.aio.Broker(broker.store) as tasks,
            tasks.subscribe("q", callback, on_error=on_error) as subscription,
        ):
            assert await subscription.wait_idle(10)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("called", "callback"), [(called_by_threads, fail), (called_by_tasks, fail_in_a_task)], ids=["threads", "tasks"]
)
def test_a_message_that_is_given_up_is_an_error(heard, called, callback):
    with msglog.Broker(":memory:") as broker:
        broker.declare_queue("q")
        broker.send("q", b"secret")
        called(broker, callback, msglog.Retry(limit=1, delay_ms=1))
        failed, given_up = heard.one("attempt_failed"), heard.one("given_up")
        assert (failed.queue, failed.attempt, failed.delay_ms, failed.levelname) == ("q", 1, 1, "WARNING")
        assert (given_up.queue, given_up.attempt, given_up.levelname) == ("q", 2, "ERROR")
        assert given_up.exc_info[0] is ZeroDivisionError


def test_a_callback_that_settles_and_then_raises_gives_nothing_up(heard):
    with msglog.Broker(":memory:") as broker:
        broker.declare_queue("q")
        broker.send("q", b"secret")
        called_by_threads(broker, fail_settled, "reject")
    assert heard.of("given_up") == []
    assert heard.one("attempt_failed").levelname == "WARNING"


def test_processing_that_fails_is_told(heard, store):
    store.broker.declare_queue("q")
    store.broker.send("q", b"secret")
    attempts = itertools.count()

    def fail(_tx, _message):
        next(attempts)
        raise ZeroDivisionError

    with store.broker.consume("q") as consumer:
        store.process(consumer, fail, retry=msglog.Retry(limit=1, delay_ms=0), timeout=0)
    failed, given_up = heard.one("attempt_failed"), heard.one("given_up")
    assert (failed.queue, failed.attempt, failed.delay_ms, failed.levelname) == ("q", 1, 0, "WARNING")
    assert (given_up.queue, given_up.attempt, given_up.dead_letter_topic) == ("q", 2, None)
    assert next(attempts) == 2


def test_dead_letters_are_told_at_debug(heard, store, clock):
    broker = store.broker
    broker.declare_exchange("dead", "fanout")
    broker.declare_queue("q", dead_letter_exchange="dead", message_ttl_ms=10)
    broker.declare_queue("failed")
    broker.bind("failed", "dead")
    broker.send("q", b"secret")
    clock.advance(ms=20)
    letter = heard.one("dead_lettered")
    assert (letter.queue, letter.exchange, letter.reason, letter.levelname) == ("q", "dead", "expired", "DEBUG")


def test_cleaning_is_told_when_it_removed_something(heard, clock):
    with msglog.Log(":memory:", clock=clock, segment_bytes=1024) as log:
        log.create_topic("t", retention_ms=1000)
        log.append_many("t", [b"x" * 100] * 100)
        clock.advance(seconds=600)
        log.append("t", b"x")
        clock.advance(seconds=600)
    cleaned = heard.of("cleaned")[0]
    assert (cleaned.levelname, cleaned.path, cleaned.partitions) == ("INFO", ":memory:", 1)
    assert cleaned.records > 0
    assert cleaned.bytes > 0


def test_no_payload_is_logged(heard, store, clock):
    store.broker.declare_exchange("dead", "fanout")
    store.broker.declare_queue("q", dead_letter_exchange="dead")
    store.broker.send("q", b"secret", headers={"token": "hidden"})
    store.log.append("orders", b"secret", key=b"hidden")

    def fail(_tx, _message):
        raise ZeroDivisionError

    with store.broker.consume("q") as consumer, store.log.consumer("orders", group="g") as reader:
        for source in (consumer, reader):
            store.process(source, fail, retry=msglog.Retry(limit=0), timeout=0)
    clock.advance(ms=1)
    told = [str(vars(record)) + record.getMessage() for record in heard.records]
    assert len(told) > 3
    assert [line for line in told if "secret" in line or "hidden" in line] == []


def test_what_is_told_of_groups_and_dead_letters_is_told_without_locks(heard, store, clock):
    store.broker.declare_exchange("dead", "fanout")
    store.broker.declare_queue("q", dead_letter_exchange="dead")
    store.broker.send("q", b"x")
    heard.does = lambda: (store.log.groups(), store.broker.queues(), store.log.append("orders", b"heard"))
    consumer = store.log.consumer("orders", group="g", max_poll_interval_ms=1000)
    consumer.poll(0)
    store.broker.get("q").reject()
    clock.advance(ms=2000)
    consumer.close()
    heard.does = None
    assert {"evicted", "rebalanced", "dead_lettered"} <= {record.event for record in heard.records}


QUIET = """
import logging, msglog
store = msglog.Store(":memory:")
assert [type(one) for one in logging.getLogger("msglog").handlers] == [logging.NullHandler]
store.core.engine.stop_writing("a sync failed", OSError("test"))
"""


def test_it_is_silent_until_logging_is_configured():
    finished = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", QUIET], capture_output=True, check=True, env={**os.environ}
    )
    assert finished.stderr == finished.stdout == b""


@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_nothing_is_told_of_single_records_and_messages(heard, store, level):
    logging.getLogger("msglog").setLevel(level)
    store.broker.declare_queue("q")
    before = len(heard.records)
    with store.broker.consume("q") as consumer:
        for _ in range(20):
            store.log.append("orders", b"x")
            store.broker.send("q", b"x")
            consumer.get(0).ack()
    assert len(list(store.log.read("orders", 0))) + len(list(store.log.read("orders", 1))) == 20
    assert len(heard.records) == before
