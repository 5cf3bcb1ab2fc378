"""Run in a child: read a store that another process writes, whenever a line asks for it.

Argument: directory. For each line on standard input it writes the end of topic `t` and how many messages wait in `q`.
"""

import sys

import msglog
from support.children import say


def main(directory: str) -> None:
    """Look until there is nothing more to read."""
    with msglog.Store(directory, readonly=True) as store:
        for _ in sys.stdin:
            (queue,) = [one for one in store.broker.queues() if one.name == "q"]
            say(store.log.end_offset("t"), queue.message_count)


if __name__ == "__main__":
    main(sys.argv[1])
