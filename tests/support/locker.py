"""Run in a child: open a store, say so, and hold it until told to go on.

Arguments: directory, sync mode. Writes "open <pid>", closes the store after a line of input, writes "closed".
"""

import os
import sys

from support.children import say
from support.numbered import open_store, prepare


def main(directory: str, sync: str) -> None:
    """Hold the store."""
    engine = open_store(directory, sync)
    prepare(engine)
    say("open", os.getpid())
    sys.stdin.readline()
    engine.close()
    say("closed")
    sys.stdin.readline()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
