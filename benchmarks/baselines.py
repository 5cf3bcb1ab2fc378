"""What the log is measured against: the plainest file and SQLite's most durable mode.

The files hold what a log needs at the very least, each record behind its length, without checksums, keys,
timestamps, offsets or any care for crashes.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from struct import Struct

from benchmarks.harness import Stopwatch

LENGTH = Struct("<I")


def write_one_by_one(path: Path, values: list[bytes], batches: int) -> float:
    """Write each record with a call of its own; return records per second."""
    pack = LENGTH.pack
    with path.open("wb") as file, Stopwatch() as watch:
        write = file.write
        for _ in range(batches):
            for value in values:
                write(pack(len(value)) + value)
        file.flush()
    return batches * len(values) / watch.seconds


def write_joined(path: Path, values: list[bytes], batches: int) -> float:
    """Write each batch of records with one call; return records per second."""
    pack = LENGTH.pack
    with path.open("wb") as file, Stopwatch() as watch:
        for _ in range(batches):
            file.write(b"".join([pack(len(value)) + value for value in values]))
        file.flush()
    return batches * len(values) / watch.seconds


def read_loop(path: Path) -> float:
    """Read a file of records one by one; return records per second."""
    unpack, count = LENGTH.unpack, 0
    with path.open("rb") as file, Stopwatch() as watch:
        read = file.read
        while prefix := read(4):
            read(unpack(prefix)[0])
            count += 1
    return count / watch.seconds


def sqlite_inserts(path: Path, values: list[bytes], batches: int) -> float:
    """Insert each record in a transaction of its own, synced before the next; return records per second."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE records (id INTEGER PRIMARY KEY, value BLOB NOT NULL)")
        with Stopwatch() as watch:
            for _ in range(batches):
                for value in values:
                    database.execute("INSERT INTO records (value) VALUES (?)", (value,))
    return batches * len(values) / watch.seconds
