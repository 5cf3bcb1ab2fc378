"""Decoding a run of one-record frames as if they were one batch.

Single appends make frames of one record. Decoding each on its own costs several times what its record costs in a
batch, so the reader takes neighbours together: every checksum is verified, but columns are built once for the whole
run. Pure.
"""

import struct
from collections.abc import Callable

from msglog.checksum import crc32c
from msglog.storage.frame import CRC, HEADER_SIZE, KIND_KEYED, KIND_PLAIN, NULL, ONE_RECORD, Frame

HEADER_OF_ONE = struct.Struct("<IQIQQqqQQQ")
RUN_BYTES = 96 << 10
_unpack: Callable[[bytes, int], tuple[int, ...]] = HEADER_OF_ONE.unpack_from


def decode_run(data: bytes, crc_seed: int, base_offset: int, stop: int) -> tuple[Frame, int] | None:
    """Decode the one-record frames at the beginning of `data`, the first of which must have `base_offset`.

    It ends before offset `stop`, before a frame of another kind, and before the first that is damaged or cut off.
    Returns the records as one frame and the number of bytes taken, None when there is no run of at least two.
    """
    size = len(data)
    values: list[bytes | None] = []
    keys: list[bytes | None] = []
    stamps: list[int] = []
    keyed = False
    position = 0
    first: tuple[int, ...] | None = None
    offset = base_offset
    while position + HEADER_SIZE <= size and offset < stop:
        header = _unpack(data, position)
        crc, kind, length, one, base, stamp, _, _, _, _ = header
        end = position + HEADER_SIZE + length
        if one != ONE_RECORD or base != offset or end > size or crc32c(data[position + 4 : end], crc_seed) != crc:
            break
        if kind == KIND_PLAIN:
            keys.append(None)
            values.append(data[position + HEADER_SIZE : end])
        elif kind == KIND_KEYED and length >= CRC.size:
            start = position + HEADER_SIZE + 4
            (key_length,) = CRC.unpack_from(data, start - 4)
            if key_length == NULL or start + key_length > end:
                break
            keyed = True
            keys.append(data[start : start + key_length])
            values.append(data[start + key_length : end])
        else:
            break
        stamps.append(stamp)
        if first is None:
            first = header
        offset += 1
        position = end
    if first is None or offset < base_offset + 2:
        return None
    frame = Frame()
    frame.base_offset = base_offset
    frame.next_offset = offset
    frame.offsets = range(base_offset, offset)
    frame.count = offset - base_offset
    frame.commit = first[7]
    frame.value_total = first[9]
    frame.codec = 0
    frame.append_time = False
    frame.timestamps = stamps
    frame.max_timestamp_ms = max(stamps)
    frame.values = values
    frame.keys = keys if keyed else None
    frame.headers = None
    return frame, position
