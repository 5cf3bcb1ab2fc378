"""`init`, `create-topic`, `declare-queue`, `declare-exchange`, `bind`, `purge`, deletions, and `reset-offsets`."""

import msglog


def test_a_store_is_made_once(run, tmp_path):
    assert run("init", tmp_path / "deep" / "s").code == 0
    assert "already" in run("init", tmp_path / "deep" / "s", code=4).err


def test_a_topic_is_created_with_options(run, store):
    run("create-topic", store, "t", "-p", "3", "-c", "retention.ms=1000", "-c", "cleanup-policy=compact,delete")
    rows = {row["topic"]: row for row in run("topics", store, "--json").json}
    assert (rows["t"]["partitions"], rows["t"]["retention_ms"], rows["t"]["cleanup_policy"]) == (
        3,
        1000,
        "compact,delete",
    )
    run("create-topic", store, "t", code=4)
    for options in (("-p", "0"), ("-c", "colour=red"), ("-c", "retention.ms=soon"), ("-c", "x")):
        run("create-topic", store, "u", *options, code=2)
    run("create-topic", store, "no/slash", code=2)
    assert {row["topic"] for row in run("topics", store, "--json").json} == {"orders", "prices", "t"}


def test_queues_exchanges_and_bindings_are_declared(run, store):
    run("declare-queue", store, "q", "-a", "x-max-length=5", "-a", "x-single-active-consumer=true")
    run("declare-queue", store, "q", "-a", "x-max-length=5", "-a", "x-single-active-consumer=true")
    assert "x-max-length" in run("declare-queue", store, "q", code=4).err
    run("declare-queue", store, "r", "-a", "x-max-length=many", code=4)
    run("declare-exchange", store, "x", "-t", "headers")
    run("declare-exchange", store, "y", "-t", "nonsense", code=4)
    run("bind", store, "q", "x", "-a", "x-match=any", "-a", "n=1")
    run("bind", store, "q", "nope", code=4)
    run("bind", store, "nope", "x", code=4)
    bindings = [row for row in run("bindings", store, "--json").json if row["source"] == "x"]
    assert [row["arguments"] for row in bindings] == [{"x-match": "any", "n": 1}]


def test_nothing_is_removed_unasked(run, store):
    for arguments in (("purge", store, "mail"), ("delete-queue", store, "mail"), ("delete-topic", store, "orders")):
        result = run(*arguments, code=2)
        assert "--yes" in result.err
        assert result.err.count("\n") == 1
    row = run("info", store, "--json").json
    assert (row["records"], row["messages"]) == (5, 2)


def test_what_is_to_go_goes(run, store):
    assert run("purge", store, "mail", "--yes").out == "removed 2 messages from queue mail\n"
    run("delete-queue", store, "mail", "-y")
    run("delete-topic", store, "orders", "-y")
    row = run("info", store, "--json").json
    assert (row["topics"], row["queues"], row["groups"]) == (1, 1, 0)
    run("delete-queue", store, "mail", "-y", code=4)
    run("delete-topic", store, "orders", "-y", code=4)
    run("purge", store, "mail", "-y", code=4)


def offsets_of(store, group="billing"):
    with msglog.Store(store, readonly=True) as opened:
        return {tp.partition: offset for tp, offset in opened.log.describe_group(group).offsets.items()}


def test_offsets_are_shown_and_not_moved_where_nobody_can_be_asked(run, store):
    for options in ((), ("--dry-run",), ("--dry-run", "--execute")):
        result = run("reset-offsets", store, "billing", "orders", "--to", "earliest", *options)
        assert [line.split() for line in result.lines[1:]] == [
            ["billing", "orders", "0", "2", "0", "3"],
            ["billing", "orders", "1", "2", "0", "2"],
        ]
        assert result.err == "nothing was moved; --execute does it\n"
    assert offsets_of(store) == {0: 2, 1: 2}


def test_offsets_are_moved(run, store):
    def moved(*options):
        rows = run("reset-offsets", store, "billing", "orders", *options, "--execute", "--json").json
        found = offsets_of(store)
        assert {row["partition"]: row["new_offset"] for row in rows}.items() <= found.items()
        return found

    assert moved("--to", "earliest") == {0: 0, 1: 0}
    assert moved("--to", "latest") == {0: 3, 1: 2}
    assert moved("--to", "1", "-p", "0") == {0: 1, 1: 2}
    assert moved("--to", "-1") == {0: 2, 1: 1}
    assert moved("--to-time", "2023-11-14T22:13:21Z") == {0: 1, 1: 0}
    assert moved("--to-time", "1h") == {0: 3, 1: 2}


def test_a_group_that_is_not_there_is_made(run, store):
    run("reset-offsets", store, "new", "orders", "--to", "latest", "--yes")
    assert offsets_of(store, "new") == {0: 3, 1: 2}


def test_offsets_that_cannot_be_are_refused(run, store):
    run("reset-offsets", store, "billing", "orders", "--execute", code=2)
    run("reset-offsets", store, "billing", "orders", "--to", "latest", "--to-time", "1h", "--execute", code=2)
    run("reset-offsets", store, "billing", "orders", "--to", "soon", "--execute", code=2)
    run("reset-offsets", store, "billing", "orders", "--to", "99", "--execute", code=4)
    run("reset-offsets", store, "billing", "orders", "--to", "latest", "-p", "9", "--execute", code=4)
    run("reset-offsets", store, "billing", "nope", "--to", "latest", "--execute", code=4)
    assert offsets_of(store) == {0: 2, 1: 2}


def test_what_was_done_is_told_as_json(run, tmp_path):
    path = tmp_path / "s"
    done = [
        run("init", path, "--json").json,
        run("create-topic", path, "t", "-p", "2", "--json").json,
        run("declare-exchange", path, "x", "-t", "topic", "--json").json,
        run("declare-queue", path, "q", "--json").json,
        run("bind", path, "q", "x", "#", "--json").json,
        run("purge", path, "q", "-y", "--json").json,
        run("delete-queue", path, "q", "-y", "--json").json,
        run("delete-topic", path, "t", "-y", "--json").json,
    ]
    assert done == [
        {"store": str(path)},
        {"topic": "t", "partitions": 2},
        {"exchange": "x", "type": "topic"},
        {"queue": "q"},
        {"queue": "q", "exchange": "x", "routing_key": "#"},
        {"queue": "q", "messages": 0},
        {"queue": "q", "messages": 0},
        {"topic": "t", "records": 0},
    ]
