"""The share groups of a store and their cursors: a pure function of a snapshot and the events after it.

    event                                             effect
    "group"   group                                   there is such a share group
    "cursor"  group, topic id, partition, cursor id   what the group has settled there is in that cursor
    "forget"  topic id                                no group has anything to do with that topic any more
    "delete"  group                                   the group is gone

The cursors themselves are opened and closed by events of their own section, in the same commits. Invariants: changes
only in `load` and `apply`, under the store lock; applying an event twice in a row does what once does. Who is in a
group is not kept: members end with their process (`sharing`). Imported by the log.
"""

from collections.abc import Callable
from typing import Any, cast

from msglog.cursors import Cursor, CursorModel
from msglog.errors import CorruptionError, GroupError
from msglog.storage import Commit, Engine

CursorIds = dict[tuple[int, int], int]
"""Cursor ids by topic id and partition."""


class ShareModel:
    """The section "shares" of a store's state. `groups` holds every share group, by name."""

    section = "shares"

    def __init__(self, engine: Engine) -> None:
        self._path = engine.directory
        self.groups: dict[str, CursorIds] = {}
        self._appliers: dict[str, Callable[..., None]] = {
            "group": self._create,
            "cursor": self._set_cursor,
            "forget": self._forget,
            "delete": self._delete,
        }

    @classmethod
    def of(cls, engine: Engine) -> "ShareModel":
        """Return the model of an open store."""
        return cast(ShareModel, engine.models[cls.section])

    def load(self, snapshot: Any) -> None:
        """Take over a snapshot, None for a new store."""
        self.groups.clear()
        for group, cursors in snapshot or ():
            self._create(group)
            self.groups[group] = {(topic_id, number): cursor_id for topic_id, number, cursor_id in cursors}

    def apply(self, event: list[Any]) -> None:
        """Apply one event."""
        self._appliers[event[0]](*event[1:])

    def snapshot(self) -> Any:
        """Return the whole state."""
        return [
            [group, [[topic_id, number, cursor_id] for (topic_id, number), cursor_id in cursors.items()]]
            for group, cursors in self.groups.items()
        ]

    def cursor_of(self, cursors: CursorModel, group: str, key: tuple[int, int]) -> Cursor[Any]:
        """Return a group's cursor on a partition. Raises `CorruptionError` when the state has none of that id."""
        cursor = cursors.cursors.get(self.groups[group][key])
        if cursor is None:
            path = self._path
            what = f"{path}: share group {group!r} has lost its cursor on partition {key[1]} of topic {key[0]}"
            raise CorruptionError(what, path=path, position=0)
        return cursor

    def check_free(self, group: str) -> None:
        """Make sure that consumers may use a name. Raises `GroupError` when it is a share group's."""
        if group in self.groups:
            raise GroupError(f"{group!r} is a share group: its records are for share consumers")

    def record_group(self, commit: Commit, group: str) -> None:
        """Make a new group part of a commit, under the store lock."""
        commit.record(self.section, ["group", group])

    def record_cursor(self, commit: Commit, group: str, key: tuple[int, int], cursor_id: int, start: int) -> None:
        """Make a new cursor of a group part of a commit; one that it has there is closed. Under the store lock."""
        before = self.groups.get(group, {}).get(key)
        if before is not None:
            commit.record(CursorModel.section, ["close", before])
        commit.record(CursorModel.section, ["open", cursor_id, start])
        commit.record(self.section, ["cursor", group, *key, cursor_id])

    def record_topic_deleted(self, commit: Commit, topic_id: int) -> None:
        """Make it part of a topic's deletion that all groups give it up, under the store lock."""
        closed = [
            cursor_id
            for cursors in self.groups.values()
            for (topic, _), cursor_id in cursors.items()
            if topic == topic_id
        ]
        for cursor_id in closed:
            commit.record(CursorModel.section, ["close", cursor_id])
        if closed:
            commit.record(self.section, ["forget", topic_id])

    def record_group_deleted(self, commit: Commit, group: str) -> None:
        """Make the end of a group part of a commit, under the store lock."""
        for cursor_id in self.groups[group].values():
            commit.record(CursorModel.section, ["close", cursor_id])
        commit.record(self.section, ["delete", group])

    def _create(self, group: str) -> None:
        if type(group) is not str:
            raise TypeError("a group without a name")
        self.groups.setdefault(group, {})

    def _set_cursor(self, group: str, topic_id: int, partition: int, cursor_id: int) -> None:
        self.groups[group][topic_id, partition] = cursor_id

    def _forget(self, topic_id: int) -> None:
        for cursors in self.groups.values():
            for key in [key for key in cursors if key[0] == topic_id]:
                del cursors[key]

    def _delete(self, group: str) -> None:
        self.groups.pop(group, None)
