"""Checks that kill mutants by forgery: what is wrong although its checksum fits."""

import struct
from collections.abc import Callable

import crc32c
import msgpack

from msglog.errors import CorruptionError
from msglog.storage import encode_body
from msglog.storage.checkpoint import MAGIC, Checkpoint, unpack_file
from msglog.storage.filesystem import MemoryFileSystem
from msglog.storage.frame import REST, Flag, FrameError, decode, kind_of
from msglog.storage.index import SparseIndex
from msglog.storage.published import PublishedPage
from msglog.storage.segment import FILE_HEADER_SIZE, SegmentHeader
from support.disk import Image
from support.fuzzing.forms import repair_segment, repair_snapshot
from support.mutation.damage_killers import HEADER, changed, flipped, opened, path_of, refused, unreadable
from support.session import Script, small_limits


def forged_headers() -> None:
    """A file of another kind with a checksum that fits, in the place of a segment."""
    data = bytearray(SegmentHeader(1, 2, 3, 4, 5, 6).pack())
    data[4:8] = b"MLXX"
    checksum = struct.pack("<I", crc32c.crc32c(bytes(data[4:])))
    for found, what in ((checksum + data[4:], "not a segment"), (bytes(data), "damaged"), (b"", "damaged")):
        try:
            SegmentHeader.unpack(bytes(found), "somewhere")
        except CorruptionError as error:
            if what in str(error):
                continue
            raise
        raise AssertionError(f"nobody noticed: {what}")


def forged_frames() -> None:
    """Frames whose checksum fits and whose columns do not."""
    plain = encode_body([b"a", b"bcd"], 1).data
    keyed = Flag.KEYS | Flag.UNIFORM

    def raw(flags: int, body: bytes, count: int, codec: int = 0) -> bytes:
        return REST.pack(kind_of(flags, codec), len(body), count, count, 0, 0, 0, 1, 1, 1, 0) + body

    null = struct.pack("<I", 0xFFFFFFFF)
    cases = {
        "values end before the frame does": raw(0, plain + b"more", 2),
        "a length points beyond the frame": raw(keyed, struct.pack("<I", 100) + b"k", 1),
        "points beyond": raw(0, null + struct.pack("<I", 100) + b"k", 2),
        "values of one size": raw(Flag.UNIFORM, b"abc", 2),
        "claims 0 records": raw(Flag.UNIFORM, b"", 0),
        "claims 4294967295 records": raw(Flag.UNIFORM, b"", (1 << 32) - 1),
        "do not fit": raw(Flag.TIMESTAMPS | Flag.UNIFORM, b"abc", 2),
        "without its size": raw(Flag.UNIFORM, b"a", 1, 1),
        "claims 2147483648 bytes": raw(Flag.UNIFORM, struct.pack("<I", 1 << 31) + b"abc", 1, 1),
        "cannot be decompressed": raw(Flag.UNIFORM, struct.pack("<I", 3) + b"abc", 1, 1),
    }
    for what, data in cases.items():
        try:
            decode(data, "somewhere")
        except FrameError as error:
            if what in str(error):
                continue
            raise
        raise AssertionError(f"nobody noticed: {what}")


def damaged_columns() -> None:
    """Columns that do not fit, behind a checksum that does, are damage with a place."""
    script = Script("commit", segment_bytes=100_000)
    script.open()
    script.commit(("create", "a"))
    body = encode_body([b"ab", b"cde"], 0)
    body.data += b"more"
    engine = script.engine
    with engine.lock:
        commit = engine.begin()
        commit.append(script.stream("a"), body)
        number = commit.write()
    engine.wait(number)
    try:
        script.stream("a").reader(0).read()
    except CorruptionError as error:
        if error.next_offset == 2:
            return
        raise
    raise AssertionError("nobody noticed")


def sizes_of_compressed_frames() -> None:
    """A compressed frame that holds more or less than it says."""
    body = encode_body([b"abc" * 9], 1, codec="zlib").data
    for size in (26, 28):
        data = REST.pack(kind_of(Flag.UNIFORM, 1), len(body), 1, 1, 0, 0, 0, 1, 1, 1, 0)
        try:
            decode(data + struct.pack("<I", size) + body[4:], "somewhere")
        except FrameError as error:
            if "decompressed to" in str(error):
                continue
            raise
        raise AssertionError("a frame is not as large as it says")


def forged_frames_in_values() -> None:
    """A value that looks like a frame is none: reading goes on behind the damage, where the next frame begins."""
    with small_limits():
        script = Script("commit", segment_bytes=100_000)
        script.open()
        script.commit(("create", "a"))
        body = b"0123"
        lie = b"\0\0\0\0" + REST.pack(kind_of(Flag.UNIFORM), len(body), 1, 1, 77, 0, 0, 2, 2, 1, 0) + body
        stream = script.stream("a")
        engine = script.engine
        for value in (lie * 2, b"second", b"third"):
            engine.append(stream, value, 0)
        engine.close()
        image = script.filesystem.disk.image()
        path = path_of(image, "/segments/1-a")
        damaged = flipped(image, path, FILE_HEADER_SIZE + HEADER)
        reader = opened(damaged).streams[1].reader(0)
        try:
            reader.read()
        except CorruptionError as error:
            if error.next_offset != 1:
                raise AssertionError(f"the next offset is {error.next_offset}") from error
        else:
            raise AssertionError("nobody noticed")
        for start in (1, 2):
            frame = opened(damaged).streams[1].reader(start).read()
            if frame is None or frame.next_offset < start:
                raise AssertionError("what is behind the damage cannot be read")
        # The length of the first frame changed: the second one is where the first ended, whatever it says.
        longer = flipped(image, path, FILE_HEADER_SIZE + 12, 0x08)
        frame = opened(longer).streams[1].reader(1).read()
        if frame is None or frame.values[0] != b"second":
            raise AssertionError("the frame behind a damaged length is not found")


def frames_of_other_files() -> None:
    """A frame that fits into another file in every way but the file's seed is no frame there."""
    stores = [_with_one_record(value) for value in (b"one", b"two")]
    path = path_of(stores[0], "/segments/1-a")
    data = bytearray(stores[0].files[path])
    data[FILE_HEADER_SIZE:] = stores[1].files[path][FILE_HEADER_SIZE:]
    unreadable(changed(stores[0], {path: bytes(data)}), path, "a", "the checksum does not match")


def _with_one_record(value: bytes) -> Image:
    script = Script("commit")
    script.open()
    script.commit(("create", "a"))
    script.engine.append(script.stream("a"), value, 0)
    script.close()
    return script.filesystem.disk.image()


def starts_behind_ends() -> None:
    """A checkpoint that lists fewer segments of a stream than its start needs."""
    with small_limits():
        script = Script("commit", segment_bytes=500)
        script.open()
        script.commit(("create", "a"))
        for _ in range(3):
            script.append("a", 400)
        script.commit(("trim", "a", 2))
        script.close()
        image = script.filesystem.disk.image()
        files = dict(image.files)
        for name in ("/store/checkpoint-0", "/store/checkpoint-1"):
            read = unpack_file(MAGIC, files[name], name)
            if read is None:
                raise AssertionError("a closed store has two checkpoints")
            checkpoint = Checkpoint.unpack(*read)
            checkpoint.streams[1] = []
            files[name] = checkpoint.pack()
        refused(Image(image.directories, files), "/store/segments", "begins at offset")


def senseless_states() -> None:
    """A snapshot, and an event, that nobody can make anything of, behind checksums that fit."""
    with small_limits():
        script = Script("interval")
        script.open()
        script.commit(("create", "a"), ("event",))
        image = script.filesystem.disk.image()
        path = path_of(image, "/segments/0-state")
        for change, what in ((0x01, "columns of a frame"), (0x40, "event at offset 0 makes no sense")):
            data = bytearray(image.files[path])
            data[FILE_HEADER_SIZE + HEADER + (8 if change > 1 else 0)] ^= change  # a length, or the type of an event
            refused(changed(image, {path: repair_segment(bytes(data))}), path, what)
        script.close()
        image = script.filesystem.disk.image()
        path = path_of(image, "/state-")
        contents = repair_snapshot(bytes(4) + msgpack.packb({"storage": [[1]]}))
        refused(changed(image, {path: contents}), path, "the snapshot makes no sense")


def short_pages() -> None:
    """A published page that is no page."""
    filesystem = MemoryFileSystem()
    filesystem.open("page", create=True).write(0, b"short")
    try:
        PublishedPage.open(filesystem, "page", writable=False)
    except CorruptionError:
        return
    raise AssertionError("nobody noticed a short page")


def saved_indexes_are_believed() -> None:
    """What was saved of an index is what is read back: nothing has to be built anew."""
    index = SparseIndex()
    for place in range(9):
        index.add(place * 10, 100 + place * 50, place * 1000)
    data = index.entries_from(0, 7)
    found = SparseIndex.load(data, 7, 10_000)
    if list(found.places()) != list(index.places()) or found.last_timestamp() != index.last_timestamp():
        raise AssertionError("an index is not what was saved")


KILLERS: dict[str, Callable[[], None]] = {
    check.__name__.replace("_", " "): check
    for check in (
        forged_headers,
        forged_frames,
        damaged_columns,
        sizes_of_compressed_frames,
        forged_frames_in_values,
        frames_of_other_files,
        starts_behind_ends,
        senseless_states,
        short_pages,
        saved_indexes_are_believed,
    )
}
