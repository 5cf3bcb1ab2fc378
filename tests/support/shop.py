"""A small store with something of everything, for tests of the command line; run in a child it goes on writing.

Argument of a child: the directory. Each line on standard input says what to do (`append TEXT`, `send TEXT`, `take`) and
is answered. The topic is `orders`, the queue `mail`.
"""

import sys

import msglog
from support.children import say

START_MS = 1_700_000_000_000


def fill(path: object) -> None:
    """Make the store: closed again when this returns."""
    with msglog.Store(str(path), sync="none") as store:
        log, broker = store.log, store.broker
        log.create_topic("orders", partitions=2, retention_ms=86_400_000)
        for number in range(4):
            key = b"even" if number % 2 == 0 else b"odd"
            stamp = START_MS + 1000 * number
            value = b"order %d" % number
            log.append(
                "orders", value, key=key, partition=number % 2, timestamp_ms=stamp, headers=[("n", b"%d" % number)]
            )
        log.create_topic("prices", cleanup_policy="compact")
        with log.consumer("orders", group="billing") as consumer:
            consumer.poll(0)
            consumer.commit()
        log.append("orders", b"late", partition=0, timestamp_ms=START_MS + 9000)
        broker.declare_exchange("events", "topic", alternate_exchange="unrouted")
        broker.declare_exchange("unrouted", "fanout")
        broker.declare_queue("mail", dead_letter_exchange="dead", max_priority=5)
        broker.declare_queue("lost")
        broker.declare_exchange("dead", "fanout")
        broker.bind("mail", "events", "order.#")
        broker.bind("lost", "dead")
        broker.publish("events", "order.new", b"first", headers={"n": 1})
        broker.send("mail", b"second", properties=msglog.Properties(content_type="text/plain"))
        broker.set_policy("short", "^lo", {"max-length": 7})


def main(directory: str) -> None:
    """Write as told."""
    with msglog.Store(directory) as store:
        say("open")
        for line in sys.stdin:
            what, _, text = line.strip().partition(" ")
            if what == "append":
                store.log.append("orders", text.encode(), partition=0)
            elif what == "send":
                store.broker.send("mail", text.encode())
            elif what == "take":
                delivery = store.broker.get("mail")
                assert delivery is not None
                delivery.ack()
            say("done")


if __name__ == "__main__":
    main(sys.argv[1])
