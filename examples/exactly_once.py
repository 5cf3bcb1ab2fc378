"""A till that is killed again and again, and still books each purchase once.

The worker reads purchases from a topic. For each it appends a booking to the ledger and sends a receipt to a queue;
these and the offset of the purchase are one commit, made by `store.process`. So wherever the process is killed, a
purchase was booked with its receipt, or it is read again by the next worker. No message ids, no search for duplicates.
Every second worker is a program of asyncio: its handler may await, and the promise is the same.

    python examples/exactly_once.py
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from tempfile import TemporaryDirectory
from typing import NamedTuple

from msglog import Record, Store, Transaction, aio

PURCHASES = 400
KILLS = 5
KINDS = ("thread", "task")


class Results(NamedTuple):
    """What the store holds in the end: how often each purchase is there."""

    bookings: Counter[str]
    receipts: Counter[str]
    total_cents: int
    kills: int


def main(purchases: int = PURCHASES, kills: int = KILLS, seed: int = 1) -> Results:
    """Sell, let workers book until everything is booked, killing the first ones, and return what came of it."""
    chance = random.Random(seed)
    with TemporaryDirectory() as directory:
        with Store(directory) as store:
            store.log.create_topic("purchases", partitions=2)
            store.log.create_topic("ledger")
            store.broker.declare_queue("receipts")
            store.log.append_many(
                "purchases",
                [b"%d" % cents for cents in prices(purchases)],
                keys=[b"purchase-%d" % number for number in range(purchases)],
            )
        done = 0
        while run_worker(directory, KINDS[done % 2], kill_after=chance.uniform(0, 0.05) if done < kills else None):
            done += 1
        with Store(directory) as store:
            ledger = list(store.log.read("ledger"))
            bookings = Counter((record.key or b"").decode() for record in ledger)
            receipts = Counter(message.body.decode() for message in store.broker.peek("receipts", limit=10**6))
            return Results(bookings, receipts, sum(int(record.value or b"") for record in ledger), done)


def prices(purchases: int) -> list[int]:
    return [100 + 7 * number for number in range(purchases)]


def run_worker(directory: str, kind: str, kill_after: float | None) -> bool:
    """Run a worker in a process of its own; return whether it was killed."""
    command = [sys.executable, __file__, directory, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:  # noqa: S603 itself
        assert worker.stdout is not None
        worker.stdout.readline()  # it begins to book
        if kill_after is not None:
            time.sleep(kill_after)
            worker.kill()
    if kill_after is None and worker.returncode:
        raise RuntimeError(f"the worker failed with {worker.returncode}")
    return kill_after is not None


def work(directory: str) -> None:
    """Be the worker: book what is not booked yet."""
    with Store(directory) as store, store.log.consumer("purchases", group="till") as consumer:
        print("booking", flush=True)
        store.process(consumer, book, timeout=0)


def book(tx: Transaction, purchase: Record) -> None:
    """Book one purchase. What is done through `tx` happens once, however often this is called."""
    tx.append("ledger", purchase.value, key=purchase.key)
    tx.send("receipts", purchase.key or b"")


async def work_as_task(directory: str) -> None:
    """The same for asyncio."""
    async with aio.Store(directory) as store, store.log.consumer("purchases", group="till") as consumer:
        print("booking", flush=True)
        await store.process(consumer, book_as_task, timeout=0)


async def book_as_task(tx: Transaction, purchase: Record) -> None:
    """Book one purchase, perhaps after having asked somebody about it."""
    await asyncio.sleep(0)
    book(tx, purchase)


if __name__ == "__main__":
    if sys.argv[2:] == ["task"]:
        asyncio.run(work_as_task(sys.argv[1]))
    elif len(sys.argv) > 1:
        work(sys.argv[1])
    else:
        found = main()
        print(f"{len(found.bookings)} purchases booked, {found.total_cents / 100:.2f} in all, {found.kills} kills")
        print(f"booked twice: {sum(times > 1 for times in found.bookings.values())}")
        print(f"without a receipt, or with two: {sum(found.receipts[one] != 1 for one in found.bookings)}")
