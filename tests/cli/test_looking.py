"""What there is: `info`, `topics`, `groups`, `queues`, `exchanges`, `bindings`, `policies`."""

import pytest


def test_info_tells_what_a_store_is(run, store):
    row = run("info", store, "--json").json
    counts = {
        name: row[name] for name in ("topics", "partitions", "records", "groups", "queues", "messages", "policies")
    }
    assert counts == {
        "topics": 2,
        "partitions": 3,
        "records": 5,
        "groups": 1,
        "queues": 2,
        "messages": 2,
        "policies": 1,
    }
    assert row["path"] == str(store)
    assert (row["written_now"], row["writer_pid"], row["closed_cleanly"]) == (False, None, True)
    assert row["bytes_on_disk"] > row["bytes_stored"] > 0
    shown = dict(line.split("  ", 1) for line in run("info", store).lines)
    assert shown["closed cleanly"].strip() == "yes"
    assert shown["records"].strip() == "5"


def test_topics_are_listed(run, store):
    orders, prices = run("topics", store, "--json").json
    assert (orders["topic"], orders["partitions"], orders["records"], orders["retention_ms"]) == (
        "orders",
        2,
        5,
        86_400_000,
    )
    assert prices["cleanup_policy"] == prices["config"]["cleanup_policy"] == "compact"
    header, first, second = run("topics", store).lines
    assert header.split() == [
        "TOPIC",
        "PARTITIONS",
        "RECORDS",
        "SIZE",
        "SEGMENTS",
        "CLEANUP",
        "RETENTION",
        "AT",
        "MOST",
    ]
    assert first.split()[:3] == ["orders", "2", "5"]
    assert "1 d" in first
    assert second.startswith("prices")


def test_partitions_of_a_topic_are_listed(run, store):
    rows = run("topics", store, "orders", "--json").json
    assert [(row["partition"], row["start_offset"], row["end_offset"]) for row in rows] == [(0, 0, 3), (1, 0, 2)]


def test_groups_are_listed_with_their_lag(run, store):
    (row,) = run("groups", store, "--json").json
    assert row == {"group": "billing", "kind": "consumer", "topics": ["orders"], "partitions": 2, "lag": 1}
    rows = run("groups", store, "billing", "--json").json
    assert [(row["partition"], row["current_offset"], row["end_offset"], row["lag"]) for row in rows] == [
        (0, 2, 3, 1),
        (1, 2, 2, 0),
    ]


def test_queues_are_listed_with_what_waits(run, store):
    lost, mail = run("queues", store, "--json").json
    assert (mail["queue"], mail["messages"], mail["unsettled"], mail["bytes"]) == ("mail", 2, 0, len("firstsecond"))
    assert mail["arguments"] == {"x-dead-letter-exchange": "dead", "x-max-priority": 5}
    assert (lost["policy"], lost["messages"]) == ("short", 0)
    assert "x-max-priority=5" in run("queues", store).out


def test_exchanges_bindings_and_policies_are_listed(run, store):
    exchanges = {row["exchange"]: row for row in run("exchanges", store, "--json").json}
    assert exchanges["events"]["arguments"] == {"alternate-exchange": "unrouted"}
    bindings = run("bindings", store, "--json").json
    assert {(row["source"], row["destination"], row["routing_key"]) for row in bindings} == {
        ("events", "mail", "order.#"),
        ("dead", "lost", ""),
    }
    (policy,) = run("policies", store, "--json").json
    assert (policy["policy"], policy["pattern"], policy["definition"]) == ("short", "^lo", {"max-length": 7})


@pytest.mark.parametrize("command", ["topics", "groups", "queues", "bindings", "policies"])
def test_an_empty_store_has_empty_lists(run, tmp_path, command):
    run("init", tmp_path / "s")
    assert run(command, tmp_path / "s", "--json").json == []
    result = run(command, tmp_path / "s")
    assert result.out == ""
    assert result.err == f"no {command}\n"


def test_nothing_is_coloured_in_a_pipe(run, store):
    for command in ("info", "topics", "queues", "exchanges"):
        assert "\x1b" not in run(command, store).out


def test_looking_changes_nothing(run, store):
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    for command in ("info", "topics", "groups", "queues", "exchanges", "bindings", "policies", "graph", "verify"):
        run(command, store)
    for arguments in (
        ("dump", store, "orders"),
        ("tail", store, "orders"),
        ("peek", store, "mail"),
        ("export", store, "orders"),
    ):
        run(*arguments)
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before
