"""What the broker is measured against: a table of SQLite used as a queue.

Each step is a transaction of its own, as it must be when the work is done in between: insert a message, claim the
oldest one that nobody has, delete it. The journal is a WAL in any case; `synchronous` decides who waits for the disk.
"""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Literal

from benchmarks.harness import Stopwatch

CREATE = "CREATE TABLE messages (id INTEGER PRIMARY KEY, body BLOB NOT NULL, claimed INTEGER NOT NULL DEFAULT 0)"
INSERT = "INSERT INTO messages (body) VALUES (?)"
CLAIM = """
UPDATE messages SET claimed = 1
WHERE id = (SELECT id FROM messages WHERE claimed = 0 ORDER BY id LIMIT 1) RETURNING id, body
"""
DELETE = "DELETE FROM messages WHERE id = ?"


def cycles(path: Path, values: list[bytes], synchronous: Literal["OFF", "FULL"]) -> float:
    """Insert, claim and delete each message before the next; return messages per second."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {synchronous}")
        database.execute(CREATE)
        with Stopwatch() as watch:
            for value in values:
                database.execute(INSERT, (value,))
                ((number, _body),) = database.execute(CLAIM).fetchall()
                database.execute(DELETE, (number,))
    return len(values) / watch.seconds
