"""Rows of frames: the batches of a topic as they lie on disk, from their headers. Imported by the command `dump`.

Readers take neighbouring small frames together; here each is told for itself.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from msglog.cli.rows.selecting import Selection
from msglog.errors import CorruptionError
from msglog.log import Log
from msglog.log.model import LogModel
from msglog.storage import Engine, Stream
from msglog.storage.codecs import CODEC_NAMES
from msglog.storage.frame import HEADER
from msglog.storage.segment import FILE_HEADER_SIZE, Segment


def frame_rows(log: Log, topic: str, selection: Selection) -> Iterator[dict[str, Any]]:
    """Yield a row for each frame that reaches into the selection's offsets and times.

    Every checksum is verified. Raises `CorruptionError` where there is no whole frame.
    """
    engine = log.store.core.engine
    model = cast(LogModel, engine.models[LogModel.section])
    for partition in selection.partitions(log, topic):
        first = selection.first_offset(log, topic, partition)
        stream = model.topic(topic).partition(partition)
        stop = stream.end if selection.stop is None else min(selection.stop, stream.end)
        for segment in tuple(stream.parts):
            if first >= stop or (segment.sealed and segment.end_offset <= first):
                continue
            for row in _rows_of(engine, stream, segment):
                if row["base_offset"] >= stop:
                    break
                if row["next_offset"] > first and _in_time(row, selection):
                    yield {"topic": topic, "partition": partition, **row}


def _rows_of(engine: Engine, stream: Stream, segment: Segment) -> Iterator[dict[str, Any]]:
    stored = segment.stored_position  # before the map: the file may grow meanwhile
    mapped = engine.cache.map(segment)
    position = FILE_HEADER_SIZE
    for base_offset, start, end, next_offset, max_timestamp_ms in segment.walk(mapped, position, stored):
        position = end
        _, kind, length, count, _, _, timestamp_ms, _, commit, life, frames, _ = HEADER.unpack_from(mapped, start)
        yield {
            "file": Path(segment.path).name,
            "position": start,
            "bytes": HEADER.size + length,
            "base_offset": base_offset,
            "next_offset": next_offset,
            "records": count,
            "compression": CODEC_NAMES.get(kind >> 24 & 0xFF),
            "timestamp_ms": timestamp_ms,
            "max_timestamp_ms": max_timestamp_ms,
            "commit": commit,
            "frames_in_commit": frames,
            "life": life,
        }
    if position < stored and segment in stream.parts:
        what = f"{segment.path}: there is no whole frame at position {position}; msglog verify tells more"
        raise CorruptionError(what, path=segment.path, position=position)


def _in_time(row: dict[str, Any], selection: Selection) -> bool:
    return (selection.since_ms is None or row["max_timestamp_ms"] >= selection.since_ms) and (
        selection.before_ms is None or row["timestamp_ms"] < selection.before_ms
    )
