"""Whole stores as one input: an archive of files, of which a mutation changes one or two.

A store is opened on a disk in memory that has little space, used, and closed; verified; or salvaged. The first may
raise typed errors only, the others none at all but for a disk that is full.
"""

import contextlib
import random
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgpack

import msglog
from msglog.errors import DiskFullError, MsglogError
from msglog.salvaging.salvage import salvage_to
from msglog.store import core as cores
from msglog.store.verifying import is_store, verify_directory
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.fuzzing.contradict import contradict_files
from support.fuzzing.forms import Form, form_of
from support.session import small_limits

DIRECTORY = "/store"
COPY = "/copy"
_LARGEST = 4 << 20
# What a state that makes no sense says of queues and groups is saved as it is.
_STATE = {"state", "cursor", "topic", "queue", "group", "producer", "delay"}
_UNSOUND = {"checkpoint", "file", "snapshot", "segment", "stream"}
_SPACE = 8 << 20


def pack(files: dict[str, bytes]) -> bytes:
    """Return an archive of files by their paths in the store."""
    held = {name: [len(contents), contents.rstrip(b"\0")] for name, contents in files.items()}
    return zlib.compress(msgpack.packb(held), 9)


def unpack(data: bytes) -> dict[str, bytes] | None:
    """Return the files of an archive, None if it is none."""
    try:
        packed = zlib.decompressobj().decompress(data, _LARGEST)
        held = msgpack.unpackb(packed)
        return {str(name): bytes(contents).ljust(min(size, _LARGEST), b"\0") for name, (size, contents) in held.items()}
    except (zlib.error, ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return None


def _disk(data: bytes) -> FaultyFileSystem | None:
    files = unpack(data)
    if files is None:
        return None
    paths = {f"{DIRECTORY}/{name}": contents for name, contents in files.items()}
    folders = {path.rpartition("/")[0] for path in paths}
    disk = Disk(Image(frozenset({"/", DIRECTORY, f"{DIRECTORY}/segments", *folders}), paths), recording=False)
    disk.budget = sum(map(len, files.values())) + _SPACE
    return FaultyFileSystem(disk)


def use(data: bytes) -> None:
    """Open a store for writing, read all of it, add to it, and close it."""
    filesystem = _disk(data)
    if filesystem is None:
        return
    with small_limits(), _as_the_machine(filesystem), msglog.Store(DIRECTORY, sync="interval") as store:
        if any(problem.kind in _STATE for problem in store.verify()):
            return  # it opens, and models that contradict each other are for `salvage`
        for call in (_read_topics, _read_queues, _add):
            with contextlib.suppress(MsglogError):
                call(store)


def _read_topics(store: msglog.Store) -> None:
    log = store.log
    for topic in log.topics():
        for partition in range(len(log.describe_topic(topic).partitions)):
            with contextlib.suppress(MsglogError):
                list(log.read(topic, partition))
            with contextlib.suppress(MsglogError):
                list(log.read_key(topic, b"k"))
    for group in log.groups():
        with contextlib.suppress(MsglogError):
            log.describe_group(group)


def _read_queues(store: msglog.Store) -> None:
    broker = store.broker
    for queue in broker.queues():
        with contextlib.suppress(MsglogError):
            broker.peek(queue.name, 100)
        with contextlib.suppress(MsglogError):
            delivery = broker.get(queue.name)
            if delivery is not None:
                delivery.ack()


def _add(store: msglog.Store) -> None:
    for topic in store.log.topics():
        with contextlib.suppress(MsglogError):
            store.log.append(topic, b"value", key=b"k")
    for queue in store.broker.queues():
        with contextlib.suppress(MsglogError):
            store.broker.send(queue.name, b"body")


def contradicted(data: bytes) -> None:
    """Use a store whose state contradicts itself: whatever does not work raises typed errors.

    What keeps it from being opened is told by verifying it.
    """
    filesystem = _disk(data)
    if filesystem is None:
        return
    with small_limits():
        told = list(verify_directory(filesystem, DIRECTORY, None))
        try:
            with _as_the_machine(filesystem), msglog.Store(DIRECTORY, sync="interval") as store:
                for call in (_read_topics, _read_queues, _work_in_groups, _add, _change_definitions):
                    with contextlib.suppress(MsglogError):
                        call(store)
        except MsglogError:
            if not told:
                raise AssertionError("it does not open, and verifying tells of nothing") from None
            raise


def _work_in_groups(store: msglog.Store) -> None:
    log = store.log
    topics = list(log.topics())
    for group in ("g", "new"):
        with contextlib.suppress(MsglogError), log.consumer(*topics, group=group) as consumer:
            consumer.poll(0)
            consumer.commit()
    for group in ("s", "shared"):
        with contextlib.suppress(MsglogError), log.share_consumer(*topics, group=group) as sharer:
            for record in sharer.poll(0):
                record.ack()
    with contextlib.suppress(MsglogError), log.producer("writer") as producer:
        producer.append("t", b"value")


def _change_definitions(store: msglog.Store) -> None:
    log, broker = store.log, store.broker
    calls: list[Callable[[], object]] = [
        log.clean,
        store.metrics,
        *(partial(broker.publish, exchange.name, "a.b", b"body", delay_ms=1) for exchange in broker.exchanges()),
        *(partial(broker.purge_queue, queue.name) for queue in broker.queues()),
        *(partial(broker.delete_queue, queue.name) for queue in broker.queues()),
        *(partial(log.delete_group, group) for group in log.groups()),
        *(partial(log.delete_topic, topic) for topic in log.topics()),
    ]
    for call in calls:
        with contextlib.suppress(MsglogError):
            call()


def verify(data: bytes) -> None:
    """Verify a store: whatever is wrong is told, nothing is raised."""
    filesystem = _disk(data)
    if filesystem is not None and is_store(filesystem, DIRECTORY):
        with small_limits():
            _not_raising(lambda: list(verify_directory(filesystem, DIRECTORY, None)))


def salvage(data: bytes) -> None:
    """Salvage a store, and open what was saved, which is sound."""
    filesystem = _disk(data)
    if filesystem is None or not is_store(filesystem, DIRECTORY):
        return
    target = FaultyFileSystem(Disk(recording=False))
    target.disk.budget = _SPACE
    with small_limits():
        _not_raising(lambda: salvage_to(filesystem, DIRECTORY, target, COPY, was_there=False))
        if f"{COPY}/checkpoint-1" in target.disk.names:
            problems = list(verify_directory(target, COPY, None))
            if any(problem.kind in _UNSOUND for problem in problems):
                raise AssertionError(f"what was saved is not sound: {problems}")


def _not_raising(call: Any) -> None:
    try:
        call()
    except DiskFullError:
        return
    except MsglogError as error:
        raise AssertionError(f"it raised {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _as_the_machine(filesystem: FaultyFileSystem) -> Iterator[None]:
    """Let stores be opened on this file system."""
    before = cores._filesystem
    cores._filesystem = filesystem  # type: ignore[assignment]
    try:
        yield
    finally:
        cores._filesystem = before


def _change(data: bytes, chance: random.Random) -> bytes:
    files = unpack(data)
    if not files:
        return data
    for _ in range(chance.choice((1, 1, 2))):
        name = chance.choice([name for name, contents in files.items() if contents.rstrip(b"\0")] or list(files))
        match chance.randrange(20):
            case 0:
                del files[name]
            case 1:
                files[name] = files[chance.choice(list(files))]
            case _:
                used = files[name].rstrip(b"\0")
                files[name] = form_of(name).mutate(used, chance).ljust(len(files[name]), b"\0")
        if not files:
            break
    return pack(files)


def _contradict(data: bytes, chance: random.Random) -> bytes:
    files = unpack(data)
    if not files:
        return data
    contradict_files(files, chance)
    return pack(files)


class _StoreForm(Form):
    """Archives are always whole: what is changed is in them."""

    def mutate(self, data: bytes, chance: random.Random) -> bytes:
        """Return an archive in which files were changed."""
        return self.change(data, chance)


FORM = _StoreForm(_change, lambda data: data)
STATE_FORM = _StoreForm(_contradict, lambda data: data)
