"""What must hold for share groups: each has cursors on partitions that exist, and those are sound.

Imported by the log's package.
"""

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, cast

from msglog.cursors import CursorModel, wrong_cursor
from msglog.log.model import LogModel
from msglog.log.share.model import ShareModel
from msglog.log.share.sharing import SERVICE, Sharing
from msglog.storage import Engine
from msglog.storage.layout import SEGMENTS
from msglog.store import Claim, Service
from msglog.types import Problem


class ShareCheck:
    """The share groups' part of a verification."""

    def __init__(self, engine: Engine, services: Mapping[str, Service]) -> None:
        self._model = ShareModel.of(engine)
        self._topics = cast(LogModel, engine.models[LogModel.section])
        self._cursors = cast(CursorModel, engine.models[CursorModel.section])
        self._path = engine.path(SEGMENTS)
        self._services = services

    @property
    def lock(self) -> "Lock | None":
        """The lock under which deliveries are handed out, if anybody ever joined a group."""
        sharing = self._services.get(SERVICE)
        return sharing.lock if isinstance(sharing, Sharing) else None

    def claims(self) -> Iterator[Claim]:
        """Claim the cursors of all groups."""
        for cursors in list(self._model.groups.values()):
            for (topic_id, number), cursor_id in list(cursors.items()):
                topic = self._topics.topic_ids.get(topic_id)
                yield Claim("cursor", cursor_id, {"topic": topic and topic.name, "partition": number})

    def wards(self) -> Iterable[tuple[str, int]]:
        """Return nothing: what belongs to this model is known elsewhere."""
        return ()

    def pieces(self) -> Iterable[Any]:
        """Return the groups with their partitions."""
        return [(group, key) for group, cursors in list(self._model.groups.items()) for key in list(cursors)]

    def look(self, piece: Any) -> Iterator[Problem]:
        """Look at a group's cursor on one partition."""
        group, (topic_id, number) = piece
        cursor_id = self._model.groups.get(group, {}).get((topic_id, number))
        if cursor_id is None:
            return
        topic = self._topics.topic_ids.get(topic_id)
        name = None if topic is None else topic.name
        if topic is None or number >= len(topic.partitions):
            what = f"share group {group!r} has a cursor on partition {number} of topic {topic_id}, which does not exist"
            yield Problem("group", self._path, 0, what, topic=name, partition=number)
            return
        cursor = self._cursors.cursors.get(cursor_id)
        if cursor is None:
            what = f"cursor {cursor_id} of share group {group!r} is missing"
            yield Problem("group", self._path, 0, what, topic=name, partition=number)
            return
        for what in wrong_cursor(cursor, topic.partitions[number].next_offset):
            text = f"share group {group!r}: {what}"
            yield Problem("cursor", self._path, 0, text, topic=name, partition=number)
