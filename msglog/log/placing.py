"""Writing batches: the part of an append that happens under the store lock.

Decisions are made against the assigned state. What a refusal saw may not be durable yet, so in
`sync="commit"` it is only raised after the sync that covers it. Whoever writes goes through these steps:

    prepare       before the lock: find out what needs files, the last record of a key above all
    (begin)       under the lock: `Engine.begin` finishes an interrupted commit, so it comes before all decisions
    is_ready      under the lock: whether that still holds; if not, let go, wait for what was written, prepare again
    find_refusal  why the batch cannot be appended
    place         add it to a commit
    note          after the commit was written: let the indexes by key know

Imported by `appending`, `producer` and transactions.
"""

from collections.abc import Sequence

from msglog.errors import MsglogError, OffsetConflictError, TopicNotFoundError
from msglog.log.batches import Batch
from msglog.log.rules.key_rows import digest_of
from msglog.log.topic import Topic
from msglog.storage import Commit, Engine


def write(engine: Engine, batch: Batch) -> dict[int, range]:
    """Append a batch in one commit and return the offsets it got in each partition.

    Raises `OffsetConflictError`, `TopicNotFoundError` when the topic was deleted meanwhile, `CorruptionError` when
    the records that an expectation is about cannot be read, and the engine's errors.
    """
    if not batch.pieces:
        return {}
    placed: dict[int, range] = {}
    while True:
        prepare(batch)
        with engine.lock:
            commit = engine.begin()
            ready = is_ready(batch)
            refusal = find_refusal(batch, commit) if ready else None
            if ready and refusal is None:
                placed = place(commit, batch, engine.clock.now_ms())
                number = commit.write()
                note(batch, placed)
            else:
                number = engine.commit_number
        engine.wait(number)
        if ready:
            break
    if refusal is not None:
        raise refusal
    return placed


def prepare(batch: Batch) -> None:
    """Find out what placing needs to know from disk; before the store lock is taken, perhaps again and again."""
    topic = batch.topic
    indexed = not topic.indexes.empty
    for partition, body in batch.pieces:
        if body.append_time:
            topic.find_append_time(partition)
        index = topic.indexes.find(topic.partitions[partition]) if indexed else None
        if index is not None:
            index.tidy()
    key = batch.keys[0] if batch.keys else None
    if batch.expected_key_offset is not None and isinstance(key, bytes):
        index = topic.index_for_deciding(batch.pieces[0][0])
        batch.digest = batch.digest or digest_of(key)
        index.catch_up()
        batch.sight = index.look(batch.digest)


def is_ready(batch: Batch) -> bool:
    """Return whether what `prepare` found still holds, so that it can be decided upon. Under the store lock.

    Where it does not, records were written meanwhile, perhaps not visible yet: let the lock go, wait for the last
    commit, and prepare again.
    """
    if batch.sight is None or batch.topic.deleted:
        return True
    index = batch.topic.indexes.find(batch.topic.partitions[batch.pieces[0][0]])
    return index is not None and index.is_current(batch.sight)


def find_refusal(batch: Batch, commit: Commit) -> MsglogError | None:
    """Return why a batch cannot be appended as things stand, None when it can. Under the store lock.

    The offset that is expected is the one that the first record gets, behind what is part of the commit already. The
    last record of a key is looked for in what was written before the commit.
    """
    topic = batch.topic
    if topic.deleted:
        return deleted_meanwhile(topic)
    if not batch.pieces or (batch.expected_offset is None and batch.sight is None):
        return None
    return _unexpected_end(batch, commit) or _unexpected_record(batch)


def _unexpected_end(batch: Batch, commit: Commit) -> OffsetConflictError | None:
    if batch.expected_offset is None:
        return None
    topic, partition = batch.topic, batch.pieces[0][0]
    actual = commit.next_offset(topic.partitions[partition])
    if actual == batch.expected_offset:
        return None
    return OffsetConflictError(
        f"topic {topic.name!r} partition {partition} goes on at offset {actual}, not {batch.expected_offset}",
        topic=topic.name,
        partition=partition,
        expected=batch.expected_offset,
        actual=actual,
    )


def _unexpected_record(batch: Batch) -> OffsetConflictError | None:
    topic, partition, sight = batch.topic, batch.pieces[0][0], batch.sight
    index = topic.indexes.find(topic.partitions[partition])
    if sight is None or index is None:
        return None
    actual = index.last_offset(batch.digest, sight)
    if actual == batch.expected_key_offset:
        return None
    return OffsetConflictError(
        f"the last record of the key in topic {topic.name!r} partition {partition} is at offset {actual}, "
        f"not {batch.expected_key_offset}",
        topic=topic.name,
        partition=partition,
        expected=batch.expected_key_offset,
        actual=actual,
    )


def deleted_meanwhile(topic: Topic) -> TopicNotFoundError:
    """Return the error for a topic that was deleted between finding it and taking the store lock."""
    return TopicNotFoundError(f"topic {topic.name!r} was deleted meanwhile", topic=topic.name)


def place(commit: Commit, batch: Batch, now_ms: int) -> dict[int, range]:
    """Add a batch to a commit and return the offsets it will get. Under the store lock."""
    topic = batch.topic
    placed: dict[int, range] = {}
    stamps: dict[int, int] = {}
    for partition, body in batch.pieces:
        if body.append_time:
            if partition not in stamps:
                stamps[partition] = topic.append_time(partition, now_ms)
            body.stamp(stamps[partition])
        base_offset = commit.append(topic.partitions[partition], body)
        if partition not in placed:
            placed[partition] = range(base_offset, base_offset + body.count)
        else:
            placed[partition] = range(placed[partition].start, base_offset + body.count)
    return placed


def note(batch: Batch, placed: dict[int, range]) -> None:
    """Tell the indexes by key of a batch that was written to the places it got. Under the store lock.

    An interrupt before or in it costs a look at the records.
    """
    topic = batch.topic
    if topic.indexes.empty:
        return
    bases = {partition: offsets.start for partition, offsets in placed.items()}
    for (partition, body), keys in zip(batch.pieces, batch.keys, strict=True):
        index = topic.indexes.find(topic.partitions[partition])
        base_offset = bases[partition]
        bases[partition] += body.count
        if index is not None:
            index.note(base_offset, _digests(batch, keys, body.count))


def _digests(batch: Batch, keys: bytes | Sequence[bytes | None] | None, count: int) -> Sequence[bytes | None]:
    if keys is None:
        return [None] * count
    if isinstance(keys, bytes):
        return [batch.digest or digest_of(keys)] * count
    return [None if key is None else digest_of(key) for key in keys]
