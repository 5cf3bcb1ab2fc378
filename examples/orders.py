"""An order is published once; payment, inventory and e-mail each do their part of it, at their own pace.

The exchange `orders` copies every order to three queues. Each queue has a worker of its own, and each copy is
acknowledged by itself, once its worker has returned. Two things go wrong, and neither holds up the rest:

- The payment provider does not answer at first. That copy is tried again after a back-off.
- One order came without an e-mail address, so no mail about it can ever be sent. When its retries are used up
  the copy is rejected, and waits in the queue `dead-letters` for somebody to look at it.

    python examples/orders.py
"""

import json
import logging
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from msglog import Broker, Delivery, Properties, Retry

ORDERS: tuple[dict[str, Any], ...] = (
    {"number": "A-1", "item": "lamp", "quantity": 1, "cents": 4_900, "email": "ada@example.org"},
    {"number": "A-2", "item": "chair", "quantity": 4, "cents": 31_600, "email": "bob@example.org"},
    {"number": "A-3", "item": "lamp", "quantity": 2, "cents": 9_800},
    {"number": "A-4", "item": "table", "quantity": 1, "cents": 22_000, "email": "dora@example.org"},
)
RETRY = Retry(limit=2, delay_ms=10)  # two more attempts, 10 and 20 ms later; then reject


@dataclass
class Results:
    """What the workers did. Each field is written by one of them only."""

    copies: list[int] = field(default_factory=list)  # to how many queues each order went
    paid: dict[str, int] = field(default_factory=dict)  # cents by order
    payment_attempts: Counter[str] = field(default_factory=Counter)  # by order
    reserved: Counter[str] = field(default_factory=Counter)  # pieces by item
    mails: list[str] = field(default_factory=list)
    dead_letters: list[tuple[str, str, str]] = field(default_factory=list)  # order, queue, reason


def main() -> Results:
    """Publish the orders, let the workers finish, and return what they did."""
    # Failed attempts are logged as warnings. Here they are part of the story, which is printed at the end.
    logging.getLogger("msglog").addHandler(logging.NullHandler())
    results = Results()
    with Broker(":memory:") as broker:
        declare(broker)
        for order in ORDERS:
            properties = Properties(content_type="application/json", message_id=order["number"])
            copies = broker.publish("orders", "order.placed", json.dumps(order).encode(), properties=properties)
            results.copies.append(copies)
        work(broker, results)
        results.dead_letters = read_dead_letters(broker)
    return results


def declare(broker: Broker) -> None:
    """Declare one exchange, a queue for each worker, and one for what none of them can do."""
    broker.declare_exchange("orders", "fanout")
    broker.declare_queue("dead-letters")
    for queue in ("payment", "inventory", "email"):
        # The default exchange "" brings a message to the queue that its routing key names
        broker.declare_queue(queue, dead_letter_exchange="", dead_letter_routing_key="dead-letters")
        broker.bind(queue, "orders")


def work(broker: Broker, results: Results) -> None:
    """Let three workers run, each on a thread of its own, until their queues are empty."""

    def pay(delivery: Delivery) -> None:
        order = json.loads(delivery.body)
        results.payment_attempts[order["number"]] += 1
        if order["number"] == "A-2" and results.payment_attempts["A-2"] == 1:
            raise ConnectionError("the payment provider does not answer")
        results.paid[order["number"]] = order["cents"]

    def reserve(delivery: Delivery) -> None:
        order = json.loads(delivery.body)
        results.reserved[order["item"]] += order["quantity"]

    def send_mail(delivery: Delivery) -> None:
        order = json.loads(delivery.body)
        results.mails.append(order["email"])  # KeyError without one

    with ExitStack() as stack:
        subscriptions = [
            stack.enter_context(broker.subscribe(queue, callback, on_error=RETRY))
            for queue, callback in (("payment", pay), ("inventory", reserve), ("email", send_mail))
        ]
        if not all(subscription.wait_idle(timeout=30) for subscription in subscriptions):
            raise SystemExit("the workers did not finish")


def read_dead_letters(broker: Broker) -> list[tuple[str, str, str]]:
    """Return which orders were given up, where, and why: the header `x-death` tells, newest death first."""
    found: list[tuple[str, str, str]] = []
    while delivery := broker.get("dead-letters"):
        with delivery:
            death = delivery.headers["x-death"][0]
            found.append((delivery.properties.message_id or "", death["queue"], death["reason"]))
    return found


if __name__ == "__main__":
    done = main()
    print("paid:", ", ".join(f"{number} {cents / 100:,.2f}" for number, cents in sorted(done.paid.items())))
    print("attempts to pay:", ", ".join(f"{number} {count}" for number, count in done.payment_attempts.items()))
    print("reserved:", ", ".join(f"{count} × {item}" for item, count in sorted(done.reserved.items())))
    print("mails:", ", ".join(done.mails))
    print("given up:", ", ".join(f"{number} ({reason} by {queue})" for number, queue, reason in done.dead_letters))
