"""What the tests of share groups share: how records look, and a log that ends and returns."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msglog


def offsets(records: Iterable[msglog.Record]) -> list[int]:
    """Return the offsets of records, in their order."""
    return [record.offset for record in records]


def counts(records: Iterable[Any]) -> dict[int, int]:
    """Return the delivery count of each offset."""
    return {record.offset: record.delivery_count for record in records}


def fill(log: msglog.Log, count: int = 10, *, topic: str = "t", partition: int | None = None) -> None:
    """Append records with the values 0, 1, ..., in one batch."""
    log.append_many(topic, [b"%d" % number for number in range(count)], partition=partition)


def lag(log: msglog.Log, group: str = "g") -> int:
    """Return how much a group has left to settle in all partitions."""
    return sum(each or 0 for each in log.describe_group(group).lag.values())


class LogDisk:
    """A log on disk that can be closed and opened again, or killed: then its files are copied as they are."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self._folder = folder
        self._options = options
        self._copies = 0
        self.log = self._open()

    def _open(self) -> msglog.Log:
        return msglog.Log(self._folder / f"store{self._copies}", **self._options)

    def reopen(self) -> msglog.Log:
        """Close the log and open its store again."""
        self.log.close()
        self.log = self._open()
        return self.log

    def crash(self) -> msglog.Log:
        """Open what a kill at this moment would leave behind. Objects of the killed log are good for nothing."""
        killed, before = self.log, self._folder / f"store{self._copies}"
        self._copies += 1
        killed.store.core.engine._syncer.stop()  # so that no file goes while the others are copied
        shutil.copytree(before, self._folder / f"store{self._copies}")
        killed.close()
        self.log = self._open()
        return self.log
