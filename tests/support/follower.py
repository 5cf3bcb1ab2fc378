"""Run in a child: follow a store that another process writes, and check that only whole commits are seen.

Arguments: directory, commits to follow. Writes "following", then "followed <commits> <looks>".
"""

import sys
import time

from support.history import Entry, read_entries
from support.numbered import A, B, open_store, value_of

DEADLINE_SECONDS = 60


def main(directory: str, commits: int) -> None:
    """Look again and again until all commits are there."""
    engine = open_store(directory, "commit", readonly=True)
    print("following", flush=True)
    deadline = time.monotonic() + DEADLINE_SECONDS
    looks = seen = 0
    readers = {}
    while seen < commits:
        if time.monotonic() > deadline:
            raise AssertionError(f"{seen} of {commits} commits were seen in time")
        engine.refresh()
        looks += 1
        if A not in engine.streams:
            continue
        a, b = engine.streams[A], engine.streams[B]
        if a.end < seen:
            raise AssertionError(f"commit {a.end} after commit {seen}")
        if b.end != a.end // 3:
            raise AssertionError(f"half a commit: {a.end} records in one stream, {b.end} in the other")
        if a.start != (a.end // 40 * 40 - 30 if a.end >= 40 else 0):
            raise AssertionError(f"{a.end} commits, but the stream starts at {a.start}")
        for stream in (a, b):
            reader = readers.setdefault(stream.id, stream.reader(stream.start))
            if reader.offset < stream.start:
                reader.seek(stream.start)
            end = stream.end
            while (frame := reader.read()) is not None:
                for offset, value in zip(frame.offsets, frame.values, strict=True):
                    number = offset + 1 if stream.id == A else 3 * (offset + 1)
                    if offset < end and value != value_of(number, stream.id):
                        raise AssertionError(f"offset {offset} of {stream.slug} holds something else")
            if reader.offset != end and stream.end == end:
                raise AssertionError(f"read up to {reader.offset} of {end}")
        seen = a.end
    expected = [Entry(n - 1, n, None, value_of(n, A), ()) for n in range(a.start + 1, a.end + 1)]
    if list(read_entries(a)) != expected:
        raise AssertionError("reading from the start shows something else")
    engine.close()
    print("followed", seen, looks, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
