"""What becomes of messages that die. Rows 1 to 7 and 70, and the details on x-death and cycles."""

from datetime import UTC, datetime

import pytest

from msglog import Properties
from support.brokers import DEAD_LETTERED, ready, send_all, take, take_deliveries, take_one

START = datetime.fromtimestamp(1_700_000_000, tz=UTC)


def reject_next(broker, queue):
    broker.get(queue).reject()


def death_of(delivery):
    return delivery.headers["x-death"][0]


@pytest.fixture
def chain(broker):
    """Two queues that hand on their dead letters by name, and a last one."""
    broker.declare_queue("src", message_ttl_ms=10_000, dead_letter_exchange="", dead_letter_routing_key="middle")
    broker.declare_queue("middle", dead_letter_exchange="", dead_letter_routing_key="last")
    broker.declare_queue("last")


@pytest.mark.usefixtures("chain")
def test_a_death_is_written_into_the_headers(broker, clock):
    headers = {"CC": ["cc"], "BCC": ["bcc"], "mine": [1, "two"]}
    properties = Properties(priority=3, message_id="m", content_type="text/plain")
    broker.send("src", b"body", headers=headers, properties=properties, expiration_ms=50)
    clock.advance(ms=50)
    letter = take_one(broker, "middle")
    assert letter.headers == {
        "mine": [1, "two"],
        "x-death": [
            {
                "count": 1,
                "reason": "expired",
                "queue": "src",
                "time": START,
                "exchange": "",
                "routing-keys": ["src", "cc"],
                "original-expiration": "50",
            }
        ],
        "x-first-death-exchange": "",
        "x-first-death-queue": "src",
        "x-first-death-reason": "expired",
        "x-last-death-exchange": "",
        "x-last-death-queue": "src",
        "x-last-death-reason": "expired",
    }
    assert (letter.body, letter.exchange, letter.routing_key) == (b"body", "", "middle")
    assert (letter.redelivered, letter.delivery_count, letter.queue) == (False, 0, "middle")
    kept = letter.properties
    assert (kept.priority, kept.message_id, kept.content_type, kept.delivery_mode) == (3, "m", "text/plain", 2)
    assert kept.expiration is None


@pytest.mark.usefixtures("chain")
def test_a_further_death_stands_before_the_first(broker, clock):
    broker.send("src", b"x", expiration_ms=50)
    clock.advance(ms=2500)
    reject_next(broker, "middle")
    headers = take_one(broker, "last").headers
    second, first = headers["x-death"]
    assert second == {
        "count": 1,
        "reason": "rejected",
        "queue": "middle",
        "time": datetime.fromtimestamp(1_700_000_002, tz=UTC),
        "exchange": "",
        "routing-keys": ["middle"],
    }
    assert (first["reason"], first["queue"], first["original-expiration"]) == ("expired", "src", "50")
    assert [headers[f"x-first-death-{part}"] for part in ("queue", "reason", "exchange")] == ["src", "expired", ""]
    assert [headers[f"x-last-death-{part}"] for part in ("queue", "reason", "exchange")] == ["middle", "rejected", ""]


def test_the_same_death_again_is_counted(broker, clock):
    broker.declare_queue("q", dead_letter_exchange="")
    broker.send("q", b"x")
    for count in range(1, 5):
        clock.advance(seconds=10)
        reject_next(broker, "q")
        delivery = broker.get("q")
        assert (delivery.redelivered, delivery.delivery_count) == (False, 0)
        (death,) = delivery.headers["x-death"]
        assert (death["count"], death["reason"], death["queue"]) == (count, "rejected", "q")
        assert death["time"] == datetime.fromtimestamp(1_700_000_010, tz=UTC)
        delivery.nack()


def test_a_death_that_comes_again_moves_to_the_front(broker, clock):
    broker.declare_queue("a", dead_letter_exchange="", dead_letter_routing_key="b")
    broker.declare_queue("b", dead_letter_exchange="", dead_letter_routing_key="a")
    broker.send("a", b"x")
    reject_next(broker, "a")
    clock.advance(seconds=5)
    reject_next(broker, "b")
    delivery = broker.get("a")
    assert [(death["queue"], death["count"]) for death in delivery.headers["x-death"]] == [("b", 1), ("a", 1)]
    clock.advance(seconds=5)
    delivery.reject()
    deaths = take_one(broker, "b").headers["x-death"]
    assert [(death["queue"], death["count"]) for death in deaths] == [("a", 2), ("b", 1)]
    assert deaths[0]["time"] == START


def test_other_reasons_are_other_deaths(broker, clock):
    broker.declare_queue("a", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key="b")
    broker.declare_queue("b", dead_letter_exchange="", dead_letter_routing_key="a")
    broker.send("a", b"x")
    clock.advance(ms=100)
    reject_next(broker, "b")
    reject_next(broker, "a")
    deaths = take_one(broker, "b").headers["x-death"]
    assert [(death["queue"], death["reason"], death["count"]) for death in deaths] == [
        ("a", "rejected", 1),
        ("b", "rejected", 1),
        ("a", "expired", 1),
    ]


@pytest.mark.usefixtures("chain")
def test_only_a_time_of_its_own_is_remembered(broker, clock):
    broker.send("src", b"x")
    clock.advance(ms=10_000)
    death = death_of(take_one(broker, "middle"))
    assert death["reason"] == "expired"
    assert "original-expiration" not in death


def test_a_dead_letter_never_expires_by_its_own_time_again(broker, clock):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.declare_queue("dlq")
    broker.send("q", b"x", expiration_ms=50)
    clock.advance(ms=50)
    clock.advance(seconds=3600)
    assert ready(broker, "dlq") == 1


# Where it goes


def test_without_a_key_of_its_own_a_dead_letter_keeps_key_cc_and_bcc(broker):
    broker.declare_exchange("dead")
    for key in ("k", "cc", "bcc", "q"):
        broker.declare_queue(f"on {key}")
        broker.bind(f"on {key}", "dead", key)
    broker.declare_queue("q", dead_letter_exchange="dead")
    broker.bind("q", "amq.direct", "k")
    broker.publish("amq.direct", "k", b"x", headers={"CC": ["cc"], "BCC": ["bcc"]})
    reject_next(broker, "q")
    assert [ready(broker, f"on {key}") for key in ("k", "cc", "bcc", "q")] == [1, 1, 1, 0]
    letter = take_one(broker, "on cc")
    assert (letter.exchange, letter.routing_key, letter.headers["CC"]) == ("dead", "k", ["cc"])
    assert "BCC" not in letter.headers
    death = death_of(letter)
    assert (death["exchange"], death["routing-keys"], death["queue"]) == ("amq.direct", ["k", "cc"], "q")


def test_the_keys_of_bcc_are_kept_from_queue_to_queue_and_over_a_restart(disk, clock, again):
    disk.broker.declare_exchange("dead")
    for name, key in (("seen", "k"), ("unseen", "bcc")):
        disk.broker.declare_queue(name)
        disk.broker.bind(name, "dead", key)
    disk.broker.declare_queue("second", dead_letter_exchange="dead")
    disk.broker.declare_queue("first", dead_letter_exchange="amq.fanout")
    disk.broker.bind("second", "amq.fanout")
    disk.broker.bind("first", "amq.direct", "k")
    disk.broker.publish("amq.direct", "k", b"x", headers={"BCC": ["bcc"]}, delay_ms=10)
    clock.advance(ms=10)
    reject_next(disk.broker, "first")
    broker = again()
    reject_next(broker, "second")
    assert (take(broker, "seen"), take(broker, "unseen")) == ([b"x"], [b"x"])


def test_a_key_of_its_own_replaces_key_and_cc(broker):
    for queue in ("cc", "dlq"):
        broker.declare_queue(queue)
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.bind("q", "amq.direct", "k")
    broker.publish("amq.direct", "k", b"x", headers={"CC": ["cc"]})
    reject_next(broker, "q")
    assert ready(broker, "cc") == 0
    letter = take_one(broker, "dlq")
    assert letter.routing_key == "dlq"
    assert "CC" not in letter.headers


def test_dead_letters_go_over_any_kind_of_exchange(broker):
    broker.declare_exchange("dead", "topic")
    broker.declare_exchange("more", "fanout")
    broker.bind_exchange("more", "dead", "#.error")
    for queue in ("one", "two"):
        broker.declare_queue(queue)
        broker.bind(queue, "more")
    broker.declare_queue("q", dead_letter_exchange="dead", dead_letter_routing_key="q.error")
    broker.send("q", b"x")
    reject_next(broker, "q")
    assert [take_one(broker, queue).routing_key for queue in ("one", "two")] == ["q.error", "q.error"]


def test_an_internal_exchange_takes_dead_letters(broker):
    broker.declare_exchange("dead", "fanout", internal=True)
    broker.declare_queue("dlq")
    broker.bind("dlq", "dead")
    broker.declare_queue("q", dead_letter_exchange="dead")
    broker.send("q", b"x")
    reject_next(broker, "q")
    assert take(broker, "dlq") == [b"x"]


def test_a_dead_letter_without_an_exchange_is_dropped(broker):
    broker.declare_queue("q", dead_letter_exchange="missing")
    broker.send("q", b"x")
    reject_next(broker, "q")
    assert broker.get("q") is None
    broker.declare_exchange("missing", "fanout")
    broker.bind("q", "missing")
    broker.send("q", b"y")
    reject_next(broker, "q")
    assert take(broker, "q") == [b"y"]


def test_a_dead_letter_that_reaches_no_queue_is_dropped(broker, clock):
    broker.declare_queue("q", dead_letter_exchange="amq.direct", message_ttl_ms=100)
    send_all(broker, "q", b"1", b"2")
    reject_next(broker, "q")
    clock.advance(ms=100)
    assert ready(broker, "q") == 0
    broker.send("q", b"3")
    assert take(broker, "q") == [b"3"]


def test_dead_letters_may_overflow_in_their_turn(broker):
    broker.declare_queue("last")
    broker.declare_queue("dlq", max_length=1, dead_letter_exchange="", dead_letter_routing_key="last")
    broker.declare_queue("q", max_length=1, **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2", b"3", b"4")
    assert take(broker, "q") == [b"4"]
    assert take(broker, "dlq") == [b"3"]
    letters = take_deliveries(broker, "last")
    assert [letter.body for letter in letters] == [b"1", b"2"]
    assert [death["queue"] for death in letters[0].headers["x-death"]] == ["dlq", "q"]


def test_a_full_queue_drops_dead_letters_it_would_refuse_from_a_publisher(broker):
    broker.declare_queue("dlq", max_length=1, overflow="reject-publish")
    broker.declare_queue("q", **DEAD_LETTERED)
    send_all(broker, "q", b"1", b"2")
    reject_next(broker, "q")
    reject_next(broker, "q")
    assert take(broker, "dlq") == [b"1"]
    assert broker.get("q") is None


# Cycles


def test_a_cycle_of_expiry_ends(broker, clock):
    broker.declare_queue("a", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key="b")
    broker.declare_queue("b", message_ttl_ms=100, dead_letter_exchange="", dead_letter_routing_key="a")
    broker.send("a", b"x")
    clock.advance(ms=100)
    assert (ready(broker, "a"), ready(broker, "b")) == (0, 1)
    clock.advance(ms=100)
    assert (ready(broker, "a"), ready(broker, "b")) == (0, 0)


def test_a_cycle_with_a_rejection_goes_on(broker, clock):
    broker.declare_queue("work", dead_letter_exchange="", dead_letter_routing_key="wait")
    broker.declare_queue("wait", message_ttl_ms=1000, dead_letter_exchange="", dead_letter_routing_key="work")
    broker.send("work", b"x")
    for count in range(1, 6):
        reject_next(broker, "work")
        assert (ready(broker, "work"), ready(broker, "wait")) == (0, 1)
        clock.advance(seconds=1)
        (peeked,) = broker.peek("work")
        deaths = {(death["queue"], death["reason"]): death["count"] for death in peeked.headers["x-death"]}
        assert deaths == {("work", "rejected"): count, ("wait", "expired"): count}


def test_a_cycle_ends_for_one_queue_only(broker, clock):
    broker.declare_exchange("dead", "fanout")
    broker.declare_queue("q", message_ttl_ms=100, dead_letter_exchange="dead")
    broker.declare_queue("other")
    for queue in ("q", "other"):
        broker.bind(queue, "dead")
    broker.send("q", b"x")
    clock.advance(ms=100)
    assert take(broker, "other") == [b"x"]
    assert ready(broker, "q") == 0


# What clients say of deaths


def test_deaths_that_a_client_tells_count_for_nothing(broker, clock):
    broker.declare_queue("q", message_ttl_ms=100, **DEAD_LETTERED)
    broker.declare_queue("dlq")
    made_up = [{"queue": "q", "reason": "expired", "count": 7, "exchange": "", "routing-keys": ["q"], "time": START}]
    broker.send("q", b"x", headers={"x-death": made_up})
    clock.advance(ms=100)
    (death,) = take_one(broker, "dlq").headers["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == ("q", "expired", 1)


def test_a_dead_letter_published_again_begins_a_new_life(broker):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.declare_queue("dlq")
    broker.send("q", b"x")
    for _ in range(3):
        reject_next(broker, "q")
        letter = take_one(broker, "dlq")
        assert [death["count"] for death in letter.headers["x-death"]] == [1]
        broker.publish("", "q", letter.body, properties=letter.properties)


def test_made_up_deaths_make_no_cycle(broker, clock):
    broker.declare_queue("dlq")
    broker.declare_queue("q", message_ttl_ms=100, **DEAD_LETTERED)
    broker.send("q", b"x", headers={"x-death": [{"queue": "dlq", "reason": "expired", "count": 1}]})
    clock.advance(ms=100)
    assert take(broker, "dlq") == [b"x"]


def test_dying_is_one_commit(broker, dlq):
    broker.declare_queue("q", **DEAD_LETTERED)
    broker.send("q", b"x")
    delivery = broker.get("q")
    engine = broker.store.core.engine
    before = engine.commit_number
    delivery.reject()
    assert ready(broker, dlq) == 1
    assert engine.commit_number == before + 1
