"""`dump`, `peek` and `tail`."""

import json

import pytest

import msglog
from support.shop import START_MS

ALL = ["order 0", "order 2", "late", "order 1", "order 3"]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ((), ALL),
        (("-p", "1"), ["order 1", "order 3"]),
        (("-o", "1"), ["order 2", "late", "order 3"]),
        (("-o", "-1"), ["late", "order 3"]),
        (("-o", "-99"), ALL),
        (("-o", "beginning"), ALL),
        (("--until", "1"), ["order 0", "order 1"]),
        (("-o", "1", "--until", "1"), []),
        (("-k", "odd"), ["order 1", "order 3"]),
        (("-c", "2"), ["order 0", "order 2"]),
        (("-c", "0"), []),
        (("--since", str(START_MS + 2000)), ["order 2", "late", "order 3"]),
        (("--since", "2023-11-14T22:13:22Z"), ["order 2", "late", "order 3"]),
        (("--since", "2023-11-14T22:13:22", "--before", "2023-11-14T22:13:23"), ["order 2"]),
        (("--before", str(START_MS + 1000)), ["order 0"]),
        (("--since", "1s"), []),
    ],
)
def test_dump_shows_what_is_asked_for(run, store, options, values):
    lines = run("dump", store, "orders", *options, "--json").json_lines
    assert [line["value"] for line in lines] == values
    assert [line.split("  ")[3] for line in run("dump", store, "orders", *options).lines] == values


def test_a_record_is_one_line(run, store):
    assert run("dump", store, "orders", "-c", "1").lines == ["0:0  2023-11-14T22:13:20.000Z  even  order 0  n=0"]
    assert run("dump", store, "orders", "-p", "0", "-o", "-1").lines == ["0:2  2023-11-14T22:13:29.000Z  -  late"]


def test_json_lines_are_those_of_an_export_with_the_topic(run, store):
    dumped = run("dump", store, "orders", "--json").json_lines
    exported = run("export", store, "orders").json_lines
    assert dumped == [{"topic": "orders", **line} for line in exported]
    dumped = run("dump", store, "mail", "--queue", "--json").json_lines
    assert dumped == [{"queue": "mail", **line} for line in run("export", store, "mail", "-q").json_lines]
    assert dumped == run("peek", store, "mail", "--json").json_lines


def test_a_message_is_one_line(run, store):
    first, second = (line.split("  ")[1:] for line in run("dump", store, "mail", "-q").lines)
    assert first == ["events:order.new", "first", "n=1"]
    assert second == ["mail", "second", "content_type=text/plain"]
    assert len(run("peek", store, "mail", "-n", "1").lines) == 1
    assert run("peek", store, "mail", "-n", "0").out == ""


NAME = "ma\u202eil [bold]x[/bold]"  # a queue may be called so
EVIL = "\x1b[31mred\x1b[0m\r\n\t\x07 \u202eright to left \x9b2J".encode()


def test_nothing_in_a_record_or_a_message_disturbs_a_terminal(run, tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as opened:
        opened.log.create_topic("t")
        opened.log.append("t", EVIL, key=EVIL, headers=[(EVIL.decode(), EVIL)])
        opened.log.append("t", b"\xff\xfe[bold]text[/bold]")
        opened.log.append("t", None, key=b"")
        opened.broker.declare_queue(NAME)
        opened.broker.declare_exchange("x", "fanout")
        opened.broker.bind(NAME, "x", EVIL.decode())
        opened.broker.publish(
            "x",
            EVIL.decode(),
            EVIL,
            headers={EVIL.decode(): EVIL},
            properties=msglog.Properties(message_id=EVIL.decode()),
        )
    outputs = [
        run("dump", tmp_path / "s", "t").out,
        run("tail", tmp_path / "s", "t").out,
        run("peek", tmp_path / "s", NAME).out,
        run("queues", tmp_path / "s").out,
        run("bindings", tmp_path / "s").out,
        *(run("graph", tmp_path / "s", "-f", format_).out for format_ in ("mermaid", "dot", "svg")),
        run("top", tmp_path / "s", "--once", "-i", "0.1").out,
        run("purge", tmp_path / "s", NAME, code=2).err,
        run("purge", tmp_path / "s", NAME, "--yes").out,
        run("peek", tmp_path / "s", NAME + "!", code=4).err,
    ]
    for output in outputs:
        assert all(one.isprintable() or one == "\n" for one in output)
    evil, other, tombstone = outputs[0].splitlines()
    assert "\\x1b[31mred\\x1b[0m\\r\\n\\t\\x07 \\u202eright to left" in evil
    assert "\\xff\\xfe[bold]text[/bold]" in other
    assert tombstone.endswith("    (null)")
    values = [line["value"] for line in run("dump", tmp_path / "s", "t", "--json").json_lines]
    assert values[0] == EVIL.decode()
    assert json.loads(json.dumps(values[1])) == {"base64": "//5bYm9sZF10ZXh0Wy9ib2xkXQ=="}
    assert values[2] is None


def test_frames_tell_how_records_lie_on_disk(run, tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as opened:
        opened.log.create_topic("t", compression="zlib")
        opened.log.append_many("t", [b"x" * 100] * 5, timestamps_ms=[START_MS + one for one in range(5)])
        opened.log.append("t", b"y", timestamp_ms=START_MS)
    first, second = run("dump", tmp_path / "s", "t", "--frames", "--json").json_lines
    assert (first["base_offset"], first["next_offset"], first["records"]) == (0, 5, 5)
    assert second["position"] == first["position"] + first["bytes"]
    assert (first["compression"], first["timestamp_ms"], first["max_timestamp_ms"]) == (
        "zlib",
        START_MS,
        START_MS + 4,
    )
    assert second["commit"] == first["commit"] + 1
    assert run("dump", tmp_path / "s", "t", "--frames", "-o", "5", "--json").json_lines == [second]
    assert run("dump", tmp_path / "s", "t", "--frames", "--until", "5", "--json").json_lines == [first]
    assert "x" * 3 not in run("dump", tmp_path / "s", "t", "--frames").out


def test_each_frame_is_told_though_readers_take_small_ones_together(run, store):
    rows = run("dump", store, "orders", "--frames", "--json").json_lines
    assert [(row["partition"], row["base_offset"], row["records"]) for row in rows] == [
        (0, 0, 1),
        (0, 1, 1),
        (0, 2, 1),
        (1, 0, 1),
        (1, 1, 1),
    ]
    assert len({row["commit"] for row in rows}) == 5
    late = run("dump", store, "orders", "--frames", "--since", str(START_MS + 9000), "--json").json_lines
    assert late == [rows[2]]
    assert run("dump", store, "orders", "--frames", "--before", str(START_MS + 1), "--json").json_lines == [rows[0]]
    assert run("dump", store, "orders", "--frames", "-p", "1", "-c", "1", "--json").json_lines == [rows[3]]


def test_tail_shows_the_last_ones(run, store):
    def values(*options):
        return [line["value"] for line in run("tail", store, "orders", *options, "--json").json_lines]

    assert values("-n", "2") == ["order 3", "late"]
    assert values("-n", "0") == []
    assert values("-n", "1", "-p", "1") == ["order 3"]
    assert values() == ["order 0", "order 1", "order 2", "order 3", "late"]
    bodies = [line["body"] for line in run("tail", store, "mail", "-q", "-n", "1", "--json").json_lines]
    assert bodies == ["second"]


def test_tail_counts_what_compaction_left(run, tmp_path):
    with msglog.Store(tmp_path / "s", sync="none") as opened:
        opened.log.create_topic("t", cleanup_policy="compact", segment_bytes=1024, min_cleanable_dirty_ratio=0.0)
        for number in range(100):
            opened.log.append("t", b"%d" % number, key=b"first" if number == 0 else b"k")
        opened.log.clean("t")
        left = [record.value.decode() for record in opened.log.read("t")]
    assert left[0] == "0"
    assert len(left) < 50
    lines = run("tail", tmp_path / "s", "t", "-n", len(left), "--json").json_lines
    assert [line["value"] for line in lines] == left


@pytest.mark.parametrize(
    "options",
    [
        ("orders", "-o", "x"),
        ("orders", "-o", "--1"),
        ("orders", "--since", "yesterday"),
        ("orders", "--since", "1969-12-31"),
        ("orders", "-p", "-1"),
        ("orders", "--until", "-1"),
        ("orders", "--frames", "-k", "x"),
        ("mail", "-q", "-p", "0"),
        ("mail", "-q", "--frames"),
        ("mail", "-q", "--since", "1h"),
    ],
)
def test_what_cannot_be_asked_for_is_a_usage_error(run, store, options):
    result = run("dump", store, *options, code=2)
    assert result.out == ""
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("options", [("orders", "-o", "99"), ("orders", "-p", "9"), ("nope",), ("nope", "-q")])
def test_what_is_not_there_is_refused(run, store, options):
    result = run("dump", store, *options, code=4)
    assert result.out == ""
    assert result.err.count("\n") == 1
