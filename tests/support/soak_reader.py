"""Run in a child: follow stores that another process writes with many threads, and check all that is seen of them.

Arguments: directories. Writes "looking"; when it is told to end, it looks once more and writes, for each store, how
many records it saw, then how often it looked.
"""

import select
import sys
from collections import defaultdict

import msglog
from support.children import say

PAUSE_SECONDS = 0.05


class Onlooker:
    """One store that is followed."""

    def __init__(self, directory: str) -> None:
        self.store = msglog.Store(directory, readonly=True)
        self.seen = 0
        self.looks = 0
        self._next = {("t", 0): 0, ("t", 1): 0, ("left", 0): 0, ("right", 0): 0}
        self._numbers: defaultdict[tuple[str, bytes], int] = defaultdict(int)

    def look(self) -> None:
        """See what is published now."""
        engine = self.store.core.engine
        engine.refresh()
        topics = engine.models["log"].topics  # type: ignore[attr-defined]
        left, right = (topics[name].partitions[0].end for name in ("left", "right"))
        if left != right:
            raise AssertionError(f"half a transaction: {left} records on the left, {right} on the right")
        for (topic, partition), start in self._next.items():
            for record in self.store.log.read(topic, partition, start=start):
                self._check(topic, record)
                self._next[topic, partition] = record.offset + 1
        self.looks += 1

    def _check(self, topic: str, record: msglog.Record) -> None:
        if record.offset != self._next[topic, record.partition]:
            raise AssertionError(f"offset {record.offset} after {self._next[topic, record.partition]} in {topic}")
        writer, _, number = (record.value or b"").partition(b":")
        if int(number) != self._numbers[topic, writer]:
            raise AssertionError(f"{record.value!r} where {self._numbers[topic, writer]} comes next")
        self._numbers[topic, writer] += 1
        self.seen += 1


def main(directories: list[str]) -> None:
    """Look until there is something on the standard input."""
    stores = [Onlooker(directory) for directory in directories]
    say("looking")
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        for store in stores:
            store.look()
    for store in stores:
        store.look()
    say(*(store.seen for store in stores), *(store.looks for store in stores))
    for store in stores:
        store.store.close()


if __name__ == "__main__":
    main(sys.argv[1:])
