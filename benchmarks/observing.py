"""What it costs to look at a store: `metrics`, a scrape, against a plain list of the same queues; see `README.md`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.harness import Row, Stopwatch, best_rates, ratio_row
from msglog import Store
from msglog.prometheus import MsglogCollector

QUEUES = 1000
CALLS = 20


def observing_rows(folder: Path, rounds: int) -> list[Row]:
    """Metrics of a store with 1,000 queues and 100 topics that have a group each."""
    rates = best_rates(
        {
            "list of 1000 queues": partial(look, lambda store: store.broker.queues),
            "metrics of 1000 queues": partial(look, lambda store: store.metrics),
            "scrape of 1000 queues": partial(look, scrape_of),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "metrics of 1000 queues", "list of 1000 queues"),
        ratio_row(rates, "scrape of 1000 queues", "list of 1000 queues"),
    ]


def scrape_of(store: Store) -> Callable[[], object]:
    """Return what a server does that Prometheus asks."""
    registry = CollectorRegistry()
    registry.register(MsglogCollector(store))
    return lambda: generate_latest(registry)


def look(make: Callable[[Store], Callable[[], object]], path: Path) -> float:
    """Look again and again; return how often in a second."""
    with Store(path, sync="none") as store:
        for number in range(QUEUES):
            store.broker.declare_queue(f"queue-{number}")
            store.broker.send(f"queue-{number}", b"x")
        for number in range(QUEUES // 10):
            store.log.create_topic(f"topic-{number}")
            store.log.append(f"topic-{number}", b"x")
            store.log.reset_offsets(f"group-{number}", f"topic-{number}")
        call = make(store)
        call()
        with Stopwatch() as watch:
            for _ in range(CALLS):
                call()
    return CALLS / watch.seconds


MEASURES = {"observing": observing_rows}
