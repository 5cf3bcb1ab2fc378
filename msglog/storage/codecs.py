"""Compression of whole frames: the codec's number is in the frame's header.

zlib is always there; zstd and lz4 need their extras. Decompression is bounded by the size that the checksummed frame
gives, so a small frame cannot blow up. Imported by `frame` and by whoever validates a topic's `compression`.
"""

import importlib
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from msglog.errors import InvalidOptionError, UnsupportedFormatError

CODEC_IDS = {None: 0, "zlib": 1, "zstd": 2, "lz4": 3}
CODEC_NAMES = {number: name for name, number in CODEC_IDS.items()}


@dataclass(frozen=True, slots=True)
class Codec:
    """One way to compress: `decompress` never returns more than the given number of bytes."""

    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


def _zlib() -> Codec:
    def decompress(data: bytes, size: int) -> bytes:
        # One byte more than allowed is enough for the caller to see that the sizes differ.
        return zlib.decompressobj().decompress(data, size + 1)

    return Codec(lambda data: zlib.compress(data, 1), decompress)


def _zstd() -> Codec:
    zstandard: Any = importlib.import_module("zstandard")

    def compress(data: bytes) -> bytes:
        return bytes(zstandard.ZstdCompressor(level=1).compress(data))

    def decompress(data: bytes, size: int) -> bytes:
        with zstandard.ZstdDecompressor().stream_reader(data) as reader:
            return bytes(reader.read(size + 1))

    return Codec(compress, decompress)


def _lz4() -> Codec:
    block: Any = importlib.import_module("lz4.block")

    def compress(data: bytes) -> bytes:
        return bytes(block.compress(data, store_size=False))

    def decompress(data: bytes, size: int) -> bytes:
        return bytes(block.decompress(data, uncompressed_size=size))

    return Codec(compress, decompress)


_MAKERS: dict[str, Callable[[], Codec]] = {"zlib": _zlib, "zstd": _zstd, "lz4": _lz4}


@cache
def codec_named(name: str) -> Codec:
    """Return a codec by name. Raises `InvalidOptionError` for an unknown one or one that is not installed."""
    maker = _MAKERS.get(name)
    if maker is None:
        allowed = "None, " + ", ".join(repr(known) for known in _MAKERS)
        raise InvalidOptionError(
            f"compression must be one of {allowed}, not {name!r}", option="compression", given=name, allowed=allowed
        )
    try:
        return maker()
    except ImportError as error:
        raise InvalidOptionError(
            f"compression {name!r} needs an extra: pip install 'msglog[{name}]'",
            option="compression",
            given=name,
            allowed="an installed codec",
        ) from error


def codec_numbered(number: int, path: str) -> Codec:
    """Return the codec of a frame read from `path`. Raises `UnsupportedFormatError` without it."""
    name = CODEC_NAMES.get(number)
    if name is None:
        raise UnsupportedFormatError(
            f"{path}: a frame is compressed with codec {number}, this version knows {sorted(_MAKERS)}",
            path=path,
            found=number,
            supported=tuple(_MAKERS),
        )
    try:
        return codec_named(name)
    except InvalidOptionError as error:
        raise UnsupportedFormatError(
            f"{path}: a frame is compressed with {name}: pip install 'msglog[{name}]'",
            path=path,
            found=name,
            supported=tuple(_MAKERS),
        ) from error
