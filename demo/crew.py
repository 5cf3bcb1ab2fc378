"""Three workers, each on a thread, take departures from a queue; run by `departures.py`.

    python demo/crew.py DIRECTORY

A worker takes some messages, reports their ids as one line on standard output, and then settles each: a flight that
left is acknowledged, one that never did is rejected and so goes to the dead letters.

The process may be killed at any moment. What it had settled stays settled; what it had reported and not yet settled
is delivered again, and its id tells. So every flight is reported at least once, and dead-lettered at most once.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

from msglog import Broker, Delivery

WORKERS = 3
BATCH = 500  # a line of so many ids is short enough for a pipe to keep it in one piece
QUIET_SECONDS = 1.0  # without a message for this long, all are done


def work(broker: Broker) -> None:
    """Take what the queue gives this worker, until nothing more comes."""
    batch: list[Delivery] = []
    with broker.consume("crew", prefetch_count=BATCH) as consumer:
        for delivery in consumer.iter(timeout=QUIET_SECONDS):
            batch.append(delivery)
            if len(batch) == BATCH:
                settle(batch)
        settle(batch)


def settle(batch: list[Delivery]) -> None:
    """Report what was done, then settle it, and forget it."""
    ids = " ".join(delivery.properties.message_id or "" for delivery in batch)
    os.write(sys.stdout.fileno(), f"{ids}\n".encode())  # one write a line: threads never mix theirs
    for delivery in batch:
        if delivery.routing_key.endswith(".cancelled"):
            delivery.reject()
        else:
            delivery.ack()
    batch.clear()


def main() -> None:
    (directory,) = sys.argv[1:]
    with Broker(directory) as broker, ThreadPoolExecutor(WORKERS) as threads:
        for worker in [threads.submit(work, broker) for _ in range(WORKERS)]:
            worker.result()


if __name__ == "__main__":
    main()
