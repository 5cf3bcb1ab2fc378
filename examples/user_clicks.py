"""Three applications read the same clicks, each at its own pace.

Clicks are keyed by user: those of one user share a partition, where they stay in the order in which they
happened, while different users spread over all partitions. Each application is a consumer group with offsets
of its own. It can lag, stop and go on, and the others do not notice.

    python examples/user_clicks.py
"""

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from msglog import Log, Record

USERS = ("ada", "bob", "cem", "dora", "eve", "finn")
PAGES = ("home", "search", "product", "cart", "help")


@dataclass
class Results:
    """What the applications found out so far."""

    next_pages: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    current_pages: dict[str, str] = field(default_factory=dict)  # by user
    views: Counter[str] = field(default_factory=Counter)  # by page
    clicks_in_order: int = 0

    def recommendation(self, user: str) -> str:
        """Return the page to which most users went on from where this user is now."""
        return self.next_pages[self.current_pages[user]].most_common(1)[0][0]


def main() -> Results:
    """Let two applications follow along, then a third one read everything, and return what they found."""
    clicks = make_clicks(300)
    results = Results()
    with Log(":memory:") as log:
        log.create_topic("clicks", partitions=3)

        send(log, clicks[:200])
        recommend(log, results)
        count_views(log, results, max_records=50)
        print_lag(log, "after 200 clicks")

        send(log, clicks[200:])
        recommend(log, results)
        count_views(log, results, max_records=50)
        print_lag(log, "after 300 clicks")

        count_views(log, results, max_records=1000)
        audit(log, results)
        print_lag(log, "at the end")
    return results


def make_clicks(count: int) -> list[tuple[str, dict[str, Any]]]:
    """Make up who clicked on what; `visit` numbers the clicks of each user from 1."""
    dice = random.Random(7)
    visits = Counter[str]()
    clicks: list[tuple[str, dict[str, Any]]] = []
    for _ in range(count):
        user = dice.choice(USERS)
        visits[user] += 1
        clicks.append((user, {"page": dice.choice(PAGES), "visit": visits[user]}))
    return clicks


def send(log: Log, clicks: list[tuple[str, dict[str, Any]]]) -> None:
    """Append each click with its user as the key."""
    for user, click in clicks:
        log.append("clicks", json.dumps(click).encode(), key=user.encode())


def decode(record: Record) -> tuple[str, dict[str, Any]]:
    """Return the user and the click."""
    return (record.key or b"").decode(), json.loads(record.value or b"")


def recommend(log: Log, results: Results) -> None:
    """Recommendations: learn from every click which page follows which. This needs each user's order."""
    with log.consumer("clicks", group="recommendations") as consumer:
        for record in consumer.iter(timeout=0):
            user, click = decode(record)
            if user in results.current_pages:
                results.next_pages[results.current_pages[user]][click["page"]] += 1
            results.current_pages[user] = click["page"]
        consumer.commit()


def count_views(log: Log, results: Results, *, max_records: int) -> None:
    """Statistics: count some more views, from where the last run ended."""
    with log.consumer("clicks", group="statistics") as consumer:
        for record in consumer.poll(timeout=0, max_records=max_records):
            results.views[decode(record)[1]["page"]] += 1
        consumer.commit()


def audit(log: Log, results: Results) -> None:
    """Audit: read everything from the start, long after the fact, and see that no click is out of order."""
    visits = Counter[str]()
    with log.consumer("clicks", group="audit") as consumer:
        for record in consumer.iter(timeout=0):
            user, click = decode(record)
            visits[user] += 1
            if click["visit"] != visits[user]:
                raise SystemExit(f"a click of {user} is out of order at {record!r}")
        consumer.commit()
    results.clicks_in_order = visits.total()


def print_lag(log: Log, when: str) -> None:
    """Print how many clicks each group has yet to read."""
    for group in log.groups():
        lag = sum(behind or 0 for behind in log.describe_group(group).lag.values())
        print(f"{when}: {group} is {lag} clicks behind")


if __name__ == "__main__":
    found = main()
    for user in USERS:
        print(f"{user} is on {found.current_pages[user]}; recommended next: {found.recommendation(user)}")
    print("views:", ", ".join(f"{page} {views}" for page, views in found.views.most_common()))
    print(f"audit: {found.clicks_in_order} clicks, each user's in order")
