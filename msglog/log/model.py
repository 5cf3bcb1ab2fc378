"""The log's definitions and producers in memory: a pure function of a snapshot and the events after it.

    event                                                            effect
    "topic"       name, id, stream ids, options                      a topic is there
    "partitions"  id, stream ids                                     it has these partitions now
    "options"     id, options                                        it has these options now
    "delete"      id                                                 it is gone
    "cleaned"     id, partition, end offset, horizon or None, time   compaction has been here
    "producer"    name, epoch                                        a new holder fences the one before
    "sequence"    name, batch (see `SequencedBatch`)                 a named producer's batch was appended

Invariants: changes only in `load` and `apply`, under the store lock; the dict `topics` stays the same object,
so that hot paths may keep it; applying an event twice in a row does what once does. Imported by the rest of
the log.
"""

from collections.abc import Callable
from typing import Any

from msglog.checks import wrong_type
from msglog.errors import TopicNotFoundError
from msglog.log.keys.indexes import KeyIndexes
from msglog.log.producers import ProducerState, SequencedBatch
from msglog.log.rules.topic_config import TopicConfig
from msglog.log.topic import Topic
from msglog.storage import Engine


class LogModel:
    """The section "log" of a store's state. `indexes` are no part of it: they follow from the records.

    `listeners` are called with a topic's name after it was created, deleted or got partitions, under the
    store lock: they must be quick and must not raise. They are called during replay too.
    """

    section = "log"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.indexes = KeyIndexes(engine)
        self.topics: dict[str, Topic] = {}
        self.topic_ids: dict[int, Topic] = {}
        self._known: dict[int, Topic] = {}
        self.producers: dict[str, ProducerState] = {}
        self.next_topic_id = 1
        self.listeners: list[Callable[[str], None]] = []
        self._watched = False
        self._appliers: dict[str, Callable[..., None]] = {
            "topic": self._create,
            "partitions": self._set_partitions,
            "options": self._set_options,
            "delete": self._delete,
            "cleaned": self._note_cleaned,
            "producer": self._set_holder,
            "sequence": self._remember,
        }

    def topic(self, name: object) -> Topic:
        """Return a topic. Raises `TopicNotFoundError`, and `InvalidTypeError` for anything but a str."""
        if not isinstance(name, str):
            raise wrong_type("topic", name, "the name of a topic")
        topic = self.topics.get(name)
        if topic is None:
            raise TopicNotFoundError(f"there is no topic {name!r}", topic=name)
        return topic

    def watch(self, *, watched: bool) -> None:
        """Have no record of any topic take the short way, or let them again. Under the store lock."""
        self._watched = watched
        for topic in self.topics.values():
            topic.watch(watched=watched)

    def load(self, snapshot: Any) -> None:
        """Take over a snapshot, None for a new store.

        A reader that loads anew keeps the topics that are still there as the objects its users hold.
        """
        self._known = self.topic_ids
        for topic in self._known.values():
            topic.deleted = True
        self.topic_ids = {}
        self.topics.clear()
        self.producers.clear()
        if snapshot is None:
            return
        self.next_topic_id = snapshot["next_topic_id"]
        for packed in snapshot["topics"]:
            self._add(Topic.unpacked(self._engine, self.indexes, packed))
        for packed in snapshot["producers"]:
            state = ProducerState.unpacked(packed)
            self.producers[state.name] = state

    def apply(self, event: list[Any]) -> None:
        """Apply one event."""
        self._appliers[event[0]](*event[1:])

    def snapshot(self) -> Any:
        """Return the whole state."""
        return {
            "next_topic_id": self.next_topic_id,
            "topics": [topic.packed() for topic in self.topics.values()],
            "producers": [state.packed() for state in self.producers.values()],
        }

    def _create(self, name: str, topic_id: int, stream_ids: list[int], options: dict[str, Any]) -> None:
        # First of all: were it last, an interrupt before it would leave the id to be given away again.
        self.next_topic_id = max(self.next_topic_id, topic_id + 1)
        if topic_id not in self.topic_ids:
            config = TopicConfig.from_dict(options)
            self._add(Topic(self._engine, self.indexes, name, topic_id, stream_ids, config))
        self._tell(name)

    def _add(self, topic: Topic) -> None:
        known = self._known.get(topic.id)
        if known is not None:
            known.renew(topic)
            topic = known
        if self._watched:
            topic.watch(watched=True)
        self.topics[topic.name] = self.topic_ids[topic.id] = topic

    def _set_partitions(self, topic_id: int, stream_ids: list[int]) -> None:
        topic = self.topic_ids[topic_id]
        topic.set_streams(stream_ids)
        self._tell(topic.name)

    def _set_options(self, topic_id: int, options: dict[str, Any]) -> None:
        self.topic_ids[topic_id].set_config(TopicConfig.from_dict(options))

    def _delete(self, topic_id: int) -> None:
        topic = self.topic_ids.get(topic_id)
        if topic is None:
            return
        topic.deleted = True
        self.topics.pop(topic.name, None)
        self.indexes.forget(topic.stream_ids)
        self._tell(topic.name)
        self.topic_ids.pop(topic_id, None)  # last: an interrupt before it leaves all of this to be done again

    def _note_cleaned(self, topic_id: int, partition: int, end: int, horizon_ms: int | None, now_ms: int) -> None:
        cleaning = self.topic_ids[topic_id].cleaning_of(partition)
        cleaning.forget_expired(now_ms)
        cleaning.note(end, horizon_ms)

    def _set_holder(self, name: str, epoch: int) -> None:
        self.producers.setdefault(name, ProducerState(name)).epoch = epoch

    def _remember(self, name: str, packed: list[Any]) -> None:
        self.producers[name].remember(SequencedBatch(*packed))

    def _tell(self, name: str) -> None:
        for listener in self.listeners:
            listener(name)
