"""Checks that kill mutants by damage: whatever was damaged is told by a `CorruptionError`, or it changes nothing."""

import struct
from collections.abc import Callable, Mapping
from typing import Any
from unittest import mock

import crc32c

from msglog.errors import CorruptionError
from msglog.storage import Engine, Options, encode_body
from msglog.storage.checkpoint import MAGIC, Checkpoint, unpack_file
from msglog.storage.frame import HEADER as HEADER_STRUCT
from msglog.storage.journal import AREA_HEADER, AREA_HEADER_SIZE, Create, PlacedFrame, pack_entry
from msglog.storage.segment import FILE_HEADER_SIZE, SegmentHeader, seed_of
from msglog.storage.walk import TailWalk
from support.crash_images import crash_images
from support.disk import Disk, Image
from support.faulty_filesystem import FaultyFileSystem
from support.history import read_entries, read_state
from support.session import Script, open_engine, small_limits

HEADER = 72


def _closed(sync: Any = "commit") -> Script:
    """Return a closed store with a snapshot, several segments, single records and batches."""
    script = Script(sync, segment_bytes=500)
    script.open()
    script.commit(("create", "a"), ("create", "b"), ("event",))
    for _ in range(3):
        script.commit(("append", "a", 20, 30, 40), ("append", "b", 10), ("event",))
    script.append("a", 20)
    script.append("a", 21)
    script.append("b", 20)
    script.close()
    return script


def _killed(sync: Any, *, work: Callable[[Script], None]) -> tuple[Script, Image]:
    """Return a store whose last work is in no checkpoint, as the page cache shows it; drafts are not there."""
    script = Script(sync, segment_bytes=500)
    script.open()
    script.commit(("create", "a"), ("event",))
    script.append("a", 200)
    script.close()
    script.open()
    work(script)
    image = script.filesystem.kill().disk.image()
    return script, Image(image.directories, {p: d for p, d in image.files.items() if "draft" not in p})


def changed(image: Image, files: Mapping[str, bytes | None]) -> Image:
    found = {**image.files, **files}
    return Image(image.directories, {path: data for path, data in found.items() if data is not None})


def flipped(image: Image, path: str, position: int, mask: int = 0x40) -> Image:
    data = bytearray(image.files[path])
    data[position] ^= mask
    return changed(image, {path: bytes(data)})


def path_of(image: Image, part: str) -> str:
    return next(path for path in sorted(image.files) if part in path and not path.endswith(".index"))


def opened(image: Image, sync: Any = "commit", *, readonly: bool = False) -> Engine:
    filesystem = FaultyFileSystem(Disk(image, recording=False))
    return open_engine(filesystem, Options(sync=sync, segment_bytes=500, readonly=readonly))


def refused(image: Image, path: str, what: str = "", sync: Any = "commit", *, readonly: bool = False) -> None:
    """Opening must raise `CorruptionError` that names the file."""
    try:
        opened(image, sync, readonly=readonly)
    except CorruptionError as error:
        if error.path != path or what not in str(error):
            raise AssertionError(f"{error} instead of one about {path}: {what}") from error
        return
    raise AssertionError(f"nobody noticed: {path}: {what}")


def unreadable(image: Image, path: str, slug: str, what: str, sync: Any = "commit") -> None:
    """Reading the stream must raise `CorruptionError` that names the file."""
    engine = opened(image, sync)
    stream = next(stream for stream in engine.streams.values() if stream.slug == slug)
    try:
        list(read_entries(stream))
    except CorruptionError as error:
        if error.path != path or what not in str(error):
            raise AssertionError(f"{error} instead of one about {path}: {what}") from error
        return
    raise AssertionError(f"nobody noticed: {path}: {what}")


def _same_or_refused(image: Image, script: Script, sync: Any = "commit") -> None:
    """The store shows what it held, or `CorruptionError`."""
    try:
        found = read_state(opened(image, sync))
    except CorruptionError:
        return
    if found != script.history.latest:
        raise AssertionError("damage changed what a store shows")


def _same(image: Image, script: Script, sync: Any = "commit") -> None:
    if read_state(opened(image, sync)) != script.history.latest:
        raise AssertionError("an undamaged store shows something else")


def snapshots() -> None:
    """The snapshot of the state: every byte, and the file itself."""
    with small_limits():
        script = _closed()
        image = script.filesystem.disk.image()
        _same(image, script)
        path = path_of(image, "/state-")
        for position in range(len(image.files[path])):
            refused(flipped(image, path, position), path, "damaged")
        refused(changed(image, {path: None}), path, "missing")


def checkpoints() -> None:
    """The checkpoints: every byte of the newest, both, and the newest damaged where the last close was not the end."""
    with small_limits():
        script = _closed()
        image = script.filesystem.disk.image()
        _same(image, script)
        names = ("/store/checkpoint-0", "/store/checkpoint-1")
        for path in names:
            for position in range(len(image.files[path].rstrip(b"\0"))):
                _same_or_refused(flipped(image, path, position), script)
        refused(changed(image, dict.fromkeys(names)), names[0], "no valid checkpoint")
        refused(changed(image, dict.fromkeys(names, b"damaged")), names[0], "no valid checkpoint")
        kept = {p: d for p, d in image.files.items() if "segments" not in p and "checkpoint" not in p}
        refused(Image(image.directories, kept), names[0], "no valid checkpoint")


def lives_without_a_checkpoint() -> None:
    """The checkpoint that begins a life is damaged: what that life wrote is missed, not forgotten."""
    with small_limits():
        for sync, size, what in (
            ("commit", 20, "an entry of life 2"),
            ("interval", 20, "a frame of life 2"),
            ("interval", 400, "a segment of life 2"),
        ):
            script, image = _killed(sync, work=_append(size))
            newest = max(
                (path for path in image.files if "/checkpoint-" in path),
                key=lambda path: unpack_file(MAGIC, image.files[path], path)[0],  # type: ignore[index]
            )
            try:
                opened(flipped(image, newest, 40), sync)
            except CorruptionError as error:
                if what in str(error):
                    continue
                raise
            raise AssertionError(f"nobody noticed, of {script.sync}: {what}")


def _append(size: int) -> Callable[[Script], None]:
    return lambda script: script.append("a", size)


def listed_files() -> None:
    """Files that the checkpoint lists: missing, short, of another store, changed while they are open."""
    with small_limits():
        script = _closed()
        image = script.filesystem.disk.image()
        path = path_of(image, "/segments/1-a")
        refused(changed(image, {path: None}), path, "is missing")
        refused(changed(image, {path: image.files[path][:100]}), path, "ends at 100")
        unreadable(flipped(image, path, 17), path, "a", "the header of the segment is damaged")
        unreadable(flipped(image, path, 57), path, "a", "the header of the segment is damaged")
        other = _closed().filesystem.disk.image().files[path]
        unreadable(changed(image, {path: other}), path, "a", "not the one listed")
        for change, what in ((lambda disk: disk.names.pop(path), "missing"), (_shorten(path), "ends at 100")):
            filesystem = FaultyFileSystem(Disk(image, recording=False))
            engine = open_engine(filesystem, Options(segment_bytes=500))
            change(filesystem.disk)
            try:
                list(read_entries(engine.streams[1]))
            except CorruptionError as error:
                if what not in str(error):
                    raise AssertionError(f"{error} instead of: {what}") from error
            else:
                raise AssertionError(f"nobody noticed: {what}")


def _shorten(path: str) -> Callable[[Disk], object]:
    def change(disk: Disk) -> None:
        inode = disk.names[path]
        inode._contents = bytes(inode._contents[:100])

    return change


def frames() -> None:
    """Frames below the durable end: every byte of batches and of single records, and frames of other places."""
    with small_limits():
        script = _closed()
        image = script.filesystem.disk.image()
        for slug in ("a", "b"):
            for path in sorted(image.files):
                if f"-{slug}." not in path or path.endswith(".index"):
                    continue
                end = len(image.files[path].rstrip(b"\0v")) + 1
                for position in range(FILE_HEADER_SIZE, end, 3):
                    _same_or_damaged(flipped(image, path, position), script, path, slug)


def _same_or_damaged(image: Image, script: Script, path: str, slug: str) -> None:
    engine = opened(image)
    stream = next(stream for stream in engine.streams.values() if stream.slug == slug)
    expected = script.history.latest.streams[stream.id].entries
    found = []
    try:
        for entry in read_entries(stream):
            found.append(entry)  # noqa: PERF402 what was read before the error counts
    except CorruptionError as error:
        if error.path != path:
            raise AssertionError(f"{error} instead of one about {path}") from error
        if tuple(found) != expected[: len(found)]:
            raise AssertionError(f"{path}: damaged records were handed out") from error
        return
    if tuple(found) != expected:
        raise AssertionError(f"{path}: damage changed what is read")


def headers_of_frames() -> None:
    """What a reader says about each kind of damage."""
    with small_limits():
        script = _closed()
        image = script.filesystem.disk.image()
        path = path_of(image, "/segments/1-a")
        frame = FILE_HEADER_SIZE
        unreadable(flipped(image, path, frame + 4), path, "a", "there is no frame")
        unreadable(flipped(image, path, frame + HEADER + 1), path, "a", "the checksum does not match")
        last = max(p for p in image.files if "-b." in p and not p.endswith(".index"))
        _forged_ends(script, image, last)


def _forged_ends(script: Script, image: Image, path: str) -> None:
    """The end of a stream in the middle of a frame's header; a whole frame with an offset of another place."""
    files = dict(image.files)
    for name in ("/store/checkpoint-0", "/store/checkpoint-1"):
        read = unpack_file(MAGIC, files[name], name)
        if read is None:
            raise AssertionError("a closed store has two checkpoints")
        checkpoint = Checkpoint.unpack(*read)
        checkpoint.streams[2][-1][3] -= 90
        files[name] = checkpoint.pack()
    unreadable(Image(image.directories, files), path, "b", "header reaches beyond")
    path = sorted(p for p in image.files if "-a." in p and not p.endswith(".index"))[1]
    header = SegmentHeader.unpack(image.files[path][:FILE_HEADER_SIZE], path)
    found = list(HEADER_STRUCT.unpack_from(image.files[path], FILE_HEADER_SIZE))
    end = FILE_HEADER_SIZE + HEADER + found[2]
    found[5] = header.base_offset - 1
    found[3:5] = [found[3], found[4] + 1]
    packed = HEADER_STRUCT.pack(*found)[4:] + image.files[path][FILE_HEADER_SIZE + HEADER : end]
    frame = struct.pack("<I", crc32c.crc32c(packed, seed_of(header.seed))) + packed
    data = image.files[path]
    forged = changed(image, {path: data[:FILE_HEADER_SIZE] + frame + data[end:]})
    unreadable(forged, path, "a", "does not belong here")
    del script


def journal_entries() -> None:
    """Journals of a store whose last work is nowhere else: every third byte, and the header."""

    def work(script: Script) -> None:
        for _ in range(4):
            script.append("a", 30)

    with small_limits(JOURNAL_FIRST_BYTES=1 << 14):
        script, _ = _killed("commit", work=work)
        disk = script.filesystem.disk
        images = crash_images(disk.start, disk.operations, seed=1, first=len(disk.operations))
        image = next(image for image in images if image.label == "nothing").build()
        if read_state(opened(image)) != script.history.latest:
            raise AssertionError("the journal does not hold what was synced")
        path = next(path for path in image.files if "/journal-" in path and len(image.files[path].strip(b"\0")) > 200)
        end = len(image.files[path].rstrip(b"\0v"))
        for position in range(AREA_HEADER_SIZE):
            refused(flipped(image, path, position), path, "header of the journal")
        before_last = end - 150
        for position in range(AREA_HEADER_SIZE, before_last, 3):
            _same_or_refused(flipped(image, path, position), script)
        _forged_entries(script, image, path, end)


def _forged_entries(script: Script, image: Image, path: str, end: int) -> None:
    """Entries whose checksum fits: for a file that is no segment's, and for one that is not there."""
    seed = seed_of(AREA_HEADER.unpack_from(image.files[path])[5])
    life, commit = 2, script.history.last + 1
    header = SegmentHeader(life, 99, 1, 1, 0, 0).pack()
    frame = PlacedFrame(99, 64, bytes(HEADER), b"body")
    place = -(-(end + 40) // 8) * 8
    noticed: set[str] = set()
    for number in range(commit - 1, commit + 3):
        for creates, what in (([Create("../x", header)], "not the name"), ([], "belongs into segment 99")):
            data = bytearray(image.files[path])
            entry = pack_entry(seed, life, number, 0, [frame], creates)
            data[place : place + len(entry)] = entry
            try:
                opened(changed(image, {path: bytes(data)}))
            except CorruptionError as error:
                if what in str(error):
                    noticed.add(what)
    if len(noticed) != 2:
        raise AssertionError(f"of forged entries only these were noticed: {noticed}")


def unlisted_headers() -> None:
    """The header of a file that no checkpoint lists yet: damaged, the file is as good as lost, never another one."""

    def rolling(script: Script) -> None:
        for _ in range(3):
            script.append("a", 300)

    with small_limits(DRAFT_COMMITS=1000):
        script, image = _killed("interval", work=rolling)
        path = max(path for path in image.files if "/segments/1-a" in path and not path.endswith(".index"))
        for position in range(FILE_HEADER_SIZE):
            found = read_state(opened(flipped(image, path, position), "interval"))
            script.history.check(found, script.moment)


def indexes() -> None:
    """An index: each byte of it flipped, reading by offset and by time finds the same."""
    with small_limits(INDEX_INTERVAL=200):
        script = Script("commit", segment_bytes=100_000)
        script.open()
        script.commit(("create", "a"))
        for _ in range(12):
            script.clock.advance(ms=1000)
            script.commit(("append", "a", 100, 20))
        script.close()
        image = script.filesystem.disk.image()
        (path,) = [path for path in image.files if path.endswith(".index") and "1-a" in path]
        entries = script.history.latest.streams[1].entries
        if len(image.files[path]) < 5 * 24:
            raise AssertionError("the index has hardly any entries")
        for position in range(len(image.files[path])):
            stream = opened(flipped(image, path, position)).streams[1]
            for entry in entries[::5]:
                at = stream.offset_at(entry.timestamp_ms)
                wanted = next(one.offset for one in entries if one.timestamp_ms >= entry.timestamp_ms)
                if at != wanted:
                    raise AssertionError(f"byte {position}: offset {at} at the time of offset {wanted}")
                frame = stream.reader(entry.offset).read()
                if frame is None or not frame.base_offset <= entry.offset < frame.next_offset:
                    raise AssertionError(f"byte {position}: offset {entry.offset} is not found")


def drafts_are_believed() -> None:
    """After the death of a process recovery begins behind the draft, whether segments were open for it or not."""
    with small_limits(DRAFT_COMMITS=4, _MOST_OPEN=4, _FEWEST_OPEN=4):
        script = Script("interval", segment_bytes=100_000)
        script.open()
        script.commit(*[("create", name) for name in "abcdefgh"])
        script.flush()
        for _ in range(3):
            for name in "abcdefgh":
                script.append(name, 20)
        filesystem = script.filesystem.kill()
        _begins_behind_the_draft(filesystem.disk.image(), [3] * 8)
        engine = open_engine(filesystem, Options(sync="interval", segment_bytes=100_000))
        for _ in range(5):
            with engine.lock:
                commit = engine.begin()
                commit.append(engine.streams[1], encode_body([b"more"], 0))
                commit.write()
                engine.write_draft()
        _begins_behind_the_draft(filesystem.kill().disk.image(), [8, *[3] * 7])


def _begins_behind_the_draft(image: Image, ends: list[int]) -> None:
    filesystem = FaultyFileSystem(Disk(image, recording=False))
    with mock.patch.object(TailWalk, "_frame_at", autospec=True, side_effect=TailWalk._frame_at) as looked_at:
        engine = open_engine(filesystem, Options(sync="interval"))
    if [engine.streams[stream].end for stream in range(1, 9)] != ends:
        raise AssertionError("the store shows something else")
    if looked_at.call_count > 20:
        raise AssertionError(f"recovery looked at {looked_at.call_count} places behind a draft")


class _Cursor:
    """A cursor as far as the engine knows it."""

    id = 1
    next = 5

    def settle(self, first: int, end: int, next_offset: int = 0) -> None:
        """Nothing is kept."""


def written_by_hand() -> None:
    """Frames that are not made by `header_of`: single appends, small commits, copies, settlements."""
    for sync in ("interval", "commit"):
        script = Script(sync, segment_bytes=1 << 20)
        script.open()
        script.commit(("create", "a"), ("create", "b"))
        a, b = script.stream("a"), script.stream("b")
        engine = script.engine
        for stream in (a, b, a, b):
            engine.append(stream, b"value", 0)
        for _ in range(2):
            engine.writer.append_all([(a, b"one", None), (b, b"two", b"key")], 1)
            engine.writer.append_copies([a, b], b"three", b"key", 1)
        settled = engine.streams[0].end
        if sync == "interval":
            for _ in range(2):
                engine.writer.append_settle(_Cursor(), 0, 1, 1)
        engine.flush()
        for stream, offset in ((a, 0), (b, 0), (engine.streams[0], settled)):
            reader = stream.reader(offset)
            while reader.read() is not None:
                pass
            if reader.offset != stream.end:
                raise AssertionError(f"{stream} was read up to {reader.offset}")


KILLERS: dict[str, Callable[[], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        snapshots,
        checkpoints,
        lives_without_a_checkpoint,
        listed_files,
        frames,
        headers_of_frames,
        journal_entries,
        unlisted_headers,
        indexes,
        drafts_are_believed,
        written_by_hand,
    )
}
