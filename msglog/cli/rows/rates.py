"""How fast topics, groups and queues move: two looks at a store, and what happened between them. Imported by `top`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from msglog.cli.rows.brokers import depth, virtual_host
from msglog.cli.rows.topics import total_lag
from msglog.store import Store


class Place(NamedTuple):
    """How much ever went into something and out of it, and how much waits there; None where there is no such thing."""

    written: int | None
    taken: int | None
    waiting: int | None


Look = dict[tuple[str, str], Place]


def look_at(store: Store) -> Look:
    """Return where everything stands now."""
    log = store.log
    places: Look = {}
    for name in log.topics():
        ends = sum(one.end_offset for one in log.describe_topic(name).partitions)
        places["topic", name] = Place(ends, None, None)
    for name in log.groups():
        found = log.describe_group(name)
        places["group", name] = Place(None, sum(found.offsets.values()), total_lag(found))
    for name, queue in sorted(virtual_host(store).queues.items()):
        written = sum(lane.stream.next_offset for lane in queue.lanes)
        settled = sum(lane.cursor.settled + lane.cursor.done.count for lane in queue.lanes)
        places["queue", name] = Place(written, settled, depth(queue))
    return places


def rate_rows(before: Look, now: Look, seconds: float, timestamp_ms: int) -> Iterator[dict[str, Any]]:
    """Yield a row for each thing that is there now; one that was not there before has begun at nothing."""
    for (kind, name), place in now.items():
        earlier = before.get((kind, name), Place(0, 0, 0))
        yield {
            "timestamp_ms": timestamp_ms,
            "kind": kind,
            "name": name,
            "in_per_second": _rate(earlier.written, place.written, seconds),
            "out_per_second": _rate(earlier.taken, place.taken, seconds),
            "waiting": place.waiting,
        }


def busiest_first(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with what there is to see at the top: what moves, then where most waits although nothing does."""
    return sorted(
        rows,
        key=lambda row: ((row["in_per_second"] or 0) + (row["out_per_second"] or 0), row["waiting"] or 0),
        reverse=True,
    )


def _rate(before: int | None, now: int | None, seconds: float) -> float | None:
    # What was deleted and made anew counts from nothing, and offsets that were moved back are no negative work.
    return None if now is None else max(0, now - (before or 0)) / seconds
