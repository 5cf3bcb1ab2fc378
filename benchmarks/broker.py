"""The broker against a queue in SQLite, as ratios, and what must not grow with the backlog; see `README.md`."""

import json
import random
import sys
import tempfile
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

from benchmarks import processes, sqlite_queue
from benchmarks.harness import RECORD_BYTES, Row, Stopwatch, Sync, best_rates, ratio_row, synced_copy
from msglog import Broker

VALUES = [random.Random(seed).randbytes(RECORD_BYTES) for seed in range(1000)]
BACKLOG = 5_000_000
PASSING = 1_000_000
MEMORY_GOAL_KIB = 50 * 1024
REOPEN_GOAL_MS = 100
PINNED_GOAL_MB = 32
MATCH_GOAL_US = 50
BINDINGS = 10_000
CROWD = 1000

run_process = partial(processes.run, module="benchmarks.broker_processes")


def cycle_rows(folder: Path, rounds: int) -> list[Row]:
    """Publish, get and acknowledge, message after message."""
    rates = best_rates(
        {
            "SQLite queue, OFF": lambda path: sqlite_queue.cycles(path / "db", VALUES * 10, "OFF"),
            "SQLite queue, FULL": lambda path: sqlite_queue.cycles(path / "db", VALUES, "FULL"),
            "publish, get, ack, none": lambda path: cycles(path, VALUES * 20, "none"),
            "publish, get, ack, commit": lambda path: cycles(path, VALUES, "commit"),
            "publish_many, consume, ack": partial(bulk, batches=100),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "publish, get, ack, none", "SQLite queue, OFF", goal=10.0),
        ratio_row(rates, "publish, get, ack, commit", "SQLite queue, FULL", goal=1.0),
        ratio_row(rates, "publish_many, consume, ack", "SQLite queue, OFF"),
    ]


def fanout_rows(folder: Path, rounds: int) -> list[Row]:
    """Publishing to ten queues instead of one."""
    rates = best_rates(
        {
            "publish to 1 queue": partial(fan_out, queues=1),
            "publish to 10 queues": partial(fan_out, queues=10),
            "publish_many to 1 queue": partial(fan_out_many, queues=1),
            "publish_many to 10 queues": partial(fan_out_many, queues=10),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "publish to 10 queues", "publish to 1 queue", goal=0.2),
        ratio_row(rates, "publish_many to 10 queues", "publish_many to 1 queue", goal=0.2),
    ]


def topic_rows(folder: Path, rounds: int) -> list[Row]:
    """What finding the queue among many patterns adds to a publish."""
    rates = best_rates(
        {"1 binding": partial(match, bindings=0), "many bindings": partial(match, bindings=BINDINGS)}, folder, rounds
    )
    microseconds = 1e6 / rates["many bindings"] - 1e6 / rates["1 binding"]
    what = f"match a key, {BINDINGS:,} topic bindings"
    goal = f"< {MATCH_GOAL_US} us"
    return [Row(what, f"{microseconds:.1f} us", goal=goal, met=microseconds < MATCH_GOAL_US)]


def backlog_rows(folder: Path, rounds: int, messages: int = BACKLOG) -> list[Row]:
    """Memory, speed and reopening with very many messages waiting, beside the same with ten."""
    with tempfile.TemporaryDirectory(dir=folder) as few:
        ten = run_json("fill", few, 10, rounds, status=-SIGKILL)
    with tempfile.TemporaryDirectory(dir=folder) as killed:
        backlog = run_json("fill", killed, messages, rounds, status=-SIGKILL)
        milliseconds = min(reopen(killed) for _ in range(rounds))
    waiting = f"{messages:,} waiting"
    rates = {f"get, {waiting}": backlog["gets"], "get, 10 waiting": ten["gets"]}
    rows = [
        Row(f"publish_many, {waiting}", f"{backlog['publishes']:,.0f}/s"),
        ratio_row(rates, f"get, {waiting}", "get, 10 waiting", goal=0.8),
        Row(
            f"reopen and get, {waiting}",
            f"{milliseconds:.1f} ms",
            goal=f"< {REOPEN_GOAL_MS} ms",
            met=milliseconds < REOPEN_GOAL_MS,
        ),
    ]
    if sys.platform == "linux":
        more_kib = backlog["rss_anon_kib"] - ten["rss_anon_kib"]
        goal = f"< {MEMORY_GOAL_KIB:,} KiB"
        rows.append(Row(f"more memory, {waiting}", f"{more_kib:,} KiB", goal=goal, met=more_kib < MEMORY_GOAL_KIB))
    return rows


def pinned_rows(folder: Path, _rounds: int) -> list[Row]:
    """The store's size while the oldest message stays unacknowledged and others pass."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        found = run_json("pin", store, PASSING)
    megabytes = found["disk_bytes"] / 1e6
    return [
        Row(
            f"on disk, 1 held while {PASSING:,} pass",
            f"{megabytes:.1f} MB",
            f"{found['passed_bytes'] / 1e6:.0f} MB passed",
            goal=f"< {PINNED_GOAL_MB} MB",
            met=megabytes < PINNED_GOAL_MB,
        )
    ]


def crowd_rows(folder: Path, _rounds: int) -> list[Row]:
    """Many queues and consumers with few file descriptors."""
    with tempfile.TemporaryDirectory(dir=folder) as store:
        found = run_json("crowd", store, CROWD)
    return [
        Row(
            f"{CROWD:,} queues and consumers, ulimit -n 1024",
            f"{found['delivered']:,} delivered",
            f"{found['seconds']:.1f} s",
            goal=f"{CROWD:,}",
            met=found["delivered"] == CROWD,
        )
    ]


def cycles(path: Path, values: list[bytes], sync: Sync) -> float:
    """Publish, get and acknowledge each message before the next; return messages per second."""
    with Broker(path, sync=sync) as broker:
        broker.declare_queue("bench")
        with Stopwatch() as watch:
            for value in values:
                broker.publish("", "bench", value)
                delivery = broker.get("bench")
                assert delivery is not None
                delivery.ack()
    return len(values) / watch.seconds


def bulk(path: Path, batches: int) -> float:
    """Publish a thousand messages a call, then consume and acknowledge them one by one; return messages per second."""
    messages = [("bench", value) for value in VALUES]
    with Broker(path, sync="none") as broker:
        broker.declare_queue("bench")
        with broker.consume("bench") as consumer, Stopwatch() as watch:
            for _ in range(batches):
                broker.publish_many("", messages)
                for delivery in consumer.iter(timeout=0):
                    delivery.ack()
    return batches * len(messages) / watch.seconds


def fan_out(path: Path, queues: int) -> float:
    """Publish one by one to an exchange with so many queues; return messages per second."""
    with Broker(path, sync="none") as broker:
        declare_fanout(broker, queues)
        with Stopwatch() as watch:
            for _ in range(10):
                for value in VALUES:
                    broker.publish("bench", "", value)
    return 10 * len(VALUES) / watch.seconds


def fan_out_many(path: Path, queues: int) -> float:
    """Publish a thousand messages a call to an exchange with so many queues; return messages per second."""
    messages = [("", value) for value in VALUES]
    with Broker(path, sync="none") as broker:
        declare_fanout(broker, queues)
        with Stopwatch() as watch:
            for _ in range(50):
                broker.publish_many("bench", messages)
    return 50 * len(messages) / watch.seconds


def declare_fanout(broker: Broker, queues: int) -> None:
    broker.declare_exchange("bench", "fanout")
    for number in range(queues):
        broker.declare_queue(f"bench {number}")
        broker.bind(f"bench {number}", "bench")


def match(path: Path, bindings: int) -> float:
    """Publish keys never seen before to one queue, bound by `#` and by other patterns; return keys per second."""
    dice = random.Random(11)
    words = [f"word{number}" for number in range(30)]
    keys = {".".join(dice.choices(words, k=4)) for _ in range(10_000)}
    patterns = {"#"}
    while len(patterns) < bindings:
        patterns.add(".".join(dice.choices([*words, "*", "#"], k=4)))
    with Broker(path, sync="none") as broker:
        broker.declare_exchange("bench", "topic")
        broker.declare_queue("bench")
        for pattern in patterns:
            broker.bind("bench", "bench", pattern)
        with Stopwatch() as watch:
            for key in keys:
                broker.publish("bench", key, b"")
    return len(keys) / watch.seconds


def reopen(killed: str) -> float:
    """Return the milliseconds to open a copy and get a message: opening repairs, so each copy can be opened once."""
    with tempfile.TemporaryDirectory(dir=Path(killed).parent) as parent:
        copy = synced_copy(killed, parent)
        return float(run_json("open", copy)["milliseconds"])


def run_json(command: str, *arguments: object, status: int = 0) -> dict[str, Any]:
    """Run a command of `broker_processes` and return what it found."""
    found: dict[str, Any] = json.loads(run_process(command, *arguments, status=status))
    return found


MEASURES = {
    "cycle": cycle_rows,
    "fanout": fanout_rows,
    "topic": topic_rows,
    "pinned": pinned_rows,
    "crowd": crowd_rows,
    "backlog": backlog_rows,
}
