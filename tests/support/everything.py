"""A store that holds something of everything, as an image of its files, and what can be read of such an image."""

from pathlib import Path
from typing import Any

import msglog
from msglog.clock import SystemClock
from msglog.storage import Engine, Options
from msglog.store.registration import model_factories
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem

DIRECTORY = "/store"


def define(store: msglog.Store) -> None:
    """Make topics, exchanges and queues of all kinds."""
    log, broker = store.log, store.broker
    log.create_topic("plain", partitions=2)
    log.create_topic("small", segment_bytes=1024)
    log.create_topic("latest", cleanup_policy="compact", segment_bytes=1024, min_cleanable_dirty_ratio=0)
    log.create_topic("packed", compression="zlib")
    broker.declare_exchange("news", "topic")
    broker.declare_queue("work")
    broker.declare_queue("urgent", max_priority=3)
    broker.declare_queue("counted", arguments={"x-queue-type": "quorum", "x-delivery-limit": 3})
    broker.bind("work", "news", "a.#")


def fill(store: msglog.Store, number: int = 0) -> None:
    """Append, publish, settle, clean and trim a bit of everything."""
    log, broker = store.log, store.broker
    keys = [b"%d" % place for place in range(20)]
    log.append_many("plain", [b"value-%d-%d" % (number, place) for place in range(20)], keys=keys)
    log.append("plain", b"one", key=b"k", headers=[("h", b"1"), ("h", None)])
    log.append_many("packed", [b"text " * 20, None, b""], timestamps_ms=[5, 3, 4])
    for place in range(12):
        log.append("small", b"small-%d" % place + b"." * 100)
        log.append("latest", b"latest-%d" % place + b"." * 200, key=b"%d" % (place % 3))
        broker.publish("news", "a.b", b"news-%d" % place)
        broker.send("urgent", b"urgent-%d" % place, priority=place % 4)
    broker.send("counted", b"counted")
    broker.send("work", b"later", delay_ms=3_600_000)
    for place in range(6):
        delivery = broker.get("work")
        if delivery is not None and place % 2:
            delivery.ack()
    log.clean("latest")


def consume(store: msglog.Store) -> None:
    """Leave traces of all kinds of readers and of a named producer."""
    log = store.log
    with log.producer("writer") as producer:
        producer.append("plain", b"sequenced")
    with log.consumer("plain", group="readers") as consumer:
        consumer.poll(timeout=0, max_records=5)
        consumer.commit()
    with log.share_consumer("plain", group="sharers") as sharer:
        for record in sharer.poll(timeout=0, max_records=3):
            record.ack()


def make(path: Path, **options: Any) -> None:
    """Make a store that was opened twice and closed."""
    with msglog.Store(path, **options) as store:
        define(store)
        fill(store)
    with msglog.Store(path, **options) as store:
        store.log.delete_records("small", 0, 9)
        consume(store)
        fill(store, 1)


def image_of(path: Path) -> Image:
    """Return the files of a store on disk."""
    files = {
        f"{DIRECTORY}/{file.relative_to(path)}": file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()
    }
    return Image(frozenset({"/", DIRECTORY, f"{DIRECTORY}/segments"}), files)


def damaged(image: Image, path: str, contents: bytes | None) -> Image:
    """Return the image with one file changed, or without it."""
    files = dict(image.files)
    del files[path]
    if contents is not None:
        files[path] = contents
    return Image(image.directories, files)


def disk(image: Image) -> FaultyFileSystem:
    """Return a machine with these files."""
    return FaultyFileSystem(Disk(image, recording=False))


def read_all(image: Image) -> tuple[dict[str, Any], dict[int, list[Any]]]:
    """Open a store and read all of it; raises what opening or reading raises."""
    engine = Engine.open(disk(image), DIRECTORY, Options(), model_factories(), SystemClock(), background=False)
    state = {section: model.snapshot() for section, model in engine.models.items()}
    streams: dict[int, list[Any]] = {}
    for stream in engine.streams.values():
        if not stream.id:
            continue
        found = streams[stream.id] = [stream.slug, stream.start, stream.end]
        reader = stream.reader(stream.start)
        while (frame := reader.read()) is not None:
            stamps = frame.timestamps if isinstance(frame.timestamps, list) else [frame.timestamps] * frame.count
            found += zip(frame.offsets, stamps, frame.values, frame.keys or (), frame.headers or (), strict=False)
    return state, streams
