"""Makes the seeds of the corpus from real stores: `python -m support.fuzzing.seeds`. What was found stays."""

import io
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msglog
from msglog.broker.properties import Properties
from msglog.broker.rules.field_table import pack_table
from msglog.broker.rules.message_codec import pack_meta
from msglog.log.keys.run import Anchor, write_run
from msglog.log.rules.key_rows import RunSpan, digest_of, rows_of
from msglog.storage.checkpoint import pack_file
from msglog.storage.draft import MAGIC as DRAFT_MAGIC
from msglog.storage.frame import encode_body, header_of
from msglog.storage.index import SparseIndex
from msglog.storage.layout import parse_segment_name
from support.fuzzing import corpus, stores
from support.fuzzing.targets import TARGETS
from support.session import small_limits

_HEADERS = {"text": "ä", "at": datetime(2024, 5, 6, 7, 8, 9, 10, UTC), "sum": Decimal("1.50"), "in": [1, {"b": b"x"}]}


def _defined(store: msglog.Store) -> None:
    """A topic with an index by key, queues, a group, a named producer, a delayed message: one of each."""
    log, broker = store.log, store.broker
    log.create_topic("t", partitions=2)
    log.create_topic("keyed", cleanup_policy="compact", compression="zlib", segment_bytes=1024)
    broker.declare_exchange("e", "topic")
    broker.declare_queue("q", arguments={"x-max-length": 9, "x-dead-letter-exchange": ""})
    broker.declare_queue("p", max_priority=2)
    broker.bind("q", "e", "a.#")
    broker.set_policy("limits", "p", {"message-ttl": 60_000_000})
    log.append_many("t", [b"one", b"", None], keys=[b"k", None, b"k"], headers=[[("h", b"1")], [], []])
    for number in range(4):
        log.append("t", b"value-%d" % number, key=b"k")
        log.append("keyed", b"value " * 9, key=b"k%d" % (number % 2))
        broker.publish("e", "a.b", b"body", headers=_HEADERS)
        broker.send("p", b"body", priority=number % 3)
    list(log.read_key("t", b"k"))
    with log.producer("writer") as producer:
        producer.append("t", b"sequenced")
    with log.consumer("t", group="g") as consumer:
        consumer.poll(timeout=0, max_records=2)
        consumer.commit()
    with log.share_consumer("t", group="s") as sharer:
        for record in sharer.poll(timeout=0, max_records=2):
            record.ack()
    delivery = broker.get("q")
    if delivery is not None:
        delivery.ack()
    broker.get("q", no_ack=True)
    broker.send("q", b"later", delay_ms=3_600_000)


def _files(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "LOCK"
    }


def _stores(folder: Path) -> dict[str, dict[str, bytes]]:
    """Stores that were closed, or left open by a kill, in each mode, and one of several lives."""
    made = {}
    for sync in ("commit", "interval", "none"):
        path = folder / sync
        with small_limits(), msglog.Store(path, sync=sync) as store:
            _defined(store)
            with store.core.engine.checkpoints, store.core.engine.lock:
                made[f"killed-{sync}"] = _files(path)
        made[f"closed-{sync}"] = _files(path)
    with small_limits(), msglog.Store(folder / "commit", sync="commit") as store:
        store.log.append("t", b"next life", key=b"k")
        store.log.clean()
        with store.core.engine.checkpoints, store.core.engine.lock:
            made["two-lives"] = _files(folder / "commit")
    return made


def _frames() -> dict[str, bytes]:
    """Batches of all kinds, checksums seeded with 0."""
    bodies = {
        "plain": encode_body([b"value"], 5),
        "keyed": encode_body([b"value"], 5, keys=[b"key"]),
        "uneven": encode_body([b"a", None, b"bcd"], 5, key=b"k", timestamps=[5, 3, 4]),
        "headers": encode_body([b"a", b"b"], 5, headers=[(("h", b"1"), ("h", None)), ()]),
        "gaps": encode_body([b"a", b"b"], 5, keys=[b"k", None], offsets=[0, 3], span=5, append_time=True),
        "empty": encode_body([b""] * 5, 5),
        **{f"packed-{codec}": encode_body([b"text " * 9] * 3, 5, codec=codec) for codec in ("zlib", "zstd", "lz4")},
    }
    return {name: header_of(body, 0, 7, 3, 1, 1, 100) + body.data for name, body in bodies.items()}


def _run() -> bytes:
    written = bytearray()

    def write(position: int, data: bytes) -> None:
        written[position : position + len(data)] = data

    rows = rows_of([(digest_of(b"a"), [0, 3, 4]), (digest_of(b"b"), [1, 2])], 30)
    span = RunSpan(2, 0, 30, 31)
    write_run(write, lambda at, size: bytes(written[at : at + size]), span, rows, Anchor(3, 4), 5, in_file=True)
    return bytes(written)


def _index() -> bytes:
    index = SparseIndex()
    for number in range(4):
        index.add(number * 10, 64 + number * 1000, number)
    return index.entries_from(0, 0)


def _exported(export: Callable[[io.StringIO], object]) -> bytes:
    file = io.StringIO()
    export(file)
    return file.getvalue().encode()


def _draft() -> bytes:
    facts = [3, 0, 4, 500, 5, 6, 20, 0, 77, 1, 0]
    contents = {"base": 3, "life": 1, "next_file_id": 4, "streams": {1: [(facts, 64, 1234)]}}
    return pack_file(DRAFT_MAGIC, 1, 9, contents)


def make(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return the seeds of all targets."""
    seeds: dict[str, dict[str, bytes]] = {name: {} for name in TARGETS}
    for name, files in _stores(folder).items():
        # One set of archives for three targets.
        seeds["store"][name] = stores.pack(files)
        for path, contents in files.items():
            base = path.rpartition("/")[2]
            if base.startswith("journal-0") and contents[32:].strip(b"\0"):
                seeds["journal"][name] = contents.rstrip(b"\0") + bytes(64)
            elif base.startswith("checkpoint"):
                seeds["checkpoint"][f"{name}-{base}"] = contents
            elif parse_segment_name(base) is not None and name == "closed-none":
                seeds["segment"][base.partition(".")[0]] = contents[:64]
    frames = _frames()
    seeds["frame"] = {name: frame[4:] for name, frame in frames.items()}
    seeds["frames"] = {"all": b"".join(frames.values()), "singles": frames["plain"] * 3 + frames["keyed"]}
    properties = Properties(headers=_HEADERS, message_id="m", priority=3, expiration="1000", delivery_mode=2)
    seeds["message"] = {
        "plain": pack_meta("", "q", Properties()),
        "full": pack_meta("e", "a.b", properties),
        "dead": pack_meta("e", "a.b", properties, dead_lettered=True),
        "blind": pack_meta("e", "a.b", properties, blind_copies=("k",)),
    }
    seeds["table"] = {"table": pack_table(_HEADERS), "empty": pack_table({})}
    seeds["run"], seeds["index"], seeds["draft"] = {"run": _run()}, {"index": _index()}, {"draft": _draft()}
    with small_limits(), msglog.Store(folder / "export", sync="none") as store:
        _defined(store)
        seeds["records"] = {"lines": _exported(lambda file: store.log.export_records("t", file))}
        seeds["messages"] = {"lines": _exported(lambda file: store.broker.export_messages("q", file))}
    return seeds


def main() -> None:
    """Write them."""
    with tempfile.TemporaryDirectory() as folder:
        for target, inputs in make(Path(folder)).items():
            for name, data in inputs.items():
                corpus.save(target, name, data)


if __name__ == "__main__":
    main()
