"""What notebooks show: well-formed tables without scripts, escaped, on stores in every state, and never an error."""

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest

import msglog
from msglog import showing
from msglog.types import TopicPartition

EVIL = '<script>alert("1")</script>&amp;'
VOID = {"br", "hr"}


class Page(HTMLParser):
    """The rows of all tables, and all text; fails for what is not well-formed."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.open, self.tables, self.words, self.tags = [], [], [], set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        assert {name for name, _ in attrs} <= {"style", "title"}
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in {"td", "th"}:
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def rows(self, first_column):
        return next(table for table in self.tables if table[0][0] == first_column)


@pytest.fixture
def store():
    with msglog.Store(":memory:") as store:
        yield store


@pytest.fixture
def filled(store):
    store.log.create_topic("orders", partitions=2)
    store.log.append_many("orders", [b"secret"] * 1500, partition=0)
    with store.log.consumer("orders", group="billing") as consumer:
        consumer.poll(0)
        consumer.commit()
    store.broker.declare_queue("mails")
    store.broker.declare_exchange("events", "topic")
    store.broker.bind("mails", "events", "order.*")
    store.broker.publish("events", "order.new", b"secret")
    return store


def test_a_log_shows_topics_and_lag(filled):
    page = Page(filled.log._repr_html_())
    assert page.rows("topic")[1][:3] == ["orders", "2", "1,500"]
    assert page.rows("topic")[1][4] == "0 to 1,500; 0 to 0"
    assert page.rows("group")[1] == ["billing", "consumer", "Empty", "0", "orders", "1,000"]


def test_a_broker_shows_depth_exchanges_and_bindings(filled):
    page = Page(filled.broker._repr_html_())
    assert page.rows("queue")[1][:5] == ["mails", "1", "0", "0", "1"]
    assert page.rows("exchange")[1:] == [["events", "topic", "yes", "1"]]
    assert page.rows("from")[1] == ["events", "order.*", "mails", "queue", ""]


def test_a_store_shows_all_of_it(filled):
    shown = {table[0][0] for table in Page(filled._repr_html_()).tables}
    assert shown == {"topic", "group", "queue", "exchange", "from"}


def test_descriptions_are_tables(filled):
    topic = Page(filled.log.describe_topic("orders")._repr_html_())
    assert [row[:3] for row in topic.rows("partition")[1:]] == [["0", "0", "1,500"], ["1", "0", "0"]]
    group = Page(filled.log.describe_group("billing")._repr_html_())
    assert group.rows("topic")[1:] == [["orders", "0", "500", "1,000", "–"], ["orders", "1", "0", "0", "–"]]


def things_of(store):
    yield store
    yield store.log
    yield store.broker
    yield store.recovery
    yield from (store.log.describe_topic(name) for name in store.log.topics())
    yield from (store.log.describe_group(name) for name in store.log.groups())
    yield from (*store.broker.queues(), *store.broker.exchanges(), *store.broker.bindings())


def test_no_payload_no_script_and_no_colour_but_grey(filled):
    for thing in things_of(filled):
        html = thing._repr_html_()
        page = Page(html)
        assert page.tags <= {"div", "b", "span", "table", "caption", "thead", "tbody", "tr", "th", "td"}
        assert "secret" not in html
        assert set(re.findall(r"rgba?\(.*?\)|#[0-9a-f]{3,}", html)) <= {showing._GREY}


def test_names_are_escaped(store):
    store.broker.declare_queue(EVIL)
    store.broker.declare_exchange(EVIL, "fanout")
    store.broker.bind(EVIL, EVIL, EVIL, arguments={EVIL: EVIL})
    store.log.create_topic("t")
    store.log.reset_offsets(EVIL, "t")
    for thing in things_of(store):
        html = thing._repr_html_()
        assert "<script" not in html
        Page(html)
    assert Page(store.broker._repr_html_()).rows("queue")[1][0] == EVIL
    assert Page(store.log._repr_html_()).rows("group")[1][0] == EVIL


def test_an_empty_store_says_so(store):
    assert {"No topics.", "No queues."} <= set(Page(store._repr_html_()).words)


def test_closed_ones_are_shown_too(filled):
    log, broker = filled.log, filled.broker
    filled.close()
    for thing in (filled, log, broker):
        page = Page(thing._repr_html_())
        assert "closed" in "".join(page.words)
        assert page.tables == []


def test_a_failed_store_is_shown_with_its_tables(filled):
    filled.core.engine.stop_writing("a sync failed", OSError("test"))
    page = Page(filled._repr_html_())
    assert "failed" in "".join(page.words)
    assert page.rows("queue")


def test_what_cannot_be_told_as_tables_is_told_as_text(filled, monkeypatch):
    monkeypatch.setattr(filled.log, "_tables", lambda: 1 / 0)
    assert Page(filled.log._repr_html_()).words == [repr(filled.log)]


def test_reports_are_shown():
    report = msglog.SalvageReport(
        "/p",
        "/saved",
        1234,
        2048,
        problems=(msglog.Problem("frame", "/p/x", 3, EVIL),),
        gaps=(msglog.Gap("orders", None, 0, 3, 5),),
    )
    page = Page(report._repr_html_())
    assert page.rows("topic")[1] == ["orders", "–", "0", "3", "5"]
    assert page.rows("kind")[1] == ["frame", EVIL, "/p/x"]
    told = "".join(page.words)
    assert "records 1,234" in told
    assert "size 2.0 KiB" in told
    recovery = Page(msglog.RecoveryReport(clean=False, quarantined=("/p/q",))._repr_html_())
    assert "found unclosed" in "".join(recovery.words)
    assert recovery.rows("file")[1] == ["/p/q"]


def test_of_many_rows_the_largest_are_shown_in_their_order():
    rows = [(f"q{number:03}", number % 150) for number in range(300)]
    page = Page(showing.table("Queues", ("queue", "ready"), rows, rank=1))
    shown = [int(row[1]) for row in page.tables[0][1:]]
    assert len(shown) == showing.MOST_ROWS
    assert min(shown) == 100
    names = [row[0] for row in page.tables[0][1:]]
    assert all(one < other for one, other in pairwise(names))
    assert any("the 100 largest of 300" in word for word in page.words)
    first = Page(showing.table("Names", ("name",), [(f"{n:03}",) for n in range(101)]))
    assert first.tables[0][-1] == ["099"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (1536 << 20, "1.5 GiB"), (5 << 60, "5,120.0 PiB")],
)
def test_sizes_have_the_unit_that_suits_them(size, text):
    assert str(showing.Size(size)) == text


def test_long_texts_are_cut_and_whole_at_the_pointer():
    html = showing.table("T", ("x",), [("x" * 300,)])
    assert 'title="' + "x" * 300 in html
    assert len(Page(html).tables[0][1][0]) == 80


def test_a_group_shows_who_owns_a_partition(filled):
    with filled.log.consumer("orders", group="billing") as consumer:
        consumer.poll(0)
        assert consumer.assignment() == {TopicPartition("orders", 0), TopicPartition("orders", 1)}
        page = Page(filled.log.describe_group("billing")._repr_html_())
    assert {row[4] for row in page.rows("topic")[1:]} == {page.rows("member")[1][0]}
