"""A transaction over both models against a single durable append; see `README.md`."""

from functools import partial
from pathlib import Path

from benchmarks.harness import Row, Stopwatch, Sync, best_rates, ratio_row
from benchmarks.log import VALUES, append
from msglog import Store, TopicPartition


def transaction_rows(folder: Path, rounds: int) -> list[Row]:
    """One record, one message to two queues, one acknowledgement and one offset, in one commit."""
    rates = best_rates(
        {
            "durable append": partial(append, batches=1, sync="commit"),
            "transaction": partial(transact, sync="commit"),
            "transaction, none": partial(transact, sync="none"),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "transaction", "durable append", goal=0.7),
        ratio_row(rates, "transaction, none", "durable append"),
    ]


def transact(path: Path, sync: Sync) -> float:
    """Commit transactions one after the other, with deliveries in hand; return transactions per second."""
    with Store(path, sync=sync) as store:
        log, broker = store.log, store.broker
        log.create_topic("source")
        log.append_many("source", VALUES)
        log.create_topic("target")
        broker.declare_exchange("events", "fanout")
        for queue in ("first", "second"):
            broker.declare_queue(queue)
            broker.bind(queue, "events")
        broker.declare_queue("work")
        broker.publish_many("", [("work", value) for value in VALUES])
        source = TopicPartition("source", 0)
        with broker.consume("work", prefetch_count=0) as consumer:
            deliveries = list(consumer.iter(timeout=0))
            with Stopwatch() as watch:
                for offset, delivery in enumerate(deliveries):
                    with store.transaction() as tx:
                        tx.append("target", delivery.body)
                        tx.publish("events", "key", delivery.body)
                        tx.ack(delivery)
                        tx.commit_offsets("group", {source: offset + 1})
    return len(VALUES) / watch.seconds


MEASURES = {"transaction": transaction_rows}
