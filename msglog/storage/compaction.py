"""Rewriting sealed segments without the records that did not survive.

The new segment is written beside the old ones and synced; a commit switches over; the old files go after the next
durable checkpoint. Records keep their offsets: a frame's base offset and span stay, and what is left is told by its
offset column. A crash at any point leaves either the old segments or the new one in force. Called by
`Engine.rewrite`, without the lock.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from msglog.errors import MsglogError
from msglog.storage.codecs import CODEC_NAMES
from msglog.storage.frame import HEADER_SIZE, Body, Frame, encode_body, header_of
from msglog.storage.layout import SEGMENTS
from msglog.storage.segment import FILE_HEADER_SIZE, Segment, SegmentFacts
from msglog.storage.state import STORAGE
from msglog.storage.stream import Stream

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

Survivors = Callable[[Frame], Sequence[int]]


def rewrite_segments(
    engine: "Engine", stream: Stream, segments: Sequence[SegmentFacts], survivors: Survivors
) -> tuple[int, int]:
    """Rewrite consecutive sealed segments into one; return (records removed, bytes freed)."""
    wanted = {facts.file_id for facts in segments}
    old = [segment for segment in stream.parts if segment.file_id in wanted and segment.sealed]
    if not old or len(old) != len(wanted):
        return 0, 0
    if engine.filesystem.durable and not all(segment.durable_sealed for segment in old):
        # Only what a durable checkpoint lists as sealed is rewritten: so recovery never has to choose between an old
        # and a new file, and what is replaced is never a stream's last segment.
        engine.checkpoint()
    bodies, removed = _surviving_bodies(stream, old, survivors)
    if not removed and len(old) == 1:
        return 0, 0
    with engine.lock:
        engine.begin()
        needed = FILE_HEADER_SIZE + sum(body.size for body, _, _ in bodies)
        new = engine.make_segment(stream, old[0].base_offset, old[0].header.value_total, needed)
        new.syncing = True
    try:
        _fill(engine, new, old, bodies)
        _sync(engine, new)
        number = _switch_over(engine, stream, old, new)
    except BaseException:
        with engine.lock:
            new.syncing = False
            if not isinstance(engine.obstacle, MsglogError):
                engine.clear_obstacle()  # an interrupted switch is a switch
                if all(segment.file_id != new.file_id for segment in stream.parts):
                    engine.discard_segment(new)
        raise
    engine.wait(number)
    return removed, sum(segment.position for segment in old) - new.position


def _surviving_bodies(
    stream: Stream, old: list[Segment], survivors: Survivors
) -> tuple[list[tuple[Body, int, Frame]], int]:
    reader = stream.reader(old[0].base_offset)
    end = old[-1].end_offset
    kept: list[tuple[Body, int, Frame]] = []
    removed = 0
    while reader.offset < end and (frame := reader.read()) is not None and frame.base_offset < end:
        indexes = survivors(frame)
        removed += frame.count - len(indexes)
        if indexes:
            kept.append((_body_of(frame, indexes), frame.base_offset, frame))
    return kept, removed


def _body_of(frame: Frame, indexes: Sequence[int]) -> Body:
    stamps = frame.timestamps
    codec = CODEC_NAMES.get(frame.codec)
    chosen = [stamps] * len(indexes) if isinstance(stamps, int) else [stamps[index] for index in indexes]
    return encode_body(
        [frame.values[index] for index in indexes],
        chosen[0],
        keys=None if frame.keys is None else [frame.keys[index] for index in indexes],
        headers=None if frame.headers is None else [frame.headers[index] for index in indexes],
        timestamps=None if isinstance(stamps, int) else chosen,
        offsets=[frame.offsets[index] - frame.base_offset for index in indexes],
        span=frame.next_offset - frame.base_offset,
        append_time=frame.append_time,
        codec=codec,
    )


def _fill(engine: "Engine", new: Segment, old: list[Segment], bodies: list[tuple[Body, int, Frame]]) -> None:
    if new.file is None:
        raise AssertionError("a new segment is open")
    for body, base_offset, frame in bodies:
        # Life 0: a rewritten frame is vouched for by the switch, never found by walking.
        header = header_of(body, new.crc_seed, base_offset, frame.commit, 0, 1, frame.value_total)
        end = new.position + HEADER_SIZE + len(body.data)
        new.file.write(new.position, header + body.data)
        start = new.position
        new.note_frame(base_offset + body.span, end, body.timestamp_ms, body.max_timestamp_ms)
        new.note_stored(base_offset, start, end, body.max_timestamp_ms)
    new.end_offset = old[-1].end_offset
    new.value_total = old[-1].value_total
    new.sealed = True
    new.save_index(engine.filesystem)


def _sync(engine: "Engine", new: Segment) -> None:
    if new.file is not None and engine.filesystem.durable:
        try:
            new.file.sync()
            engine.filesystem.sync_directory(engine.path(SEGMENTS))
        except OSError as error:
            raise engine.stop_writing("a sync failed", error) from error
    new.synced_position = new.stored_position


def _switch_over(engine: "Engine", stream: Stream, old: list[Segment], new: Segment) -> int:
    with engine.lock:
        new.syncing = False
        commit = engine.begin()
        event = ["replace", stream.id, [segment.file_id for segment in old], new.packed_facts()]
        commit.record(STORAGE, event)
        number = commit.write()
        engine.cache.forget(new)
        return number
