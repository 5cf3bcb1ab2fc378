"""Watching everything that is written to a store, without a trace of it where nobody watches.

A `Tap` sits on one open store as long as there is a `Watcher`. It lends the store's writer and its virtual host
subclasses of their own, and closes the short ways that hot paths take: so every change comes by `Writer.write` or by a
`Batch`, where it can be looked at, and be refused, before it is written and after. When the last watcher leaves, all of
it is as it was. Nothing in the store asks whether somebody watches.

Watchers are called under the store lock (about records, offsets, commits) or the broker's (about messages): they must
be quick and wait for nothing that needs those. What they raise beforehand leaves nothing behind, as a full disk would;
afterwards the change is made, and its caller is told otherwise. Imported by `recording` and `faults`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import UnionType
from typing import Any, Final, cast

from msglog.broker.vhost import VirtualHost
from msglog.checks import wrong_type
from msglog.errors import ReadOnlyError
from msglog.log.groups import GroupsModel
from msglog.log.model import LogModel
from msglog.log.records import records_of
from msglog.log.share.model import ShareModel
from msglog.log.share.sharing import Sharing
from msglog.storage import CURSORS, Body, Commit, Stream, encode_one
from msglog.storage.compiled import open_ways
from msglog.storage.frame import CRC, decode, header_of
from msglog.storage.planning import Writer
from msglog.storage.state import SETTLE
from msglog.storage.writers import DirectWriter, JournalWriter
from msglog.store import Store, StoreCore, StoreFace
from msglog.testing.events import Committed, ShareSettled
from msglog.testing.sharing import TappedSharing
from msglog.testing.virtual_host import TappedVirtualHost
from msglog.testing.watching import Watcher, tell_all
from msglog.types import Record

SERVICE: Final = "tap"

Placed = Sequence[tuple[Stream, Body, int]]
"""What a commit appends: stream, records, and the offset of the first of them."""


class _Tapped(Writer):
    """A writer of which every commit goes through `write`."""

    tap: "Tap"

    def write(self, commit: Commit) -> int:
        """Write a commit, and tell of it before and after."""
        tap = self.tap
        ends: dict[int, int] = {}
        placed: list[tuple[Stream, Body, int]] = []
        for stream, body in commit.bodies:
            offset = ends.get(stream.id, stream.next_offset)
            ends[stream.id] = offset + body.span
            placed.append((stream, body, offset))
        records, offsets, shared = tap.records(placed), tap.committed(commit), tap.share_settled(commit)
        for watcher in tap.watchers:
            watcher.writing()
            if records:
                watcher.appending(records)
            if offsets:
                watcher.committing(offsets)
            if shared:
                watcher.share_settling(shared)
        number = super().write(commit)
        calls = tap.calls_about(commit)
        for watcher in tap.watchers:
            if records:
                calls.append(partial(watcher.appended, records))
            if offsets:
                calls.append(partial(watcher.committed, offsets))
            if shared:
                calls.append(partial(watcher.share_settled, shared))
        tell_all(calls)
        return number

    def append(self, stream: Stream, value: bytes, timestamp_ms: int, key: bytes | None = None) -> int:
        """Append one record by way of a commit; waits as `sync` promises."""
        with self._engine.lock:
            commit = self._engine.begin()
            offset = commit.append(stream, encode_one(value, timestamp_ms, key))
            number = self.write(commit)
        self._engine.wait(number)
        return offset

    append_unwaited = append  # only a little later

    # What both writers share does all of these by a commit; they have faster ways of their own.
    append_all = Writer.append_all
    append_copies = Writer.append_copies
    append_settle = Writer.append_settle


class _TappedDirectWriter(_Tapped, DirectWriter):
    pass


class _TappedJournalWriter(_Tapped, JournalWriter):
    pass


class Tap:
    """What watches one open store."""

    def __init__(self, core: StoreCore, sharing: Sharing) -> None:
        self._engine = core.engine
        self._vhost = VirtualHost.of(core)
        self._log = cast(LogModel, core.engine.models[LogModel.section])
        self._shares = ShareModel.of(core.engine)
        self._sharing = sharing
        self._writer_class = type(core.engine.writer)
        self._vhost_class = type(self._vhost)
        self._places: dict[int, tuple[str, int]] = {}
        self.watchers: tuple[Watcher, ...] = ()

    @classmethod
    def of(cls, core: StoreCore) -> "Tap":
        """Return the tap of an open store. Raises `ReadOnlyError` for one that is not open for writing."""
        if core.engine.readonly:
            raise ReadOnlyError(f"nothing is written to a readonly store: {core.path}", path=core.path)
        sharing = Sharing.of(core)  # which takes the lock itself
        with core.engine.lock:
            found = core.services.get(SERVICE)
            if found is None:
                found = core.services[SERVICE] = cls(core, sharing)
        return cast(Tap, found)

    def close(self) -> None:
        """The store closes: nothing more will come."""

    @property
    def lockers(self) -> tuple[Any, ...]:
        """Who has, as `lock`, a lock under which watchers are called."""
        return self._vhost, self._sharing, self._engine

    def add(self, watcher: Watcher) -> None:
        """Let somebody watch; who does so already goes on."""
        with self._vhost.lock, self._sharing.lock, self._engine.lock:
            if not self.watchers:
                self._open()
            self.watchers = tuple(dict.fromkeys((*self.watchers, watcher)))
            cast(TappedVirtualHost, self._vhost).watchers = self.watchers

    def remove(self, watcher: Watcher) -> None:
        """Have somebody watch no more; who does not is ignored."""
        with self._vhost.lock, self._sharing.lock, self._engine.lock:
            before = self.watchers
            self.watchers = tuple(other for other in before if other is not watcher)
            cast(TappedVirtualHost, self._vhost).watchers = self.watchers
            if before and not self.watchers:
                self._close()

    def _open(self) -> None:
        journaled = issubclass(self._writer_class, JournalWriter)
        self._lend(_TappedJournalWriter if journaled else _TappedDirectWriter, TappedVirtualHost)
        cast(_Tapped, self._engine.writer).tap = self
        vhost = cast(TappedVirtualHost, self._vhost)
        vhost.append_settle = vhost.settle_one
        self._sharing.__class__ = TappedSharing
        cast(TappedSharing, self._sharing).outcomes = {}
        self._log.watch(watched=True)

    def _close(self) -> None:
        self._lend(self._writer_class, self._vhost_class)
        self._vhost.append_settle = self._engine.append_settle
        self._sharing.__class__ = Sharing
        self._log.watch(watched=False)

    def _lend(self, writer_class: type, vhost_class: type) -> None:
        engine = self._engine
        engine.writer.__class__ = writer_class  # of the same layout: it only has other methods
        open_ways(engine)
        self._vhost.__class__ = vhost_class
        self._vhost.model.version += 1  # remembered routes hold no longer

    # What a commit is about

    def calls_about(self, commit: Commit) -> list[Callable[[], None]]:
        """Return the calls that tell of what a transaction has published and settled by this commit."""
        vhost = cast(TappedVirtualHost, self._vhost)
        filled = vhost.filled
        if filled is None or filled[0] is not commit:
            return []
        vhost.filled = None
        return filled[1].calls()

    def records(self, placed: Placed) -> list[Record]:
        """Return the records that a commit appends to topics."""
        found: list[Record] = []
        for stream, body, offset in placed:
            place = self._place_of(stream)
            if place is not None:
                raw = header_of(body, 0, offset, 0, 0, 1, 0)[CRC.size :] + body.data
                found += records_of(decode(raw, ""), *place, 0, offset + body.span)
        return found

    def committed(self, commit: Commit) -> list[Committed]:
        """Return the offsets that a commit notes for consumer groups."""
        topics = self._log.topic_ids
        return [
            Committed(event[1], topics[topic_id].name, partition, offset)
            for section, event in commit.events
            if section == GroupsModel.section and event[0] == "commit"
            for topic_id, partition, offset in event[2]
            if topic_id in topics
        ]

    def share_settled(self, commit: Commit) -> list[ShareSettled]:
        """Return the records that share groups are done with by a commit."""
        settled = [event for section, event in commit.events if section == CURSORS and event[0] == SETTLE]
        if not settled or not self._shares.groups:
            return []
        topics = self._log.topic_ids
        places = {
            cursor_id: (group, topics[topic_id].name, partition)
            for group, cursors in self._shares.groups.items()
            for (topic_id, partition), cursor_id in cursors.items()
            if topic_id in topics
        }
        outcomes = cast(TappedSharing, self._sharing).outcomes
        # All others go since there is no record of theirs any more.
        return [
            ShareSettled(*places[cursor_id], offset, outcomes.pop((cursor_id, offset)))
            for _, cursor_id, first, end, *_ in settled
            if cursor_id in places
            for offset in range(first, end)
            if (cursor_id, offset) in outcomes
        ]

    def _place_of(self, stream: Stream) -> tuple[str, int] | None:
        """Return topic and partition of a stream, None for one that is something else."""
        place = self._places.get(stream.id)
        if place is None:
            self._places = {
                stream_id: (topic.name, number)
                for topic in self._log.topics.values()
                for number, stream_id in enumerate(topic.stream_ids)
            }
            place = self._places.get(stream.id)
        return place


def core_of(store: object) -> StoreCore:
    """Return the inside of what a user calls a store. Raises `InvalidTypeError`, `ClosedError`."""
    found = plain(store, Store | StoreFace)
    if isinstance(found, StoreFace):
        found = found.store
    if not isinstance(found, Store):
        raise wrong_type("store", store, "a Store, a Log or a Broker")
    return found.core


def plain(given: object, kind: type | UnionType) -> object:
    """Return what is behind an object of a typed view (`raw`) or of `msglog.aio` (`sync`); all else as it is."""
    for name in ("raw", "sync"):
        if not isinstance(given, kind):
            given = getattr(given, name, given)
    return given
