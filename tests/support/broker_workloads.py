"""What brokers do in tests of crashes and failures: each workload drives a `BrokerSession` through a short life."""

from collections.abc import Callable

from support.broker_session import DEAD, BrokerSession

BrokerWorkload = Callable[[BrokerSession], None]
MINUTE_MS = 60_000


def settling(session: BrokerSession) -> None:
    """Acknowledge in and out of order, give back, reject; twice in a row after a close."""
    session.open()
    session.declare("dlq")
    session.declare("q", dead=DEAD)
    session.send("q", 6)
    session.get("q", 5)
    session.ack("q", 1)
    session.ack("q")
    session.reject("q", 1)
    session.nack("q")
    session.get("q", 2)
    session.ack("q", 1)
    session.send("q")
    session.close()
    session.open()
    session.get("q", 2)
    session.reject("q", 1)
    session.get("dlq", 2)
    session.ack("dlq", 1)
    session.send("q", 3, persistent=False)
    session.get("q")
    session.ack("q")
    session.send("q", 2, persistent=False)


def spreading(session: BrokerSession) -> None:
    """Copies to many queues, definitions that come and go, transient ones among them."""
    session.open()
    session.declare_exchange("all", "fanout")
    session.declare_exchange("some", "direct")
    session.declare_exchange("passing", "fanout", durable=False)
    for name in ("a", "b", "c"):
        session.declare(name, dead=("all", "") if name == "c" else None)
        session.bind(name, "all")
    session.declare("t", durable=False)
    session.bind("t", "all")
    session.bind("a", "passing")
    session.bind("b", "some", "b")
    session.bind("c", "some", "c")
    session.publish("all", "")
    session.publish_many("some", "b", "c", "b", "x", "c")
    session.publish_many("all", "", "")
    session.get("c", 2)
    session.reject("c")
    session.ack("c")
    session.set_policy("short", "a", 2)
    session.publish("passing", "")
    session.unbind("b", "all")
    session.purge("b")
    session.publish("all", "", persistent=False)
    session.delete("c")
    session.delete_policy("short")
    session.publish("all", "")
    session.delete_exchange("some")
    session.kill()
    session.open()
    session.publish("all", "")


def limiting(session: BrokerSession) -> None:
    """Lengths, times to live and delivery limits, with dead letters that expire in turn.

    What is dropped or expires goes to a queue without a time to live: a crash in between may put it there later.
    """
    session.open()
    session.declare("end")
    session.declare("dlq", ttl_ms=500, dead=("", "end"))
    session.declare("short", most=2, dead=("", "end"))
    session.declare("brief", ttl_ms=100, dead=("", "end"))
    session.declare("poison", limit=1, dead=DEAD)
    session.send("short", 3)
    session.send("brief")
    session.advance(50)
    session.send("brief", expiration_ms=20)
    session.publish_many("", "brief", "short", "short")
    session.send("poison", 2)
    session.get("poison", 2)
    session.nack("poison", 1)
    session.get("short")
    session.send("short")
    session.nack("short")
    session.advance(60)
    session.get("poison")
    session.nack("poison")
    session.nack("poison")
    session.kill()
    session.open()
    session.get("poison")
    session.kill()
    session.open()
    session.get("poison")
    session.send("poison")
    session.get("poison")
    session.reject("poison")
    session.get("dlq")
    session.advance(600)
    session.ack("dlq")
    session.close()
    session.open()
    session.get("end", 2)
    session.ack("end", 1)


def delaying(session: BrokerSession) -> None:
    """Delays of all widths, over ends of the process."""
    session.open()
    session.declare_exchange("all", "fanout")
    session.declare("a")
    session.declare("b")
    session.bind("a", "all")
    session.bind("b", "all")
    session.publish("all", "", delay_ms=100)
    session.send("a", delay_ms=3 * MINUTE_MS)
    session.send("b", delay_ms=50)
    session.send("b", delay_ms=50)
    session.advance(60)
    session.get("b")
    session.ack("b")
    session.get("b")
    session.nack("b", delay_ms=100)
    session.send("a", delay_ms=10)
    session.kill()
    session.open()
    session.advance(100)
    session.send("a", delay_ms=400 * MINUTE_MS)
    session.delete("b")
    session.advance(3 * MINUTE_MS)
    session.close()
    session.open()
    session.advance(401 * MINUTE_MS)
    session.get("a", 2)
    session.ack("a", 1)


def ranking(session: BrokerSession) -> None:
    """Priorities: lanes made when first used."""
    session.open()
    session.declare("dlq", levels=2)
    session.declare("q", levels=3, dead=DEAD)
    for priority in (0, 2, 9, 2, 0):
        session.publish("", "q", priority=priority)
    session.get("q", 3)
    session.ack("q", 1)
    session.reject("q")
    session.publish("", "q", priority=3)
    session.nack("q")
    session.get("q", 2)
    session.kill()
    session.open()
    session.get("q", 3)
    session.ack("q", 2)
    session.publish("", "q", priority=1)
    session.purge("q")


def draining(session: BrokerSession) -> None:
    """Enough for rolls, trims, rewritten segments, snapshots and drafts, with one message that pins a segment."""
    session.open()
    session.declare("dlq")
    session.declare("q", dead=DEAD)
    session.send("q", 14, size=300)
    session.get("q", 14)
    for place in (13, 12, 11, 10, 9, 7, 6, 5, 4):
        session.ack("q", place)
    for _ in range(3):
        session.ack("q")
    session.advance(200)
    for _ in range(5):
        session.send("q", size=300)
        session.get("q")
        session.ack("q", -1)
    session.advance(200)
    session.reject("q")
    session.ack("q")
    session.send("q", 2, size=1500)
    session.get("q", 2)
    session.ack("q", 1)
    session.flush()
    session.kill()
    session.open()
    session.get("q")
    session.ack("q")
    session.advance(200)
    session.send("q", size=3000)
    session.close()
    session.open()
    session.get("q")
    session.ack("q")


def changing_modes(session: BrokerSession) -> None:
    """One store in all three modes, one after the other."""
    session.open()
    session.declare("dlq")
    session.declare("q", dead=DEAD, limit=5)
    for sync in ("none", "commit", "interval", "commit"):
        session.send("q", 3)
        session.get("q", 3)
        session.ack("q", 1)
        session.reject("q")
        if sync == "interval":
            session.kill()
        else:
            session.close()
        session.open(sync)
    session.get("q", 2)
    session.ack("q", 1)


BROKER_WORKLOADS: tuple[BrokerWorkload, ...] = (
    settling,
    spreading,
    limiting,
    delaying,
    ranking,
    draining,
    changing_modes,
)
