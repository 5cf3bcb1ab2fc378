"""Run in a child: look at a store that another process moves money in, until told to end.

Arguments: directory, all the money there is. Writes "looking", then how often it looked. One look is at one published
state: the last balances of all accounts and the coins in all queues together are all the money there is.
"""

import sys
from threading import Thread

import msglog
from msglog.broker.vhost import VirtualHost
from support.children import say


def money(store: msglog.Store) -> int:
    """Return how much there is in the state that was taken in last: nothing here takes in a newer one."""
    engine = store.core.engine
    total = sum(queue.ready() for queue in VirtualHost.of(store.core).queues.values())
    for partition in engine.models["log"].topics["accounts"].partitions:  # type: ignore[attr-defined]
        frame = partition.reader(partition.end - 1).read()
        if frame is None:
            raise AssertionError(f"{partition!r} cannot be read up to its end")
        total += int(frame.values[list(frame.offsets).index(partition.end - 1)])
    return total


def main(directory: str, total: int) -> None:
    """Look again and again."""
    looks = commits = 0
    reading = Thread(target=sys.stdin.readline, daemon=True)
    reading.start()
    with msglog.Store(directory, readonly=True) as store:
        say("looking")
        engine = store.core.engine
        while reading.is_alive() or not looks:
            engine.refresh()
            found = money(store)
            if found != total:
                raise AssertionError(f"half a transaction: {found} instead of {total} at commit {engine.published}")
            looks += engine.published != commits
            commits = engine.published
    say(looks)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
