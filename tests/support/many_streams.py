"""Run in a child: a store of very many streams with few descriptors.

Arguments: directory, sync mode, streams, descriptors, streams in one commit. Ends with an error if anything
is not as it should be.
"""

import resource
import sys

from msglog.storage import Engine, encode_body
from support.history import read_entries
from support.numbered import open_store


def _create(engine: Engine, streams: int, together: int) -> None:
    for first in range(0, streams, together):
        with engine.lock:
            commit = engine.begin()
            for place in range(first, min(first + together, streams)):
                commit.create_stream(f"stream-{place}")
            number = commit.write()
        engine.wait(number)


def _append_to_all(engine: Engine, turn: int, together: int) -> None:
    """In commits over many streams in one turn, with single appends in the next."""
    ids = [stream_id for stream_id in engine.streams if stream_id]
    if turn % 2:
        for stream_id in ids:
            engine.append(engine.streams[stream_id], b"%d:%d" % (stream_id, turn), turn)
        return
    for first in range(0, len(ids), together):
        with engine.lock:
            commit = engine.begin()
            for stream_id in ids[first : first + together]:
                commit.append(engine.streams[stream_id], encode_body([b"%d:%d" % (stream_id, turn)], turn))
            number = commit.write()
        engine.wait(number)


def _check(engine: Engine, streams: int, turns: int) -> None:
    ids = [stream_id for stream_id in engine.streams if stream_id]
    if len(ids) != streams:
        raise AssertionError(f"{len(ids)} streams instead of {streams}")
    for stream_id in ids:
        values = [entry.value for entry in read_entries(engine.streams[stream_id])]
        if values != [b"%d:%d" % (stream_id, turn) for turn in range(turns)]:
            raise AssertionError(f"stream {stream_id} holds {len(values)} records instead of {turns}")


def main(directory: str, sync: str, streams: int, descriptors: int, together: int) -> None:
    """Fill all streams in turns, read all of them, and again after reopening."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    engine = open_store(directory, sync)
    _create(engine, streams, together)
    for turn in range(3):
        _append_to_all(engine, turn, together)
    _check(engine, streams, 3)
    engine.flush()
    engine.close()
    engine = open_store(directory, sync)
    _check(engine, streams, 3)
    _append_to_all(engine, 3, together)
    engine.close()
    engine = open_store(directory, sync)
    _check(engine, streams, 4)
    engine.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
