"""Making the state fit what is left of the streams.

What waited in a queue and is lost counts as settled, or nobody could get past it. A stream that belongs to nothing any
more becomes a topic. Nothing else is decided here. Imported by `salvage`.
"""

from collections.abc import Iterator, Mapping
from typing import cast

from msglog.broker.checking import lane_labels
from msglog.broker.lane import Lane
from msglog.broker.model import BrokerModel
from msglog.cursors import CursorModel
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.rules.topic_config import TopicConfig
from msglog.log.share.model import ShareModel
from msglog.salvaging.copying import CopiedStream, Range
from msglog.salvaging.loading import Loaded
from msglog.storage import CURSORS, Engine, Stream
from msglog.storage.state import STATE_STREAM
from msglog.store.registration import Claim, make_checks
from msglog.types import Gap


class Mending:
    """The state of a store that is being saved."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._engine: Engine = loaded.engine
        self._ends: dict[int, int] = {}
        self._log = cast(LogModel, self._engine.models[LogModel.section])
        self._groups = cast(GroupsModel, self._engine.models[GroupsModel.section])
        self._shares = cast(ShareModel, self._engine.models[ShareModel.section])
        self._broker = cast(BrokerModel, self._engine.models[BrokerModel.section])
        self._cursors = cast(CursorModel, self._engine.models[CURSORS])

    def ends(self) -> dict[int, int]:
        """Return how far each stream reached at the least, by what the state tells of it."""
        self._ends = {stream.id: stream.start for stream in self._engine.streams.values()}
        self._reach_by_broker()
        self._reach_by_groups()
        for topic in self._log.topics.values():
            for number, cleaning in topic.cleaning.items():
                self._reach_in_topic(topic.id, number, cleaning.end)
        for producer in self._log.producers.values():
            for batch in producer.batches:
                for number, base_offset, count in batch.places:
                    self._reach_in_topic(batch.topic_id, number, base_offset + count)
        return self._ends

    def _reach_by_broker(self) -> None:
        for queue in self._broker.queues.values():
            for lane in queue.lanes:
                cursor = lane.cursor
                last = [end for _, end in cursor.done] + [offset + 1 for offset in cursor.deliveries]
                self._reach(lane.stream.id, max(cursor.next, cursor.settled, *last, 0))
        for bucket in self._broker.buckets.values():
            self._reach(bucket.stream_id, bucket.released[1] + 1)

    def _reach_by_groups(self) -> None:
        for by_topic in self._groups.offsets.values():
            for topic_id, offsets in by_topic.items():
                for number, offset in offsets.items():
                    self._reach_in_topic(topic_id, number, offset)
        for cursors in self._shares.groups.values():
            for (topic_id, number), cursor_id in cursors.items():
                self._reach_in_topic(topic_id, number, self._cursors.cursors[cursor_id].next)

    def _reach(self, stream_id: int, end: int) -> None:
        self._ends[stream_id] = max(self._ends.get(stream_id, 0), end)

    def _reach_in_topic(self, topic_id: int, number: int, end: int) -> None:
        topic = self._log.topic_ids.get(topic_id)
        if topic is not None and number < len(topic.partitions):
            self._reach(topic.partitions[number].id, end)

    def adopt(self) -> list[str]:
        """Make topics of the streams that belong to nothing, and give up such cursors; return the topics' names."""
        self._drop_lost_shares()  # first: their cursors belong to nothing then
        claims = list(self._claims())
        streams = {claim.id for claim in claims if claim.what == "stream"}
        cursors = {claim.id for claim in claims if claim.what == "cursor"}
        for cursor_id in [cursor_id for cursor_id in self._cursors.cursors if cursor_id not in cursors]:
            self._cursors.apply(["close", cursor_id])
        orphans = [
            stream for stream in self._engine.streams.values() if stream.id != STATE_STREAM and stream.id not in streams
        ]
        return [self._adopt(stream) for stream in orphans]

    def _adopt(self, stream: Stream) -> str:
        name = f"salvaged.{stream.id}"
        while name in self._log.topics:
            name += "."
        self._log.apply(["topic", name, self._log.next_topic_id, [stream.id], TopicConfig().to_dict()])
        return name

    def _drop_lost_shares(self) -> None:
        for cursors in self._shares.groups.values():
            for topic_id, number in list(cursors):
                topic = self._log.topic_ids.get(topic_id)
                known = topic is not None and number < len(topic.partitions)
                if not known or cursors[topic_id, number] not in self._cursors.cursors:
                    del cursors[topic_id, number]

    def _claims(self) -> Iterator[Claim]:
        for check in make_checks(self._engine, {}):
            yield from check.claims()

    def close_gaps(self, copied: Mapping[int, CopiedStream]) -> list[Gap]:
        """Settle what waited in queues and is lost; return all gaps with whose they are."""
        gaps = [
            Gap(None, queue.name, lane_labels(queue, lane)["partition"], *gap)
            for queue in self._broker.queues.values()
            for lane in queue.lanes
            for gap in self._settle_missing(lane, copied[lane.stream.id])
        ]
        for topic in self._log.topics.values():
            for number, stream in enumerate(topic.partitions):
                start = self._loaded.start_of(stream)
                gaps += [Gap(topic.name, None, number, *gap) for gap in _above(copied[stream.id].gaps, start)]
        for bucket in self._broker.buckets.values():
            gaps += [Gap(None, None, None, *gap) for gap in copied[bucket.stream_id].gaps]
        return gaps

    def _settle_missing(self, lane: Lane, found: CopiedStream) -> list[Range]:
        cursor = lane.cursor
        begin, end = (found.facts[0][1], found.facts[-1][2]) if found.facts else (0, 0)
        missing = _common(cursor.unsettled_ranges(end), [(0, begin), *found.gaps])
        for first, stop in missing:
            cursor.settle(first, stop)
        return missing


def _above(ranges: list[Range], start: int) -> list[Range]:
    """Return the parts of ranges that are at or above `start`."""
    return [(max(first, start), end) for first, end in ranges if end > start]


def _common(some: list[Range], others: list[Range]) -> list[Range]:
    """Return what is in both lists of ranges, in order, neighbours joined."""
    found = sorted(
        (max(first, low), min(end, high))
        for first, end in some
        for low, high in others
        if max(first, low) < min(end, high)
    )
    joined: list[Range] = []
    for first, end in found:
        if joined and joined[-1][1] >= first:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((first, end))
    return joined
