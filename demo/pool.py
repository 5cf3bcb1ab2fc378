"""Three consumers of one group, each in a thread, count the flights per carrier; run by `flights.py`.

    python demo/pool.py DIRECTORY

The count is exact although the process may be killed at any moment, for two reasons:

1. The result carries its own offset. After each batch a worker appends one record with its new totals and
   the offset they reach. A worker that is given a partition takes the last such record and reads on from
   there. What was counted but not saved when the process died is in neither of the two, so it is counted
   again: nothing is lost, and nothing counts twice.
2. Totals are saved with `expected_offset`, the place where the next save belongs. Should the group hand a
   partition to another worker while the first still believes it is its own, only one of them can save.

Each save is reported as a line on standard output: how many flights it added to the totals.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

from totals import Totals

from msglog import Consumer, Log, Record, TopicPartition

WORKERS = 3
BATCH = 500
QUIET_SECONDS = 1.0  # without a flight for this long, all are counted


def count_flights(log: Log) -> None:
    """Count what the group gives this worker, until nothing more comes."""
    totals: dict[int, Totals] = {}

    def resume(consumer: Consumer, partitions: frozenset[TopicPartition]) -> None:
        for topic_partition in partitions:
            partition = topic_partition.partition
            totals[partition] = Totals.load(log, partition)
            consumer.seek(topic_partition, totals[partition].next_offset)

    with log.consumer("flights", group="pool", on_assign=resume) as consumer:
        while records := consumer.poll(timeout=QUIET_SECONDS, max_records=BATCH):
            for partition, group in groupby(records, key=lambda record: record.partition):
                count_batch(log, totals[partition], list(group))


def count_batch(log: Log, totals: Totals, records: list[Record]) -> None:
    """Add some records of one partition to its totals, and save these."""
    totals.carriers.update(carrier(record) for record in records)
    totals.next_offset = records[-1].offset + 1
    totals.save(log)
    os.write(sys.stdout.fileno(), b"%d\n" % len(records))  # one write a line: threads never mix theirs


def carrier(record: Record) -> str:
    """Return the carrier's code, which travels in a header: no need to look into the value."""
    return (dict(record.headers)["carrier"] or b"").decode()


def main() -> None:
    (directory,) = sys.argv[1:]
    with Log(directory) as log, ThreadPoolExecutor(WORKERS) as threads:
        for worker in [threads.submit(count_flights, log) for _ in range(WORKERS)]:
            worker.result()


if __name__ == "__main__":
    main()
