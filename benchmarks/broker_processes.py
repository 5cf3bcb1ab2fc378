"""What of the broker has to be measured in a process of its own; started by `benchmarks.broker`.

    python -m benchmarks.broker_processes fill DIRECTORY MESSAGES ROUNDS    let messages wait, then die of SIGKILL
    python -m benchmarks.broker_processes open DIRECTORY                    open what such a process has left
    python -m benchmarks.broker_processes pin DIRECTORY MESSAGES            hold one message while others pass
    python -m benchmarks.broker_processes crowd DIRECTORY QUEUES            many queues, few file descriptors

Each prints what it found as JSON.
"""

import json
import os
import resource
import sys
from pathlib import Path
from signal import SIGKILL
from time import perf_counter
from typing import Any

from benchmarks.harness import RECORD_BYTES, Stopwatch
from benchmarks.processes import rss_anon_kib
from msglog import Broker

BATCH = 1000
DESCRIPTORS = 1024


def main() -> None:
    command, directory, *numbers = sys.argv[1:]
    commands = {"fill": fill, "open": measure_open, "pin": pin, "crowd": crowd}
    found = commands[command](directory, *map(int, numbers))
    print(json.dumps(found), flush=True)
    if command == "fill":
        os.kill(os.getpid(), SIGKILL)


def fill(directory: str, messages: int, rounds: int) -> dict[str, Any]:
    """Let messages wait in a queue; return the memory that takes, and how many `get` calls there are in a second."""
    broker = Broker(directory, sync="none")
    broker.declare_queue("bench")
    with Stopwatch() as watch:
        publish(broker, messages)
    return {
        "publishes": messages / watch.seconds,
        "rss_anon_kib": rss_anon_kib(),
        "gets": max(gets_per_second(broker) for _ in range(rounds)),
    }


def publish(broker: Broker, messages: int) -> None:
    """Publish random bytes, at most a thousand messages in a commit."""
    batch = [("bench", os.urandom(RECORD_BYTES)) for _ in range(min(messages, BATCH))]
    for _ in range(messages // len(batch)):
        broker.publish_many("", batch)


def gets_per_second(broker: Broker) -> float:
    """Get and acknowledge what was there before, ten messages a turn, and replace them; only `get` is timed."""
    turns, seconds = 200, 0.0
    for _ in range(turns):
        started = perf_counter()
        deliveries = [broker.get("bench") for _ in range(10)]
        seconds += perf_counter() - started
        for delivery in deliveries:
            assert delivery is not None
            delivery.ack()
        publish(broker, 10)
    return turns * 10 / seconds


def measure_open(directory: str) -> dict[str, Any]:
    """Return the milliseconds until the first message is there again, imports left out."""
    started = perf_counter()
    broker = Broker(directory, sync="none")
    delivery = broker.get("bench")
    milliseconds = (perf_counter() - started) * 1000
    assert delivery is not None
    broker.close()
    return {"milliseconds": milliseconds}


def pin(directory: str, messages: int) -> dict[str, Any]:
    """Leave the oldest message unacknowledged while others are published and acknowledged; return what is on disk."""
    with Broker(directory, sync="none", segment_bytes=8 << 20) as broker:
        broker.declare_queue("bench")
        broker.send("bench", b"held")
        held = broker.get("bench")
        with broker.consume("bench") as consumer:
            for _ in range(messages // BATCH):
                publish(broker, BATCH)
                for delivery in consumer.iter(timeout=0):
                    delivery.ack()
        broker.store.flush()
        disk_bytes = sum(path.stat().st_blocks * 512 for path in Path(directory).rglob("*"))
        assert held is not None
        held.ack()
    return {"disk_bytes": disk_bytes, "passed_bytes": messages * RECORD_BYTES}


def crowd(directory: str, queues: int) -> dict[str, Any]:
    """Send one message through each of many queues to a consumer of its own; return how many arrived."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    names = [f"bench {number}" for number in range(queues)]
    with Broker(directory, sync="none") as broker, Stopwatch() as watch:
        for name in names:
            broker.declare_queue(name)
        consumers = [broker.consume(name) for name in names]
        broker.publish_many("", [(name, name.encode()) for name in names])
        delivered = 0
        for name, consumer in zip(names, consumers, strict=True):
            with consumer:
                delivery = consumer.get(timeout=0)
                if delivery is not None and delivery.body == name.encode():
                    delivery.ack()
                    delivered += 1
    return {"delivered": delivered, "seconds": watch.seconds}


if __name__ == "__main__":
    main()
