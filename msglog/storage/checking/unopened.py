"""Checking the segments of a store that does not open: all that is known of them is in the directory itself.

What the newest checkpoint lists is compared with it. Of other files, and without a checkpoint, everything from the
header on is gone through: the frames must follow each other, and nothing valid may lie behind damage. Reads only.
Imported by `msglog.store`.
"""

from collections.abc import Iterator

from msglog.errors import CorruptionError, UnsupportedFormatError
from msglog.storage.checking.files import newest_checkpoint
from msglog.storage.checking.scan import Damage, FrameScan
from msglog.storage.checking.segments import SegmentCheck, SegmentView
from msglog.storage.checking.streams import Progress
from msglog.storage.filesystem import FileSystem
from msglog.storage.layout import SEGMENTS, in_segments, parse_segment_name
from msglog.storage.segment import FILE_HEADER_SIZE, SegmentHeader, seed_of, segment_from_facts
from msglog.types import Problem


def check_unopened(filesystem: FileSystem, directory: str, progress: Progress | None) -> Iterator[Problem]:
    """Yield what is wrong with the segments in a directory."""
    sizes: dict[str, int] = {
        name: size
        for name, size in filesystem.list(f"{directory}/{SEGMENTS}").items()
        if parse_segment_name(name) is not None
    }
    total, done = sum(sizes.values()), 0
    listed = _listed_views(filesystem, directory, sizes)
    for name, size in sorted(sizes.items()):
        view = listed.get(name)
        try:
            if view is not None:
                yield from SegmentCheck(filesystem, view, {}, lambda _count: None).run()
            else:
                yield from _check_unlisted(filesystem, in_segments(directory, name))
        except OSError as error:
            yield Problem("segment", in_segments(directory, name), 0, f"it cannot be read: {error}")
        done += size
        if progress is not None:
            progress(done, total)


def _listed_views(filesystem: FileSystem, directory: str, sizes: dict[str, int]) -> dict[str, SegmentView]:
    checkpoint = newest_checkpoint(filesystem, directory)
    names = {parsed[3]: (name, parsed) for name in sizes if (parsed := parse_segment_name(name)) is not None}
    views: dict[str, SegmentView] = {}
    for stream_id, parts in (checkpoint.streams if checkpoint is not None else {}).items():
        for facts in parts:
            if facts[0] in names:
                name, parsed = names[facts[0]]
                views[name] = SegmentView.of(segment_from_facts(directory, stream_id, parsed[1], facts))
    return views


def _check_unlisted(filesystem: FileSystem, path: str) -> Iterator[Problem]:
    file = filesystem.open(path, writable=False)
    try:
        header = SegmentHeader.unpack(file.read(0, FILE_HEADER_SIZE), path)
        damage: Damage | None = None
        for found in FrameScan(file, seed_of(header.seed), file.size()).frames(FILE_HEADER_SIZE):
            if isinstance(found, Damage):
                damage = found
            elif damage is not None:
                what = "there is no frame, or its checksum does not match"
                yield Problem("frame", path, damage.position, what, next_offset=found.base_offset)
                damage = None
    except CorruptionError:
        yield Problem("segment", path, 0, "the header of the segment is damaged")
    except UnsupportedFormatError as error:
        yield Problem("segment", path, 0, f"segment format {error.found}, which this version cannot read")
    finally:
        file.close()
