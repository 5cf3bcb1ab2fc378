"""Dead letters: headers, routing keys and circles, row by row as a real RabbitMQ was seen to do it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.properties import Properties
from msglog.broker.rules.dead_letters import blind_copies, dead_letter, is_cycle, routing_keys, without_bcc
from msglog.broker.rules.message_codec import Meta, pack_meta, unpack_meta
from msglog.errors import PreconditionFailedError
from support import tables

NOW_MS = 1_700_000_000_999
NOW = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
LATER_MS = NOW_MS + 3_600_000


def died(meta, queue, reason, *, now_ms=NOW_MS, exchange="dlx", routing_key=None):
    """Return the metadata with which the message arrives in its next queue, stored and read back."""
    letter = dead_letter(meta, queue=queue, reason=reason, now_ms=now_ms, exchange=exchange, routing_key=routing_key)
    return unpack_meta(pack_meta(letter.exchange, letter.routing_keys[0], letter.properties, dead_lettered=True))


@pytest.fixture
def expired():
    """A message with everything, expired by its own expiration, with a dead-letter routing key."""
    properties = Properties(
        headers={"user": 1, "CC": ["o.cc"]}, expiration="50", delivery_mode=2, priority=3, message_id="m"
    )
    return died(Meta("", "o.src", properties), "o.src", "expired", routing_key="o.dlq")


def test_row_1_first_death_by_expiration(expired):
    headers = expired.properties.headers
    assert headers["x-death"] == [
        {
            "count": 1,
            "reason": "expired",
            "queue": "o.src",
            "time": NOW,
            "exchange": "",
            "routing-keys": ["o.src", "o.cc"],
            "original-expiration": "50",
        }
    ]
    assert headers["x-first-death-exchange"] == ""
    assert headers["x-first-death-queue"] == "o.src"
    assert headers["x-first-death-reason"] == "expired"
    assert headers["user"] == 1


def test_row_1_what_becomes_of_the_properties(expired):
    assert (expired.exchange, expired.routing_key) == ("dlx", "o.dlq")
    properties = expired.properties
    assert properties.expiration is None
    assert (properties.delivery_mode, properties.priority, properties.message_id) == (2, 3, "m")
    assert "CC" not in properties.headers


def test_row_1_a_time_is_in_whole_seconds_and_utc(expired):
    time = expired.properties.headers["x-death"][0]["time"]
    assert (time.microsecond, time.utcoffset()) == (0, timedelta(0))


def test_row_2_a_rejection_in_the_next_queue_comes_in_front(expired):
    headers = died(expired, "o.dlq", "rejected", now_ms=LATER_MS, exchange="second").properties.headers
    assert headers["x-death"] == [
        {
            "count": 1,
            "reason": "rejected",
            "queue": "o.dlq",
            "time": LATER,
            "exchange": "dlx",
            "routing-keys": ["o.dlq"],
        },
        expired.properties.headers["x-death"][0],
    ]
    assert headers["x-first-death-queue"] == "o.src"
    assert headers["x-first-death-reason"] == "expired"
    assert headers["x-first-death-exchange"] == ""


def test_row_2_the_last_death_is_told_as_in_rabbitmq_4(expired):
    def last(meta):
        return {name: value for name, value in meta.properties.headers.items() if name.startswith("x-last-death-")}

    assert last(expired) == {
        "x-last-death-reason": "expired",
        "x-last-death-queue": "o.src",
        "x-last-death-exchange": "",
    }
    assert last(died(expired, "o.dlq", "rejected")) == {
        "x-last-death-reason": "rejected",
        "x-last-death-queue": "o.dlq",
        "x-last-death-exchange": "dlx",
    }


def test_row_3_the_same_death_again_counts_up_and_moves_to_the_front(expired):
    rejected = died(expired, "o.dlq", "rejected", routing_key="o.src")
    again = died(rejected, "o.src", "expired", now_ms=LATER_MS, routing_key="o.dlq")
    first, second = expired.properties.headers["x-death"][0], rejected.properties.headers["x-death"][0]
    assert again.properties.headers["x-death"] == [{**first, "count": 2}, second]
    third = died(again, "o.src", "expired", now_ms=LATER_MS)
    assert third.properties.headers["x-death"] == [{**first, "count": 3}, second]


def test_row_3_another_reason_in_the_same_queue_is_another_entry(expired):
    headers = died(expired, "o.src", "maxlen").properties.headers
    assert [(death["queue"], death["reason"]) for death in headers["x-death"]] == [
        ("o.src", "maxlen"),
        ("o.src", "expired"),
    ]


def test_row_4_expiry_by_the_queue_alone_has_no_original_expiration():
    headers = died(Meta("e", "k", Properties()), "q", "expired").properties.headers
    assert headers["x-death"] == [
        {"count": 1, "reason": "expired", "queue": "q", "time": NOW, "exchange": "e", "routing-keys": ["k"]}
    ]


@pytest.mark.parametrize("reason", ["expired", "maxlen", "delivery_limit"])
def test_rows_5_and_6_a_circle_without_a_rejection_is_dropped(reason):
    headers = died(Meta("", "q", Properties()), "q", reason).properties.headers
    assert is_cycle(headers, "q", reason)
    assert not is_cycle(headers, "other", reason)


def test_row_7_a_circle_by_rejection_is_allowed_and_counts():
    meta = Meta("", "q", Properties())
    for count in (1, 2, 3):
        meta = died(meta, "q", "rejected", exchange="")
        assert not is_cycle(meta.properties.headers, "q", "rejected")
        assert [death["count"] for death in meta.properties.headers["x-death"]] == [count]


def test_a_rejection_anywhere_in_the_circle_allows_it():
    meta = died(Meta("", "work", Properties()), "work", "rejected", routing_key="wait")
    meta = died(meta, "wait", "expired", routing_key="work")
    assert not is_cycle(meta.properties.headers, "work", "expired")
    assert is_cycle(meta.properties.headers, "wait", "expired")


def test_a_rejection_before_the_circle_does_not_allow_it():
    meta = died(Meta("", "first", Properties()), "first", "rejected", routing_key="a")
    meta = died(meta, "a", "expired", routing_key="b")
    meta = died(meta, "b", "maxlen", routing_key="a")
    assert is_cycle(meta.properties.headers, "a", "maxlen")


@pytest.mark.parametrize("headers", [None, {}, {"x": 1}])
def test_without_deaths_there_is_no_circle(headers):
    assert not is_cycle(headers, "q", "expired")


def test_without_a_dead_letter_routing_key_the_own_keys_and_cc_stay():
    meta = Meta("e", "k", Properties(headers={"CC": ["c1", "k", "c2"]}))
    letter = dead_letter(meta, queue="q", reason="rejected", now_ms=NOW_MS, exchange="dlx", routing_key=None)
    assert letter.routing_keys == ("k", "c1", "c2")
    assert letter.exchange == "dlx"
    assert letter.properties.headers["CC"] == ["c1", "k", "c2"]
    assert letter.properties.headers["x-death"][0]["routing-keys"] == ["k", "c1", "k", "c2"]


def test_with_one_it_is_the_only_key():
    meta = Meta("e", "k", Properties(headers={"CC": ["c1"]}))
    letter = dead_letter(meta, queue="q", reason="rejected", now_ms=NOW_MS, exchange="dlx", routing_key="")
    assert letter.routing_keys == ("",)


def test_the_keys_of_bcc_go_on_unseen():
    meta = Meta("e", "k", Properties(headers={"CC": ["c"]}), blind_copies=("b",))
    letter = dead_letter(meta, queue="q", reason="rejected", now_ms=NOW_MS, exchange="dlx", routing_key=None)
    assert (letter.routing_keys, letter.blind_copies) == (("k", "c", "b"), ("b",))
    assert "BCC" not in letter.properties.headers
    assert letter.properties.headers["x-death"][0]["routing-keys"] == ["k", "c"]


def test_a_dead_letter_routing_key_replaces_those_of_bcc():
    meta = Meta("e", "k", Properties(), blind_copies=("b",))
    letter = dead_letter(meta, queue="q", reason="rejected", now_ms=NOW_MS, exchange="dlx", routing_key="d")
    assert (letter.routing_keys, letter.blind_copies) == (("d",), ())


def test_what_is_no_text_in_bcc_is_no_key():
    assert blind_copies(Properties(headers={"BCC": ["b", 1, None, "c"]})) == ("b", "c")
    assert blind_copies(Properties(headers={"CC": ["c"]})) == ()
    assert blind_copies(Properties()) == ()


def test_deaths_that_a_publisher_sends_mean_nothing(expired):
    republished = Meta("e", "k", expired.properties)
    headers = died(republished, "q", "rejected").properties.headers
    assert [(death["queue"], death["count"]) for death in headers["x-death"]] == [("q", 1)]
    assert headers["x-first-death-queue"] == "q"
    assert headers["x-last-death-queue"] == "q"


@pytest.mark.parametrize("forged", [None, "x", [], [1], [{"queue": "q"}], {"queue": "q"}])
def test_not_even_when_they_are_no_deaths_at_all(forged):
    headers = died(Meta("e", "k", Properties(headers={"x-death": forged})), "q", "maxlen").properties.headers
    assert [death["queue"] for death in headers["x-death"]] == ["q"]


def test_the_message_itself_is_not_changed(expired):
    before = tables.exact(expired)
    letter = dead_letter(expired, queue="q", reason="maxlen", now_ms=NOW_MS, exchange="dlx", routing_key="k")
    letter.properties.headers["x-death"][1]["routing-keys"].append("changed")
    assert tables.exact(expired) == before


REASONS = st.sampled_from(["rejected", "expired", "maxlen", "delivery_limit"])


@given(st.lists(st.tuples(st.sampled_from("abc"), REASONS), min_size=1, max_size=12))
def test_the_deaths_are_one_entry_for_each_queue_and_reason_latest_first(hops):
    meta = Meta("e", "k", Properties(expiration="9"))
    for queue, reason in hops:
        meta = died(meta, queue, reason)
    deaths = meta.properties.headers["x-death"]
    latest_first = list(dict.fromkeys(reversed(hops)))
    assert [(death["queue"], death["reason"]) for death in deaths] == latest_first
    assert [death["count"] for death in deaths] == [hops.count(hop) for hop in latest_first]
    with_expiration = [(death["queue"], death["reason"]) for death in deaths if "original-expiration" in death]
    assert with_expiration == [hops[0]]
    assert meta.properties.headers["x-first-death-queue"] == hops[0][0]
    assert meta.properties.headers["x-last-death-reason"] == hops[-1][1]


def test_the_keys_of_a_message_are_its_own_then_cc_then_bcc_each_once():
    headers = {"BCC": ["b", "k"], "CC": ["c", "b", 7, b"x"]}
    assert routing_keys(Meta("e", "k", Properties(headers=headers))) == ("k", "c", "b")


@pytest.mark.parametrize("headers", [None, {}, {"cc": ["x"]}, {"CC": []}])
def test_without_cc_and_bcc_there_is_one_key(headers):
    assert routing_keys(Meta("e", "k", Properties(headers=headers))) == ("k",)


@pytest.mark.parametrize("header", ["CC", "BCC"])
@pytest.mark.parametrize(
    ("value", "kind"), [("o.cc", "longstr"), (1, "signedint"), ({}, "table"), (None, "void"), (True, "bool")]
)
def test_row_69_cc_and_bcc_are_lists(header, value, kind):
    with pytest.raises(PreconditionFailedError) as caught:
        routing_keys(Meta("e", "k", Properties(headers={header: value})))
    assert str(caught.value) == f'invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}'


def test_receivers_never_see_bcc():
    properties = Properties(headers={"BCC": ["b"], "CC": ["c"]}, type="t")
    assert without_bcc(properties) == Properties(headers={"CC": ["c"]}, type="t")
    assert properties.headers == {"BCC": ["b"], "CC": ["c"]}


@pytest.mark.parametrize("headers", [None, {}, {"CC": ["c"]}])
def test_properties_without_bcc_are_left_alone(headers):
    properties = Properties(headers=headers)
    assert without_bcc(properties) is properties
