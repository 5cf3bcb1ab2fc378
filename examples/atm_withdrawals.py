"""An ATM asks for money and waits for the answer; the account is debited exactly once, whatever crashes.

Every withdrawal has a message id. The account worker takes three steps for it:

1. It appends its decision, together with that id, to the topic `ledger`. This one record is the debit.
2. It tells the audit, through a topic exchange, and answers the ATM.
3. It acknowledges the request.

A worker that dies after the first step has not acknowledged, so the request is delivered again. Its successor
reads the ledger, finds the id in it, and repeats the answer instead of the debit. The same helps an ATM that
asks again, under the same id, because it never got the answer. The audit may hear of a decision twice, but
never not at all; it, too, has the id to tell.

    python examples/atm_withdrawals.py
"""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from tempfile import TemporaryDirectory
from typing import NamedTuple

from msglog import Broker, Log, Properties, QueueConsumer, Store

OPENING_CENTS = {"ada": 100_00, "bob": 40_00}

# Message id, account, cents
WITHDRAWALS = (
    ("atm7-1", "ada", 60_00),
    ("atm7-2", "bob", 50_00),  # more than there is
    ("atm7-3", "ada", 30_00),  # the worker dies between debit and answer
    ("atm7-3", "ada", 30_00),  # the ATM asks again
    ("atm7-4", "ada", 20_00),  # by now more than there is
    ("atm7-5", "bob", 40_00),
)


class Decision(NamedTuple):
    """A record of the ledger, and the answer to the ATM."""

    request: str  # the message id of the withdrawal
    account: str
    cents: int
    approved: bool
    balance: int  # afterwards


class Results(NamedTuple):
    """What the ATM was answered, and what the store holds in the end."""

    answers: list[Decision]
    ledger: list[Decision]
    audited: list[str]  # message ids in the queue of all decisions
    refused: list[str]  # message ids in the queue of refusals
    crashes: int


class Crash(BaseException):
    """Stands for whatever ends a worker in the middle of its work: no error that it could handle."""


class Accounts:
    """Balances and decisions: nothing but a summary of the ledger, made anew by each worker that starts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._balances = Counter(OPENING_CENTS)
        self._decisions: dict[str, Decision] = {}
        for decision in read_ledger(log):
            self._take_over(decision)

    def withdraw(self, request: str, account: str, cents: int) -> Decision:
        """Decide once for each request. When this returns, the decision is on the disk."""
        if request not in self._decisions:
            balance = self._balances[account]
            approved = cents <= balance
            decision = Decision(request, account, cents, approved, balance - cents if approved else balance)
            self._log.append("ledger", json.dumps(decision).encode(), key=account.encode())
            self._take_over(decision)
        return self._decisions[request]

    def _take_over(self, decision: Decision) -> None:
        self._decisions[decision.request] = decision
        self._balances[decision.account] = decision.balance


def main() -> Results:
    """Let the ATM make its withdrawals while a worker is kept running, and return what came of it."""
    with TemporaryDirectory() as directory, Store(directory) as store:
        store.log.create_topic("ledger")
        declare(store.broker)
        with ThreadPoolExecutor(1) as thread, store.broker.consume("withdrawals") as consumer:
            worker = thread.submit(keep_running, store, consumer, {"atm7-3"})
            try:
                answers = [withdraw(store.broker, *withdrawal) for withdrawal in WITHDRAWALS]
            finally:
                consumer.stop()
            crashes = worker.result()
        ledger = read_ledger(store.log)
        return Results(answers, ledger, ids(store.broker, "audit"), ids(store.broker, "refusals"), crashes)


def declare(broker: Broker) -> None:
    """Declare the queue of requests, and the audit: an exchange that queues bind to by patterns."""
    broker.declare_queue("withdrawals")
    broker.declare_exchange("decisions", "topic")
    for queue, pattern in (("audit", "withdrawal.#"), ("refusals", "withdrawal.*.refused")):
        broker.declare_queue(queue)
        broker.bind(queue, "decisions", pattern)


def withdraw(broker: Broker, request: str, account: str, cents: int) -> Decision:
    """Be the ATM: send a request and wait for the answer."""
    body = json.dumps([account, cents]).encode()
    answer = broker.request("", "withdrawals", body, properties=Properties(message_id=request), timeout=30)
    return Decision(*json.loads(answer.body))


def keep_running(store: Store, consumer: QueueConsumer, fatal: set[str]) -> int:
    """Start a worker, and another one whenever it crashes, until `consumer` is stopped; return the crashes."""
    crashes = 0
    while True:
        try:
            serve(store, consumer, fatal)
        except Crash:
            crashes += 1
        else:
            return crashes


def serve(store: Store, consumer: QueueConsumer, fatal: set[str]) -> None:
    """Be the account worker, and crash once after the debit of each of the `fatal` requests."""
    accounts = Accounts(store.log)
    for delivery in consumer:
        with delivery:  # acknowledges at the end, and gives the request back when the worker crashes
            request = delivery.properties.message_id or ""
            decision = accounts.withdraw(request, *json.loads(delivery.body))
            if request in fatal:
                fatal.remove(request)
                raise Crash
            outcome = "approved" if decision.approved else "refused"
            key = f"withdrawal.{decision.account}.{outcome}"
            body = json.dumps(decision).encode()
            store.broker.publish("decisions", key, body, properties=Properties(message_id=request))
            delivery.reply(body)


def read_ledger(log: Log) -> list[Decision]:
    return [Decision(*json.loads(record.value or b"")) for record in log.read("ledger")]


def ids(broker: Broker, queue: str) -> list[str]:
    """Take everything out of a queue and return its message ids."""
    with broker.consume(queue, no_ack=True) as consumer:
        return [delivery.properties.message_id or "" for delivery in consumer.iter(timeout=0)]


if __name__ == "__main__":
    found = main()
    for answer in found.answers:
        outcome = "gets" if answer.approved else "is refused"
        amounts = f"{answer.cents / 100:.2f}, balance {answer.balance / 100:.2f}"
        print(f"{answer.request}: {answer.account} {outcome} {amounts}")
    print(f"{found.crashes} crash, {len(found.ledger)} decisions, {len(set(found.audited))} of them audited")
    print("refused:", ", ".join(found.refused))
