"""A lane: one stream of a queue's messages with its cursor, and what was read ahead of it.

An ordinary queue has one lane, a queue with priorities one for each priority in use. Used under the broker's lock
only. Invariant: `buffer` holds messages of rising offsets below `buffered`, none missing between the first and the
last but what was settled; what the cursor has passed is dropped from it when it is met. Memory is bounded by one frame,
or by what was published last: never by the backlog. Imported by the rest of the broker.
"""

from collections import deque
from collections.abc import Iterator
from itertools import islice, repeat
from typing import Final, NamedTuple

from msglog.cursors import Cursor
from msglog.errors import CorruptionError, MsglogError, StoreFailedError
from msglog.storage import Frame, Reader, Stream

# What was published last stays in memory, so that a consumer that keeps up never reads it back.
KEPT_MESSAGES: Final = 128
KEPT_BYTES: Final = 1024


_new_stored = tuple.__new__  # half of what the constructor costs


class Stored(NamedTuple):
    """A message as it lies in a stream. `meta`: packed exchange, routing key and properties."""

    offset: int
    timestamp_ms: int
    meta: bytes
    body: bytes


class Holder:
    """Whoever has deliveries of one queue in hand: the value of each of them in a cursor's `unsettled`.

    `unsettled`: how many; `miscounted`: an error or an interrupt struck while that changed, so it is counted anew.
    """

    __slots__ = ("miscounted", "unsettled")

    def __init__(self) -> None:
        self.unsettled = 0
        self.miscounted = False


class Lane:
    """One stream of a queue."""

    __slots__ = (
        "_before",
        "_frame",
        "_reader",
        "_returned_reader",
        "buffer",
        "buffered",
        "cursor",
        "priority",
        "retired_at",
        "return_order",
        "returned_bytes",
        "sent_ahead",
        "stream",
        "trim_check",
    )

    def __init__(self, stream: Stream, cursor: Cursor[Holder], priority: int) -> None:
        self.stream = stream
        self.cursor = cursor
        self.priority = priority
        self.buffer: deque[Stored] = deque()
        self.buffered = cursor.next
        self._reader: Reader | None = None
        self._returned_reader: Reader | None = None
        self._frame: Frame | None = None
        # Bytes of bodies before `cursor.next`, None until somebody asks; and of what is returned.
        self._before: int | None = None
        self.returned_bytes = 0
        # Offsets in the order in which they were returned, where that is the order of delivery.
        self.return_order: deque[int] | None = None
        # Offset from which, once it is settled, it is worth looking for segments to give up.
        self.trim_check = 0
        # Segments whose messages are all settled, kept as history: (end offset, settled at).
        self.retired_at: list[tuple[int, int]] = []
        # Offsets of messages that are not settled yet, and the queues that have their dead letters already.
        self.sent_ahead: dict[int, set[str]] = {}

    def ready(self) -> int:
        """Return how many messages wait to be delivered, those that are not synced yet among them."""
        cursor = self.cursor
        return self.stream.next_offset - cursor.settled - cursor.done.count - len(cursor.unsettled)

    def is_drained(self) -> bool:
        """Whether no message that can be seen waits."""
        cursor = self.cursor
        offset = cursor.next
        return offset >= self.stream.end and cursor.settled + cursor.done.count + len(cursor.unsettled) == offset

    def head(self) -> Stored | None:
        """Return the message that is delivered next, None when none that can be seen waits.

        Raises `CorruptionError` where it cannot be read.
        """
        cursor = self.cursor
        offset = cursor.next
        if cursor.settled == offset:
            if offset >= self.stream.end:
                return None
        else:
            found = cursor.peek(self.stream.end)
            if found is None:
                return None
            if found < offset:
                return self.read(found if self.return_order is None else self._first_returned(found))
        buffer = self.buffer
        while buffer:
            first = buffer[0]
            if first[0] == offset:
                return first
            if first[0] > offset:
                buffer.clear()
                break
            buffer.popleft()
        return self._fill(offset)

    def _first_returned(self, lowest: int) -> int:
        """Return what came back first; what came back before the store was opened goes before all."""
        order, returned = self.return_order, self.cursor.returned
        while order and order[0] not in returned:
            order.popleft()  # it was settled without being taken
        if not order or returned.count > len(order):
            return lowest
        return order[0]

    def _returned_in_order(self) -> list[int]:
        """Return all that is returned in the order of delivery: before the store was opened, then as it came back."""
        order = dict.fromkeys(offset for offset in self.return_order or () if offset in self.cursor.returned)
        before = [
            offset
            for first, end in self.cursor.returned
            for offset in range(first, end)
            if offset not in order and offset < self.stream.end
        ]
        return [*before, *order]

    def _fill(self, offset: int) -> Stored | None:
        """Read the frame that holds `offset` into the empty buffer."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self.stream.reader(offset)
        elif reader.offset != offset:
            reader.seek(offset)
        frame = self._next_frame(reader)
        if frame is None:
            return None
        found = deque(messages_of(frame, offset))
        # A new one: a publisher may be adding to the old one at this moment.
        self.buffer = found
        self.buffered = frame.next_offset
        if not found or found[0][0] != offset:
            # Rewriting removes what is settled, and nothing is settled at or beyond `next`.
            raise missing_offset(self.stream, offset)
        return found[0]

    def _next_frame(self, reader: Reader) -> Frame | None:
        try:
            return reader.read()
        except OSError as error:
            if isinstance(error, MsglogError):
                raise
            what = f"cannot read messages of {self.stream.slug!r}: {error}"
            raise StoreFailedError(what, path=error.filename, outcome="not_applied") from error

    def read(self, offset: int) -> Stored:
        """Return one message, wherever it is; neighbours are found in the frame that was read last."""
        frame = self._frame
        if frame is None or not frame.base_offset <= offset < frame.next_offset:
            reader = self._returned_reader
            if reader is None:
                reader = self._returned_reader = self.stream.reader(offset)
            reader.seek(offset)
            frame = self._frame = self._next_frame(reader)
        if frame is None or offset not in frame.offsets:
            raise missing_offset(self.stream, offset)
        place = frame.offsets.index(offset)
        stamps, keys = frame.timestamps, frame.keys
        return Stored(
            offset,
            stamps if isinstance(stamps, int) else stamps[place],
            (keys[place] if keys is not None else None) or b"",
            frame.values[place] or b"",
        )

    def take(self, offset: int, holder: Holder, size: int) -> None:
        """Hand out the message that `head` returned, `size` bytes long."""
        self.leave(offset, size)
        if self.return_order and self.return_order[0] == offset:
            self.return_order.popleft()
        self.cursor.take(offset, holder)
        holder.unsettled += 1

    def leave(self, offset: int, size: int) -> None:
        """Keep the count of bytes when the head is taken or dropped."""
        if self._before is not None:
            if offset == self.cursor.next:
                self._before += size
            else:
                self.returned_bytes -= size

    def give_back(self, offset: int, size: int) -> None:
        """Return a message that is in somebody's hand to its place."""
        holder = self.cursor.unsettled.get(offset)
        if holder is None:
            return
        try:
            self.cursor.give_back(offset)
            holder.unsettled -= 1
            if self.return_order is not None:
                self.return_order.append(offset)
            if self._before is not None:
                self.returned_bytes += size
        except BaseException:  # an interrupt: what may be wrong now is found out anew
            self.cursor.look_again()
            holder.miscounted = True
            self._before = None
            raise

    def appended(self, stored: tuple[int, int, bytes, bytes]) -> None:
        """Keep what was just published, and is next to be read ahead, for a consumer that has come to it.

        Called without a lock: at worst the buffer gets a message twice, or out of order. Who takes from it looks at the
        offset, and reads the stream where it is not the right one.
        """
        if len(self.buffer) < KEPT_MESSAGES and len(stored[3]) <= KEPT_BYTES:
            self.buffer.append(_new_stored(Stored, stored))
            self.buffered = stored[0] + 1

    def forget_buffer(self) -> None:
        """Drop what was read ahead, and counts that may be wrong now."""
        self.buffer.clear()
        self.buffered = self.cursor.next
        self._frame = None
        self._before = None

    def forget_bytes(self) -> None:
        """Drop the count of bytes: it is not kept while nobody asks."""
        self._before = None

    @property
    def counts_bytes(self) -> bool:
        """Whether the bytes that wait are counted, so that asking reads nothing."""
        return self._before is not None

    def ready_bytes(self) -> int:
        """Return the bytes of the bodies that wait to be delivered. All messages can be seen when it counts anew."""
        if self._before is None:
            self._before = self._bytes_before(self.cursor.next)
            # Not from running totals: those of a rewritten segment still count what was taken out of it.
            self.returned_bytes = sum(
                len(stored.body)
                for first, end in self.cursor.returned
                for stored in read_range(self.stream, first, end)
            )
        return self.stream.value_bytes - self._before + self.returned_bytes

    def _bytes_before(self, offset: int) -> int:
        if offset >= self.stream.end:
            return self.stream.value_bytes
        frame = self.stream.reader(offset).read()
        if frame is None:
            return self.stream.value_bytes
        return frame.value_total + sum(
            len(value or b"") for at, value in zip(frame.offsets, frame.values, strict=True) if at < offset
        )

    def waiting_ranges(self) -> list[tuple[int, int]]:
        """Return the offsets of what waits to be delivered, as ranges in the order of delivery."""
        end = self.stream.end
        cursor = self.cursor
        if self.return_order is None:
            returned = [(first, min(stop, end)) for first, stop in cursor.returned]
        else:
            returned = [(offset, offset + 1) for offset in self._returned_in_order()]
        return [*returned, (cursor.next, end)]

    def waiting(self) -> Iterator[Stored]:
        """Yield what waits to be delivered, in order, without taking it."""
        end = self.stream.end
        cursor = self.cursor
        if self.return_order is None:
            for first, stop in list(cursor.returned):
                yield from read_range(self.stream, first, min(stop, end))
        else:
            for offset in self._returned_in_order():
                yield self.read(offset)
        yield from read_range(self.stream, cursor.next, end)

    def __repr__(self) -> str:
        return f"<Lane {self.priority} of {self.stream.slug!r} ready={self.ready()}>"


def messages_of(frame: Frame, offset: int) -> Iterator[Stored]:
    """Return the messages of a frame from `offset` on."""
    stamps = frame.timestamps
    columns = zip(
        frame.offsets,
        repeat(stamps) if isinstance(stamps, int) else stamps,
        frame.keys or repeat(b""),
        frame.values,
        strict=False,  # the repeats have no end
    )
    skipped = 0
    if frame.base_offset < offset:
        skipped = sum(1 for at in frame.offsets if at < offset)
    # Made without a step of Python for each: reading ahead costs less than handing out.
    return islice(map(_new_stored, repeat(Stored), columns), skipped, None)


def missing_offset(stream: Stream, offset: int) -> CorruptionError:
    """Return the error for a message that must be there: nothing is removed before it is settled."""
    segment = stream.segment_for(offset)
    path = stream.slug if segment is None else segment.path
    return CorruptionError(
        f"{path}: there is no message at offset {offset}",
        path=path,
        position=0,
        first_offset=offset,
        next_offset=offset + 1,
    )


def read_range(stream: Stream, first: int, end: int) -> Iterator[Stored]:
    """Yield the messages of `[first, end)` that are there."""
    if first >= end:
        return
    reader = stream.reader(first)
    while reader.offset < end and (frame := reader.read()) is not None:
        for stored in messages_of(frame, first):
            if stored.offset >= end:
                return
            yield stored
