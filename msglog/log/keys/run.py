"""A run: the rows of consecutive offsets of one stream, sorted, immutable, in a file or in memory.

    position  size         field
    0         24 x rows    the rows, in blocks of 512
    -         8 x blocks   the first eight bytes of each block's first row, as a number, most significant first there
    -         4 x blocks   crc of each block
    end - 80  4            crc        of the two columns before and of what follows
              4            magic      0x594B4C4D ("MLKY")
              2            version    1
              6            reserved   0
              8            seed       random; its crc seeds the checksums of the blocks
              8            stream id
              8            first      offset: every record with a key from here on ...
              8            end        ... to before this offset has a row, but what was removed when the run was made
              8            commit     the last one that was published when the run was made
              8            rows
              8            file id of the segment that held the last of these offsets
              8            seed of that segment

Only the columns are held in memory: 12 bytes for 512 rows. A search bisects them and reads the block in which the key
must be. No byte of a block is believed before its checksum matches, and no length before it fits the file. A run in
memory is the same bytes. Imported by `files` and `index`.
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from msglog.checksum import crc32c
from msglog.log.rules.key_rows import ROW_BYTES, RunSpan, offsets_in, split_rows

BLOCK_ROWS: Final = 512
_BLOCK_BYTES: Final = BLOCK_ROWS * ROW_BYTES
_COLUMNS_BYTES: Final = 12
_WRITTEN_BLOCKS: Final = 32
_MAGIC: Final = 0x594B4C4D
_VERSION: Final = 1
_TRAILER: Final = struct.Struct("<IIHHIQQQQQQQQ")

Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], None]


class DamagedRunError(Exception):
    """A run cannot be read, or is not what it says; never leaves the index, which makes it anew."""

    def __init__(self, run: "Run | None", what: str) -> None:
        super().__init__(what)
        self.run = run


class Anchor(NamedTuple):
    """The segment that held a run's last record when it was made: what tells a stream from another store's."""

    file_id: int
    seed: int


class Run:
    """One run. `in_file` tells whether it may outlive the process."""

    __slots__ = ("_crc_seed", "_crcs", "_fences", "_read", "anchor", "in_file", "rows", "span")

    def __init__(
        self,
        span: RunSpan,
        rows: int,
        anchor: Anchor,
        seed: int,
        columns: "tuple[array[int], array[int]]",
        read: Read,
        *,
        in_file: bool,
    ) -> None:
        self.span = span
        self.rows = rows
        self.anchor = anchor
        self.in_file = in_file
        self._crc_seed = _seed_of(seed)
        self._fences, self._crcs = columns
        self._read = read

    def forwards(self, digest: bytes) -> Iterator[int]:
        """Yield the offsets of a key, rising. Raises `DamagedRunError`."""
        for block in self._blocks_of(digest):
            yield from offsets_in(self._block(block), digest)

    def backwards(self, digest: bytes) -> Iterator[int]:
        """Yield the offsets of a key, falling. Raises `DamagedRunError`."""
        for block in reversed(self._blocks_of(digest)):
            yield from reversed(offsets_in(self._block(block), digest))

    def all_rows(self) -> Iterator[bytes]:
        """Yield all rows in their order. Raises `DamagedRunError`."""
        for block in range(len(self._fences)):
            yield from split_rows(self._block(block))

    def _blocks_of(self, digest: bytes) -> range:
        """Return the blocks in which rows of a key may be."""
        head = int.from_bytes(digest[:8], "big")
        return range(max(0, bisect_left(self._fences, head) - 1), bisect_right(self._fences, head))

    def _block(self, block: int) -> bytes:
        position = block * _BLOCK_BYTES
        size = min(_BLOCK_BYTES, self.rows * ROW_BYTES - position)
        try:
            data = self._read(position, size)
        except OSError as error:
            raise DamagedRunError(self, str(error)) from error
        if len(data) != size or crc32c(data, self._crc_seed) != self._crcs[block]:
            raise DamagedRunError(self, f"block {block} is damaged")
        return data

    def __repr__(self) -> str:
        return f"<{self.span} with {self.rows} rows>"


def write_run(
    write: Write, read: Read, span: RunSpan, rows: Iterable[bytes], anchor: Anchor, seed: int, *, in_file: bool
) -> Run:
    """Write sorted rows and return their run. What tells that it is whole goes last."""
    fences, crcs = array("Q"), array("I")
    crc_seed = _seed_of(seed)
    count = position = 0
    source = iter(rows)
    pending: list[bytes] = []
    while block := b"".join(islice(source, BLOCK_ROWS)):
        fences.append(int.from_bytes(block[:8], "big"))
        crcs.append(crc32c(block, crc_seed))
        count += len(block) // ROW_BYTES
        pending.append(block)
        if len(pending) == _WRITTEN_BLOCKS:
            position = _write_all(write, position, pending)
    position = _write_all(write, position, pending)
    blocks = len(fences)
    columns = struct.pack(f"<{blocks}Q{blocks}I", *fences, *crcs)
    rest = _TRAILER.pack(0, _MAGIC, _VERSION, 0, 0, seed, *span, count, *anchor)[4:]
    write(position, columns + crc32c(rest, crc32c(columns)).to_bytes(4, "little") + rest)
    return Run(span, count, anchor, seed, (fences, crcs), read, in_file=in_file)


def _write_all(write: Write, position: int, pending: list[bytes]) -> int:
    """Write blocks at a position, forget them, and return the position behind them."""
    data = b"".join(pending)
    pending.clear()
    if data:
        write(position, data)
    return position + len(data)


def load_run(read: Read, size: int, span: RunSpan) -> Run:
    """Return the run in a file of `size` bytes, which must be the one that `span` tells.

    Raises `DamagedRunError` when it is not whole, or another one.
    """
    trailer = read(size - _TRAILER.size, _TRAILER.size) if size >= _TRAILER.size else b""
    if len(trailer) < _TRAILER.size:
        raise DamagedRunError(None, "it has no end")
    checksum, magic, version, _, _, seed, *found, count, file_id, segment_seed = _TRAILER.unpack(trailer)
    if magic != _MAGIC or version != _VERSION or RunSpan(*found) != span:
        raise DamagedRunError(None, "it is not the run that its name says")
    blocks = -(-count // BLOCK_ROWS)
    columns_size = blocks * _COLUMNS_BYTES
    if count > span.end - span.first or size != count * ROW_BYTES + columns_size + _TRAILER.size:
        raise DamagedRunError(None, f"{count} rows do not fit {size} bytes")
    columns = read(count * ROW_BYTES, columns_size)
    if len(columns) != columns_size or crc32c(trailer[4:], crc32c(columns)) != checksum:
        raise DamagedRunError(None, "the checksum does not match")
    fences = array("Q", struct.unpack_from(f"<{blocks}Q", columns))
    crcs = array("I", struct.unpack_from(f"<{blocks}I", columns, blocks * 8))
    return Run(span, count, Anchor(file_id, segment_seed), seed, (fences, crcs), read, in_file=True)


def _seed_of(seed: int) -> int:
    return crc32c(seed.to_bytes(8, "little"))
