"""Thumbnails of uploads, made by tasks of one event loop.

Visitors upload photos, each from a task of its own; uploads that arrive together share syncs. Four workers make the
thumbnails. A worker settles its message and appends the result to the topic `thumbnails` in one transaction: a photo
that is acknowledged has its thumbnails in the topic, exactly once, whenever the process ends. One worker is cancelled
in the middle of a photo; another one gets it. A task follows the topic for the album, and a subscription answers
whoever asks how many photos that has.

    python examples/thumbnails.py
"""

import asyncio
import json
from dataclasses import dataclass, field

from msglog import aio

PHOTOS = 60
WORKERS = 4
SIZES = (64, 256)


@dataclass
class Results:
    """What came of it."""

    album: dict[str, list[int]] = field(default_factory=dict)  # sizes of the thumbnails by photo
    made: dict[int, int] = field(default_factory=dict)  # photos by worker
    redelivered: list[str] = field(default_factory=list)  # photos a cancelled worker had in hand
    answer: int = 0


async def main() -> Results:
    """Let visitors upload, workers work and the album fill; return what it holds."""
    results = Results()
    async with aio.Store(":memory:") as store:
        await store.broker.declare_queue("photos")
        await store.broker.declare_queue("questions")
        await store.log.create_topic("thumbnails")
        full = asyncio.Event()
        async with asyncio.TaskGroup() as tasks, answering(store, results):
            album = tasks.create_task(fill_album(store, results, full))
            clumsy = tasks.create_task(drop_a_photo(store))
            await upload_all(store)
            await clumsy
            workers = [tasks.create_task(work(store, number, results)) for number in range(WORKERS)]
            await full.wait()
            answer = await store.broker.request("", "questions", b"how many?", timeout=10)
            results.answer = json.loads(answer.body)
            for task in (album, *workers):
                task.cancel()
    return results


async def upload_all(store: aio.Store) -> None:
    """Upload photos at the same time: each is on the disk when its `send` returns."""
    await asyncio.gather(*(store.broker.send("photos", b"photo-%02d" % number) for number in range(PHOTOS)))


async def drop_a_photo(store: aio.Store) -> None:
    """Take a photo, and be cancelled before it is done with: the photo goes back to its place in the queue."""

    async def start() -> None:
        async with store.broker.consume("photos") as consumer:
            async for delivery in consumer:
                async with delivery:
                    taken.set()
                    await asyncio.sleep(3600)

    taken = asyncio.Event()
    task = asyncio.create_task(start())
    await taken.wait()
    task.cancel()
    await asyncio.wait([task])


async def work(store: aio.Store, number: int, results: Results) -> None:
    """Make thumbnails of one photo after the other."""
    async with store.broker.consume("photos", prefetch_count=1) as consumer:
        async for delivery in consumer:
            name = delivery.body.decode()
            if delivery.redelivered:
                results.redelivered.append(name)
            await asyncio.sleep(0)  # here a real worker would wait for a thread or a process that scales the photo
            async with store.transaction() as tx:
                for size in SIZES:
                    tx.append("thumbnails", json.dumps({"photo": name, "size": size}).encode(), key=delivery.body)
                tx.ack(delivery)
            results.made[number] = results.made.get(number, 0) + 1


async def fill_album(store: aio.Store, results: Results, full: asyncio.Event) -> None:
    """Follow the topic."""
    async with store.log.consumer("thumbnails", group="album", auto_commit=True) as consumer:
        async for record in consumer:
            thumbnail = json.loads(record.value or b"{}")
            results.album.setdefault(thumbnail["photo"], []).append(thumbnail["size"])
            if sum(map(len, results.album.values())) == PHOTOS * len(SIZES):
                full.set()


def answering(store: aio.Store, results: Results) -> aio.QueueSubscription:
    """Answer questions with the number of photos in the album."""

    async def answer(question: aio.Delivery) -> None:
        await question.reply(json.dumps(len(results.album)).encode())

    return store.broker.subscribe("questions", answer, concurrency=2)


if __name__ == "__main__":
    done = asyncio.run(main())
    print(f"{done.answer} photos in the album, {sum(map(len, done.album.values()))} thumbnails")
    print(f"made by {len(done.made)} workers: {sum(done.made.values())} photos")
    print("begun twice:", ", ".join(done.redelivered))
