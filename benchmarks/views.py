"""Views with codecs against the same by hand; see `README.md`."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, Stopwatch, best_rates, ratio_row
from msglog import Broker, Log, json_of

COUNT = 50_000


@dataclass
class Click:
    user: int
    page: str


CLICK = json_of(Click)
CLICKS = [Click(number, "/a/page") for number in range(COUNT)]


def view_rows(folder: Path, rounds: int) -> list[Row]:
    """Objects in and out, through a view and with the codec called by hand."""
    rates = best_rates(
        {
            "append, encoded by hand": partial(append, view=False),
            "topic.append": partial(append, view=True),
            "read, decoded by hand": partial(read, view=False),
            "topic.read": partial(read, view=True),
            "send, get, ack by hand": partial(send_and_get, view=False),
            "queue.send, get, ack": partial(send_and_get, view=True),
        },
        folder,
        rounds,
    )
    return [
        ratio_row(rates, "topic.append", "append, encoded by hand"),
        ratio_row(rates, "topic.read", "read, decoded by hand"),
        ratio_row(rates, "queue.send, get, ack", "send, get, ack by hand"),
    ]


def append(path: Path, *, view: bool) -> float:
    """Append objects one by one; return records per second."""
    with Log(path, sync="none") as log:
        log.create_topic("clicks")
        clicks = log.topic("clicks", value=CLICK)
        with Stopwatch() as watch:
            if view:
                for click in CLICKS:
                    clicks.append(click)
            else:
                for click in CLICKS:
                    log.append("clicks", CLICK.encode(click))
    return COUNT / watch.seconds


def read(path: Path, *, view: bool) -> float:
    """Read all as objects; return records per second."""
    with Log(path, sync="none") as log:
        log.create_topic("clicks")
        clicks = log.topic("clicks", value=CLICK)
        clicks.append_many(CLICKS)
        users = 0
        with Stopwatch() as watch:
            if view:
                for record in clicks.read():
                    users += record.value.user
            else:
                for record in log.read("clicks"):
                    users += CLICK.decode(record.value).user
    assert users == sum(range(COUNT))
    return COUNT / watch.seconds


def send_and_get(path: Path, *, view: bool) -> float:
    """Send objects, then take and acknowledge them; return messages per second.

    By hand they get no content type: that alone would take the long way.
    """
    with Broker(path, sync="none") as broker:
        broker.declare_queue("clicks")
        clicks = broker.queue("clicks", body=CLICK)
        users = 0
        with Stopwatch() as watch:
            if view:
                for click in CLICKS:
                    clicks.send(click)
                while delivery := clicks.get():
                    users += delivery.body.user
                    delivery.ack()
            else:
                for click in CLICKS:
                    broker.send("clicks", CLICK.encode(click))
                while delivery := broker.get("clicks"):
                    users += CLICK.decode(delivery.body).user
                    delivery.ack()
    assert users == sum(range(COUNT))
    return COUNT / watch.seconds


MEASURES = {"views": view_rows}
