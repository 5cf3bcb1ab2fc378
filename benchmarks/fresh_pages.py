"""Filling fresh pages of an allocated file: through a map, through a map after zeros were written, and by write.

    python benchmarks/fresh_pages.py [directory]

Shows why the engine writes large frames and zeroes pages ahead of small ones. Nanoseconds per frame, best of several
rounds.
"""

import mmap
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

FILE_BYTES = 32 << 20
ZEROS = bytes(256 << 10)
SMALL = b"x" * 172  # a record of 100 bytes in a frame of its own
LARGE = b"x" * 104_072  # a thousand of them in one
ROUNDS = 5


def through_map(descriptor: int, frame: bytes) -> None:
    mapped = mmap.mmap(descriptor, FILE_BYTES)
    for position in range(0, FILE_BYTES - len(frame), len(frame)):
        mapped[position : position + len(frame)] = frame


def zeroed_then_map(descriptor: int, frame: bytes) -> None:
    for position in range(0, FILE_BYTES, len(ZEROS)):
        os.pwrite(descriptor, ZEROS, position)
    through_map(descriptor, frame)


def by_write(descriptor: int, frame: bytes) -> None:
    for position in range(0, FILE_BYTES - len(frame), len(frame)):
        os.pwrite(descriptor, frame, position)


def nanoseconds(path: Path, fill: Callable[[int, bytes], None], frame: bytes) -> float:
    """Return what one frame costs in a file that was just made."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, FILE_BYTES)
        begun = perf_counter()
        fill(descriptor, frame)
        return (perf_counter() - begun) / (FILE_BYTES // len(frame)) * 1e9
    finally:
        os.close(descriptor)


def main(directory: str | None = None) -> None:
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        for name, frame in (("small", SMALL), ("large", LARGE)):
            for fill in (through_map, zeroed_then_map, by_write):
                best = min(nanoseconds(Path(folder, "pages"), fill, frame) for _ in range(ROUNDS))
                print(f"{name} frames of {len(frame):>7,} bytes, {fill.__name__:<15} {best:>10,.0f} ns each")


if __name__ == "__main__":
    main(*sys.argv[1:2])
