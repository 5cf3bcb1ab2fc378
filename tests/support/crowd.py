"""Run in a child: several threads append to one stream each and tell what was acknowledged, until killed.

Arguments: directory, sync mode, threads. Writes "ready", then "<thread> <number>" for every append that
returned.
"""

import os
import sys
from threading import Thread

from msglog.storage import Engine
from support.numbered import open_store


def _append(engine: Engine, stream_id: int) -> None:
    stream = engine.streams[stream_id]
    while True:
        offset = engine.append(stream, b"%d:%d" % (stream_id, stream.next_offset), 0)
        os.write(1, b"%d %d\n" % (stream_id, offset))


def main(directory: str, sync: str, threads: int) -> None:
    """Append in all threads for ever."""
    engine = open_store(directory, sync)
    for _ in range(threads - len(engine.streams) + 1):
        with engine.lock:
            commit = engine.begin()
            commit.create_stream("thread")
            number = commit.write()
        engine.wait(number)
    os.write(1, b"ready\n")
    for stream_id in range(1, threads + 1):
        Thread(target=_append, args=(engine, stream_id)).start()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
