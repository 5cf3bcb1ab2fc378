"""One topic of bank transactions, four readers: balances, fraud detection, an audit and a live dashboard.

Transactions are keyed by account, so those of one account are read in order. Each reader is a consumer group
with offsets of its own: the dashboard sees only what is new, the balances go on where they stopped before the
program was restarted, and the audit replays February although everybody else has long read it.

    python examples/account_transactions.py
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from tempfile import TemporaryDirectory
from typing import NamedTuple

from msglog import Log, Record

# When, whose account, and by how many cents it changes
HISTORY = (
    ("2024-01-05T09:00", "alice", 120_000),
    ("2024-01-08T17:30", "bruno", 80_000),
    ("2024-01-20T12:10", "alice", -4_550),
    ("2024-02-01T08:00", "alice", 120_000),
    ("2024-02-03T10:00", "bruno", -60_000),
    ("2024-02-14T19:45", "clara", 50_000),
    ("2024-02-20T03:10", "clara", -9_900),
    ("2024-02-20T03:12", "clara", -9_900),
    ("2024-02-20T03:15", "clara", -9_900),
    ("2024-03-01T08:00", "alice", 120_000),
)
TODAY = (
    ("2024-03-04T09:15", "alice", -30_000),
    ("2024-03-04T09:40", "clara", 25_000),
)
RUSH_MS = 10 * 60 * 1000  # three withdrawals within this time are suspicious


class Results(NamedTuple):
    """What the four readers found."""

    balances: Counter[str]  # cents by account
    suspects: set[str]
    february: Counter[str]  # transactions by account
    dashboard: list[str]


def main() -> Results:
    """Run the bank for two days, with a restart in between, and return what the readers found."""
    balances = Counter[str]()
    with TemporaryDirectory() as directory:
        with Log(directory) as log:
            log.create_topic("transactions", partitions=3)
            record_transactions(log, HISTORY)
            update_balances(log, balances)
        with Log(directory) as log, log.consumer("transactions", group="dashboard", start="latest") as live:
            record_transactions(log, TODAY)
            update_balances(log, balances)
            news = sorted(live.iter(timeout=0), key=lambda record: record.timestamp_ms)
            return Results(
                balances,
                suspects=find_suspects(log),
                february=audit(log, "2024-02-01", "2024-03-01"),
                dashboard=[describe(record) for record in news],
            )


def record_transactions(log: Log, transactions: Iterable[tuple[str, str, int]]) -> None:
    """Append transactions under their accounts and times."""
    for time, account, cents in transactions:
        log.append("transactions", b"%d" % cents, key=account.encode(), timestamp_ms=milliseconds(time))


def update_balances(log: Log, balances: Counter[str]) -> None:
    """Add what has come since the last time."""
    with log.consumer("transactions", group="balances") as consumer:
        for record in consumer.iter(timeout=0):
            account, cents = decode(record)
            balances[account] += cents
        consumer.commit()


def find_suspects(log: Log) -> set[str]:
    """Return the accounts with three withdrawals in a rush. Seeing it needs each account's order."""
    withdrawals = defaultdict[str, list[int]](list)
    suspects = set[str]()
    with log.consumer("transactions", group="fraud") as consumer:
        for record in consumer.iter(timeout=0):
            account, cents = decode(record)
            if cents < 0:
                times = withdrawals[account]
                times.append(record.timestamp_ms)
                if len(times) >= 3 and times[-1] - times[-3] <= RUSH_MS:
                    suspects.add(account)
        consumer.commit()
    return suspects


def audit(log: Log, since: str, until: str) -> Counter[str]:
    """Replay what happened between two times, and count each account's transactions."""
    transactions = Counter[str]()
    with log.consumer("transactions", group="audit") as consumer:
        consumer.seek_to_time(milliseconds(since))
        for record in consumer.iter(timeout=0):
            if record.timestamp_ms < milliseconds(until):
                transactions[decode(record)[0]] += 1
    return transactions


def decode(record: Record) -> tuple[str, int]:
    """Return the account and the change in cents."""
    return (record.key or b"").decode(), int(record.value or b"")


def describe(record: Record) -> str:
    account, cents = decode(record)
    time = datetime.fromtimestamp(record.timestamp_ms / 1000, UTC)
    return f"{time:%H:%M} {account} {cents / 100:+,.2f}"


def milliseconds(time: str) -> int:
    """Return an ISO time, taken as UTC, in milliseconds since 1970."""
    return int(datetime.fromisoformat(time).replace(tzinfo=UTC).timestamp() * 1000)


if __name__ == "__main__":
    found = main()
    for account, cents in sorted(found.balances.items()):
        print(f"{account}: {cents / 100:,.2f}, {found.february[account]} transactions in February")
    print("suspects:", ", ".join(sorted(found.suspects)))
    print("dashboard:", ", ".join(found.dashboard))
