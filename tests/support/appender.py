"""Run in a child: do numbered commits and tell each one when it is acknowledged, until killed.

Arguments: directory, sync mode. Writes "ready", then the number of every commit that returned.
"""

import os
import sys

from support.numbered import commits_of, do_commit, open_store, prepare


def main(directory: str, sync: str) -> None:
    """Append for ever."""
    engine = open_store(directory, sync)
    prepare(engine)
    os.write(1, b"ready\n")
    number = commits_of(engine)
    while True:
        number += 1
        do_commit(engine, number)
        os.write(1, b"%d\n" % number)
        if number % 97 == 0:
            engine.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
