"""Accounts that many threads withdraw from at once and that are never overdrawn, rebuilt from their events.

Every account is a key of the topic `accounts`; its events are the truth, and a balance is their sum. Who withdraws
reads the account, decides, and appends with `expected_key_offset`: the offset of the last event that was seen. If
another thread was faster, nothing is appended; it looks again and decides anew. A transfer fee belongs to its
withdrawal: both events are appended together or not at all.

Snapshots in a compacted topic keep long histories from being read again and again. After a restart, every balance
is found by the last snapshot and the events behind it, and an audit adds up all events to check that.

    python examples/bank_account.py
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory
from typing import NamedTuple

from msglog import Log, OffsetConflictError

OPENING_CENTS = {"ada": 100_00, "bob": 40_00, "eve": 5_00}
FEE_CENTS = 10
SNAPSHOT_EVERY = 10  # events
THREADS = 8
ATTEMPTS = 25  # by each thread, at each account


class Account(NamedTuple):
    """What the events of an account come to. `last`: the offset of the last one; -1 before the first."""

    cents: int = 0
    events: int = 0
    last: int = -1


class Results(NamedTuple):
    """What came of it."""

    approved: Counter[str]  # withdrawals by account
    refused: Counter[str]
    conflicts: int  # how often another thread was faster
    balances: dict[str, int]  # before the restart, in cents
    rebuilt: dict[str, int]  # after it
    audited: dict[str, int]  # from all events, without snapshots
    lowest: dict[str, int]  # the lowest balance that each account ever had
    read_again: int  # the most events that had to be read for one account after the restart


class Bank:
    """The accounts in a log. Safe for any number of threads: it keeps nothing but the log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        log.create_topic("accounts", exist_ok=True)
        log.create_topic("snapshots", cleanup_policy="compact", exist_ok=True)

    def open_account(self, name: str, cents: int) -> None:
        """Open an account with its first deposit; raises `OffsetConflictError` if there is one already."""
        self._log.append("accounts", b"%d" % cents, key=name.encode(), expected_key_offset=-1)

    def load(self, name: str) -> tuple[Account, int]:
        """Return an account, and how many events were read to know it."""
        key = name.encode()
        snapshot = self._log.last_record("snapshots", key)
        account = Account(*json.loads(snapshot.value or b"")) if snapshot else Account()
        read = 0
        for record in self._log.read_key("accounts", key, start=account.last + 1):
            account = Account(account.cents + int(record.value or b""), account.events + 1, record.offset)
            read += 1
        if read >= SNAPSHOT_EVERY:
            self._log.append("snapshots", json.dumps(account).encode(), key=key)
        return account, read

    def withdraw(self, name: str, cents: int) -> tuple[bool, int]:
        """Withdraw and take the fee, if there is enough for both; return whether, and how many conflicts it took."""
        conflicts = 0
        while True:
            account, _ = self.load(name)
            if account.cents < cents + FEE_CENTS:
                return False, conflicts
            events = [b"%d" % -cents, b"%d" % -FEE_CENTS]
            try:
                self._log.append_many("accounts", events, key=name.encode(), expected_key_offset=account.last)
            except OffsetConflictError:
                conflicts += 1
            else:
                return True, conflicts


def main() -> Results:
    """Let all threads withdraw, restart, and compare."""
    with TemporaryDirectory() as directory:
        with Log(directory, sync="interval") as log:
            bank = Bank(log)
            for name, cents in OPENING_CENTS.items():
                bank.open_account(name, cents)
            with ThreadPoolExecutor(THREADS) as pool:
                outcomes = [outcome for part in pool.map(customer, [bank] * THREADS) for outcome in part]
            balances = {name: bank.load(name)[0].cents for name in OPENING_CENTS}
        with Log(directory) as log:
            log.clean("snapshots")
            loaded = {name: Bank(log).load(name) for name in OPENING_CENTS}
            audited, lowest = audit(log)
    return Results(
        approved=Counter(name for name, approved, _ in outcomes if approved),
        refused=Counter(name for name, approved, _ in outcomes if not approved),
        conflicts=sum(conflicts for _, _, conflicts in outcomes),
        balances=balances,
        rebuilt={name: account.cents for name, (account, _) in loaded.items()},
        audited=audited,
        lowest=lowest,
        read_again=max(read for _, read in loaded.values()),
    )


def customer(bank: Bank) -> list[tuple[str, bool, int]]:
    """Withdraw from all accounts in turn; return (account, approved, conflicts) of each attempt."""
    return [(name, *bank.withdraw(name, 1_00)) for _ in range(ATTEMPTS) for name in OPENING_CENTS]


def audit(log: Log) -> tuple[dict[str, int], dict[str, int]]:
    """Add up all events of all accounts in the order in which they happened; return balances and lowest balances."""
    balances = Counter[str]()
    lowest: dict[str, int] = {}
    for record in log.read("accounts"):
        name = (record.key or b"").decode()
        balances[name] += int(record.value or b"")
        lowest[name] = min(lowest.get(name, balances[name]), balances[name])
    return dict(balances), lowest


if __name__ == "__main__":
    found = main()
    for name, cents in found.rebuilt.items():
        counts = f"{found.approved[name]} withdrawals, {found.refused[name]} refused"
        print(f"{name}: {cents / 100:.2f} left of {OPENING_CENTS[name] / 100:.2f}, {counts}")
    print("another thread was faster:", "yes" if found.conflicts else "never")
    print("after the restart at most", found.read_again, "events of an account were read again")
