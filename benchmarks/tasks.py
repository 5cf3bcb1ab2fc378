"""Asyncio: appends that are awaited together, how long a message takes to a task, and how long the loop stands still.

See `README.md`. The candidates take turns; the best of several rounds counts, of the stalls the median of all rounds.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.harness import RECORD_BYTES, Row, Stopwatch, Sync, best_rates, ratio_row
from msglog import aio

TOGETHER = 1000
IN_TURN = 300
TOGETHER_GOAL = 20.0
PINGS = 300
TRIES = 4
APPENDS_UNDER_WATCH = 20_000
PING = b"x" * RECORD_BYTES

Receive = Callable[[], Awaitable[object]]
Send = Callable[[], Awaitable[object]]
Line = Callable[["aio.Store"], Awaitable[tuple[Send, Receive]]]


# Appends


def together(path: Path) -> float:
    """Append from a thousand tasks at a time."""

    async def work() -> float:
        async with aio.Log(path / "store") as log:
            await log.create_topic("t")
            with Stopwatch() as watch:
                await asyncio.gather(*(log.append("t", PING) for _ in range(TOGETHER)))
        return TOGETHER / watch.seconds

    return asyncio.run(work())


def in_turn(path: Path) -> float:
    """Append when the last append is durable."""

    async def work() -> float:
        async with aio.Log(path / "store") as log:
            await log.create_topic("t")
            with Stopwatch() as watch:
                for _ in range(IN_TURN):
                    await log.append("t", PING)
        return IN_TURN / watch.seconds

    return asyncio.run(work())


def append_rows(folder: Path, rounds: int) -> list[Row]:
    """Compare a thousand appends that are awaited together with appends one after the other."""
    rates = best_rates({"1,000 appends together": together, "append, awaited": in_turn}, folder, rounds * TRIES)
    return [ratio_row(rates, "1,000 appends together", "append, awaited", TOGETHER_GOAL)]


# Latency


async def over_a_queue(_store: aio.Store) -> tuple[Send, Receive]:
    """The baseline."""
    pings: asyncio.Queue[bytes] = asyncio.Queue()
    return lambda: pings.put(PING), pings.get


async def to_poll(store: aio.Store) -> tuple[Send, Receive]:
    """A member of a group."""
    await store.log.create_topic("t")
    consumer = store.log.consumer("t", group="g")
    await consumer.poll(0)
    return lambda: store.log.append("t", PING), consumer.poll


async def to_get(store: aio.Store) -> tuple[Send, Receive]:
    """A consumer of a queue."""
    await store.broker.declare_queue("q")
    consumer = store.broker.consume("q")

    return lambda: store.broker.send("q", PING), consumer.get


async def median_seconds(store: aio.Store, line: Line) -> float:
    """Send pings one by one to a task that waits; return the median of the times to its first statement."""
    send, receive = await line(store)
    times: list[float] = []
    sent = 0.0

    async def answer() -> None:
        while True:
            received = await receive()
            times.append(perf_counter() - sent)
            if isinstance(received, aio.Delivery):
                received.ack()

    receiver = asyncio.create_task(answer())
    for number in range(PINGS):
        await asyncio.sleep(0.0005)
        sent = perf_counter()
        await send()
        while len(times) <= number:  # noqa: ASYNC110 an event would be one more wake to time
            await asyncio.sleep(0)
    receiver.cancel()
    with suppress(asyncio.CancelledError):
        await receiver
    return median(times)


def latency_rows(folder: Path, rounds: int) -> list[Row]:
    """Time from the call that sends to the first statement of the task that receives."""
    lines: dict[str, tuple[Line, str, Sync]] = {"asyncio.Queue": (over_a_queue, "memory", "none")}
    for place, sync in _PLACES:
        lines[f"append to poll, task, {place}"] = (to_poll, place, sync)
        lines[f"publish to get, task, {place}"] = (to_get, place, sync)
    best = dict.fromkeys(lines, float("inf"))
    for _ in range(rounds * TRIES):
        for name, (line, place, sync) in lines.items():
            with TemporaryDirectory(dir=folder) as directory:
                best[name] = min(best[name], asyncio.run(_try(line, Path(directory), place, sync)))
    plain = best.pop("asyncio.Queue")
    against = f"asyncio.Queue {plain * 1e6:.1f} us"
    return [Row(name, f"{one * 1e6:.1f} us", against, f"{one / plain:.2f}x") for name, one in best.items()]


async def _try(line: Line, directory: Path, place: str, sync: Sync) -> float:
    async with aio.Store(":memory:" if place == "memory" else directory / "store", sync=sync) as store:
        return await median_seconds(store, line)


_PLACES: tuple[tuple[str, Sync], ...] = (("memory", "none"), ("none", "none"), ("commit", "commit"))


# Stalls


async def longest_stall(path: Path, sync: Sync) -> tuple[float, float]:
    """Append from ten tasks; return the longest and the median time the loop was not free, in seconds."""
    gaps: list[float] = []

    async def watch() -> None:
        while True:
            began = perf_counter()
            await asyncio.sleep(0)
            gaps.append(perf_counter() - began)

    async with aio.Log(path / "store", sync=sync, segment_bytes=1 << 20) as log:
        await log.create_topic("t")
        watcher = asyncio.create_task(watch())

        async def append() -> None:
            for _ in range(APPENDS_UNDER_WATCH // 10):
                await log.append("t", PING)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(10):
                tasks.create_task(append())
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher
    return max(gaps), median(gaps)


def stall_rows(folder: Path, rounds: int) -> list[Row]:
    """Show how long ten tasks that append keep the loop from others."""
    rows: list[Row] = []
    for sync in _SYNCS:
        found: list[tuple[float, float]] = []
        for _ in range(rounds):
            with TemporaryDirectory(dir=folder) as directory:
                found.append(asyncio.run(longest_stall(Path(directory), sync)))
        longest, usual = (median(column) for column in zip(*found, strict=True))
        rows.append(Row(f"longest stall, {sync}", f"{longest * 1e3:.1f} ms", f"median {usual * 1e6:.0f} us"))
    return rows


_SYNCS: tuple[Sync, ...] = ("none", "interval", "commit")

MEASURES = {"tasks": append_rows, "task_latency": latency_rows, "stalls": stall_rows}
