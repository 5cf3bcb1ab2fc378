"""What must hold for topics, for committed offsets, and for named producers.

Looked at piece by piece while the store is in use, see `msglog.store.registration.Check`. Imported by the log's
package.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.producers import ProducerState
from msglog.log.topic import Topic
from msglog.storage import Engine
from msglog.storage.layout import SEGMENTS
from msglog.store import Claim, Service
from msglog.types import Problem


class LogCheck:
    """The log's part of a verification."""

    lock = None

    def __init__(self, engine: Engine, _services: Mapping[str, Service]) -> None:
        self._engine = engine
        self._model = cast(LogModel, engine.models[LogModel.section])
        self._groups = cast(GroupsModel, engine.models[GroupsModel.section])
        self._path = engine.path(SEGMENTS)

    def claims(self) -> Iterator[Claim]:
        """Claim the streams of all partitions."""
        for topic in list(self._model.topics.values()):
            for number, stream_id in enumerate(topic.stream_ids):
                yield Claim("stream", stream_id, {"topic": topic.name, "partition": number})

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return nothing: what belongs to this model is known elsewhere."""
        return ()

    def pieces(self) -> Iterable[Any]:
        """Return the topics, the groups by name, and the producers."""
        return [*self._model.topics.values(), *self._groups.offsets, *self._model.producers.values()]

    def look(self, piece: Any) -> Iterator[Problem]:
        """Look at one of them."""
        if isinstance(piece, Topic):
            yield from self._look_at_topic(piece)
        elif isinstance(piece, ProducerState):
            yield from self._look_at_producer(piece)
        else:
            yield from self._look_at_group(piece)

    def _look_at_topic(self, topic: Topic) -> Iterator[Problem]:
        model = self._model
        if topic.deleted:
            return
        if model.topics.get(topic.name) is not topic or model.topic_ids.get(topic.id) is not topic:
            yield self._topic_problem(topic, None, f"topic {topic.id} is not the one of its name and id")
        if topic.id >= model.next_topic_id:
            yield self._topic_problem(topic, None, f"topic {topic.id}; the next one will be {model.next_topic_id}")
        if [stream.id for stream in topic.partitions] != topic.stream_ids or not topic.stream_ids:
            yield self._topic_problem(topic, None, f"its streams are not {topic.stream_ids}")
        for number, stream in enumerate(topic.partitions):
            if self._engine.streams.get(stream.id) is not stream:
                yield self._topic_problem(topic, number, f"stream {stream.id} is missing")
        for number, cleaning in list(topic.cleaning.items()):
            ends = [end for end, _ in cleaning.horizons]
            if number >= len(topic.partitions):
                yield self._topic_problem(topic, number, "it was cleaned, but does not exist")
            elif not cleaning.end <= topic.partitions[number].next_offset or ends != sorted(ends):
                yield self._topic_problem(topic, number, f"it was cleaned up to offset {cleaning.end}, beyond its end")

    def _look_at_group(self, group: str) -> Iterator[Problem]:
        for topic_id, by_partition in list(self._groups.offsets.get(group, {}).items()):
            topic = self._model.topic_ids.get(topic_id)
            if topic is None:
                continue  # offsets of a deleted topic mean nothing, and go with the next snapshot
            for number, offset in list(by_partition.items()):
                end = topic.partitions[number].next_offset if number < len(topic.partitions) else -1
                if not 0 <= offset <= end:
                    what = f"group {group!r} has committed offset {offset}, not within 0 to {end}"
                    yield Problem("group", self._path, 0, what, topic=topic.name, partition=number)

    def _look_at_producer(self, producer: ProducerState) -> Iterator[Problem]:
        last: int | None = None
        for batch in list(producer.batches):
            if batch.count < 1 or (last is not None and batch.first_sequence <= last):
                yield self._producer_problem(producer, f"sequence {batch.first_sequence} comes after {last}")
            last = batch.first_sequence + batch.count - 1
            topic = self._model.topic_ids.get(batch.topic_id)
            for number, base_offset, count in batch.places if topic is not None else ():
                streams = topic.partitions if topic is not None else []
                if number >= len(streams) or base_offset + count > streams[number].next_offset:
                    what = f"sequence {batch.first_sequence} is at offsets that do not exist"
                    yield self._producer_problem(producer, what, topic=topic and topic.name, partition=number)
        if last is not None and last != producer.last_sequence:
            yield self._producer_problem(producer, f"its last sequence is {producer.last_sequence} instead of {last}")
        if self._model.producers.get(producer.name) is not producer:
            yield self._producer_problem(producer, "it is not the one of its name")

    def _topic_problem(self, topic: Topic, partition: int | None, what: str) -> Problem:
        return Problem("topic", self._path, 0, what, topic=topic.name, partition=partition)

    def _producer_problem(self, producer: ProducerState, what: str, **labels: Any) -> Problem:
        return Problem("producer", self._path, 0, f"producer {producer.name!r}: {what}", **labels)
