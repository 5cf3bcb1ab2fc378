"""Rows of frames: the batches as they lie on disk. Imported by the command `dump`."""

from collections.abc import Iterator
from typing import Any, cast

from msglog.cli.rows.selecting import Selection
from msglog.log import Log
from msglog.log.model import LogModel
from msglog.storage.codecs import CODEC_NAMES


def frame_rows(log: Log, topic: str, selection: Selection) -> Iterator[dict[str, Any]]:
    """Yield a row for each frame that has a record of the selection's offsets and times."""
    model = cast(LogModel, log.store.core.engine.models[LogModel.section])
    for partition in selection.partitions(log, topic):
        first = selection.first_offset(log, topic, partition)
        stream = model.topic(topic).partition(partition)
        reader = stream.reader(first)
        end = stream.end
        while reader.offset < end and (frame := reader.read()) is not None:
            if selection.stop is not None and frame.base_offset >= selection.stop:
                break
            stamps = [frame.timestamps] if isinstance(frame.timestamps, int) else frame.timestamps
            if selection.before_ms is not None and min(stamps) >= selection.before_ms:
                continue
            yield {
                "topic": topic,
                "partition": partition,
                "base_offset": frame.base_offset,
                "next_offset": frame.next_offset,
                "records": frame.count,
                "value_bytes": sum(len(value or b"") for value in frame.values),
                "compression": CODEC_NAMES.get(frame.codec),
                "commit": frame.commit,
                "min_timestamp_ms": min(stamps),
                "max_timestamp_ms": frame.max_timestamp_ms,
            }
