"""What the tests of the index by key share: small runs, and the records themselves as the truth about every key."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import msglog
from msglog.log.keys import index as indexes
from msglog.log.keys import run as runs
from msglog.log.keys.index import KeyIndex
from msglog.log.rules.key_rows import ROW_BYTES

BEYOND = 1 << 40
"""An offset that no record of a test has."""

Truth = dict[bytes, list[msglog.Record]]
"""The records of a partition by key."""


@contextmanager
def small_runs(rows: int = 8, block: int = 4, worth: int = 3) -> Iterator[None]:
    """Let a few records do to an index what thousands do."""
    with (
        mock.patch.multiple(indexes, RUN_ROWS=rows, RUN_OFFSETS=8 * rows, WORTH_A_FILE=worth),
        mock.patch.multiple(runs, BLOCK_ROWS=block, _BLOCK_BYTES=block * ROW_BYTES, _WRITTEN_BLOCKS=2),
    ):
        yield


@contextmanager
def counting_reads() -> Iterator[list[int]]:
    """Give a list of the stretches of offsets that indexes read behind, as their lengths."""
    lengths: list[int] = []
    read = KeyIndex._read

    def counted(index: KeyIndex, start: int, stop: int) -> None:
        before = index.end
        read(index, start, stop)
        lengths.append(index.end - before)

    with mock.patch.object(KeyIndex, "_read", counted):
        yield lengths


def records_by_key(log: msglog.Log, topic: str, partition: int = 0) -> Truth:
    """Read all records and sort them by key."""
    found: Truth = {}
    for record in log.read(topic, partition):
        if record.key is not None:
            found.setdefault(record.key, []).append(record)
    return found


def check_keys(log: msglog.Log, topic: str, keys: Iterable[bytes] = (), partition: int = 0) -> Truth:
    """What the index says about each key of a partition, and about some that may have no record, is true; return it."""
    truth = records_by_key(log, topic, partition)
    for key in sorted({*truth, *keys}):
        records = truth.get(key, [])
        found = list(log.read_key(topic, key, partition=partition))
        assert found == records, f"{key!r}: {[r.offset for r in found]} instead of {[r.offset for r in records]}"
        assert log.last_record(topic, key, partition=partition) == (records[-1] if records else None)
    return truth


def last_offset(log: msglog.Log, topic: str, key: bytes, partition: int | None = None) -> int:
    """Return what an append that expects something else is told."""
    with pytest.raises(msglog.OffsetConflictError) as caught:
        log.append(topic, b"never", key=key, partition=partition, expected_key_offset=BEYOND)
    assert caught.value.expected == BEYOND
    return caught.value.actual


def check_decisions(
    log: msglog.Log, topic: str, keys: Iterable[bytes] = (), partition: int = 0, *, truth: Truth | None = None
) -> None:
    """What appends are told about the last record of each key is true; `truth`: what was just read, if it was."""
    if truth is None:
        truth = records_by_key(log, topic, partition)
    for key in sorted({*truth, *keys}):
        expected = truth[key][-1].offset if key in truth else -1
        assert last_offset(log, topic, key, partition) == expected, key


def run_files(store: Path) -> list[Path]:
    """Return the files of runs in a store's directory, the one of the earliest offsets first."""
    return sorted(store.glob("keys/*"), key=lambda path: [int(part) for part in path.name.split(".")])


def fill(log: msglog.Log, topic: str, count: int, *, keys: int = 5, first: int = 0, **options: Any) -> None:
    """Append records one by one whose keys take turns."""
    for number in range(first, first + count):
        log.append(topic, b"%d" % number, key=b"k%d" % (number % keys), **options)
