"""Writing batches: the part of an append that happens under the store lock.

Decisions are made against the assigned state. What a refusal saw may not be durable yet, so in
`sync="commit"` it is only raised after the sync that covers it. Imported by `appending` and `producer`.
"""

from msglog.errors import MsglogError, OffsetConflictError, TopicNotFoundError
from msglog.log.batches import Batch
from msglog.log.topic import Topic
from msglog.storage import Commit, Engine


def write(engine: Engine, batch: Batch) -> dict[int, range]:
    """Append a batch in one commit and return the offsets it got in each partition.

    Raises `OffsetConflictError`, `TopicNotFoundError` when the topic was deleted meanwhile, and the engine's
    errors.
    """
    if not batch.pieces:
        return {}
    prepare(batch)
    placed: dict[int, range] = {}
    with engine.lock:
        refusal = find_refusal(batch)
        if refusal is None:
            commit = engine.begin()
            placed = place(commit, batch, engine.clock.now_ms())
            number = commit.write()
        else:
            number = engine.commit_number
    engine.wait(number)
    if refusal is not None:
        raise refusal
    return placed


def prepare(batch: Batch) -> None:
    """Find out what placing needs to know from disk; before the store lock is taken."""
    for partition, body in batch.pieces:
        if body.append_time:
            batch.topic.find_append_time(partition)


def find_refusal(batch: Batch) -> MsglogError | None:
    """Return why a batch cannot be appended as things stand, None when it can. Under the store lock."""
    topic = batch.topic
    if topic.deleted:
        return deleted_meanwhile(topic)
    if batch.expected_offset is None or not batch.pieces:
        return None
    partition = batch.pieces[0][0]
    actual = topic.partitions[partition].next_offset
    if actual == batch.expected_offset:
        return None
    return OffsetConflictError(
        f"topic {topic.name!r} partition {partition} goes on at offset {actual}, not {batch.expected_offset}",
        topic=topic.name,
        partition=partition,
        expected=batch.expected_offset,
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
        known = placed.get(partition)
        first = base_offset if known is None else known.start
        placed[partition] = range(first, base_offset + body.count)
    return placed
