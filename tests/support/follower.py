"""Run in a child: follow a store that another process writes, and check that only whole commits are seen.

Arguments: directory, commits to follow. Writes "following", then "followed <commits> <looks>".
"""

import sys
import time

from msglog.storage import Engine, Reader, Stream
from support.children import say
from support.history import Entry, read_entries
from support.numbered import A, B, open_store, start_after, value_of

DEADLINE_SECONDS = 60


class Follower:
    """Looks at a store again and again, with readers that go on where they were."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers: dict[int, Reader] = {}
        self.seen = 0
        self.looks = 0

    def look(self) -> None:
        """See what is published now, and check all of it."""
        self._engine.refresh()
        self.looks += 1
        if A not in self._engine.streams:
            return
        a, b = self._engine.streams[A], self._engine.streams[B]
        if a.end < self.seen:
            raise AssertionError(f"commit {a.end} after commit {self.seen}")
        if b.end != a.end // 3:
            raise AssertionError(f"half a commit: {a.end} records in one stream, {b.end} in the other")
        if a.start != start_after(a.end):
            raise AssertionError(f"{a.end} commits, but the stream starts at {a.start}")
        self._read_on(a)
        self._read_on(b)
        self.seen = a.end

    def _read_on(self, stream: Stream) -> None:
        reader = self._readers.setdefault(stream.id, stream.reader(stream.start))
        if reader.offset < stream.start:
            reader.seek(stream.start)
        while (frame := reader.read()) is not None:
            for offset, value in zip(frame.offsets, frame.values, strict=True):
                number = offset + 1 if stream.id == A else 3 * (offset + 1)
                if offset < stream.end and value != value_of(number, stream.id):
                    raise AssertionError(f"offset {offset} of {stream.slug} holds something else")
        if reader.offset != stream.end:
            raise AssertionError(f"read up to {reader.offset} of {stream.end}")

    def check_from_the_start(self) -> None:
        """Read all there is once more."""
        a = self._engine.streams[A]
        expected = [Entry(n - 1, n, None, value_of(n, A), ()) for n in range(a.start + 1, a.end + 1)]
        if list(read_entries(a)) != expected:
            raise AssertionError("reading from the start shows something else")


def main(directory: str, commits: int) -> None:
    """Look until all commits were there."""
    engine = open_store(directory, "commit", readonly=True)
    follower = Follower(engine)
    say("following")
    deadline = time.monotonic() + DEADLINE_SECONDS
    while follower.seen < commits:
        if time.monotonic() > deadline:
            raise AssertionError(f"{follower.seen} of {commits} commits were seen in time")
        follower.look()
    follower.check_from_the_start()
    engine.close()
    say("followed", follower.seen, follower.looks)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
