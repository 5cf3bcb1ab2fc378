"""`append` and `publish`."""

import msglog


def values_of(store, topic="prices", partition=0):
    with msglog.Store(store, readonly=True) as opened:
        return [(record.key, record.value, record.headers) for record in opened.log.read(topic, partition)]


def messages_of(store, queue="mail"):
    with msglog.Store(store, readonly=True) as opened:
        return opened.broker.peek(queue, 100)


def test_a_value_is_appended(run, store):
    result = run("append", store, "prices", "é", "-k", "a=b", "-H", "n=1", "-H", "n=x=y")
    assert result.out == "appended to prices, partition 0, offset 0\n"
    assert values_of(store) == [(b"a=b", "é".encode(), (("n", b"1"), ("n", b"x=y")))]


def test_where_it_was_put_is_told_as_json(run, store):
    lines = run("append", store, "orders", "x", "-p", "1", "--json").json_lines
    assert lines == [{"topic": "orders", "partition": 1, "base_offset": 2, "records": 1}]


def test_a_file_is_one_value_byte_for_byte(run, store, tmp_path):
    (tmp_path / "file").write_bytes(b"\x00\xff\nline\n")
    run("append", store, "prices", "--file", tmp_path / "file", "-k", "k")
    assert values_of(store) == [(b"k", b"\x00\xff\nline\n", ())]


def test_each_line_of_standard_input_is_a_value(run, store):
    result = run("append", store, "orders", "-p", "1", stdin=b"one\n\n\xff three")
    assert result.out == "appended 3 records to orders\n"
    assert values_of(store, "orders", 1)[2:] == [(None, b"one", ()), (None, b"", ()), (None, b"\xff three", ())]
    assert run("append", store, "orders", stdin=b"").out == "appended 0 records to orders\n"


def test_lines_are_split_into_key_and_value(run, store):
    run("append", store, "orders", "-p", "1", "-K", "::", "-H", "h=v", stdin=b"k::v::w\nno key\n::\n")
    header = (("h", b"v"),)
    assert values_of(store, "orders", 1)[2:] == [(b"k", b"v::w", header), (None, b"no key", header), (b"", b"", header)]


def test_a_tombstone_is_appended(run, store):
    run("append", store, "prices", "-k", "k", "-Z")
    assert values_of(store) == [(b"k", None, ())]


def test_what_a_topic_refuses_is_one_line(run, store):
    result = run("append", store, "prices", "no key", code=2)
    assert result.err.count("\n") == 1
    run("append", store, "nope", "x", code=4)
    run("append", store, "orders", "x", "-p", "9", code=4)
    run("append", store, "orders", "x", "--file", "y", code=2)
    run("append", store, "orders", "x", "-Z", code=2)
    run("append", store, "orders", "x", "-K", ":", code=2)
    run("append", store, "orders", "x", "-H", "no-value", code=2)
    assert "nothing-there" in run("append", store, "orders", "-f", "nothing-there", code=5).err


def test_a_message_is_published(run, store):
    options = (
        "-x",
        "events",
        "-H",
        "n=5",
        "-H",
        "t=x",
        "-P",
        "content_type=text/plain",
        "-P",
        "timestamp=7",
        "--priority",
        "3",
    )
    assert run("publish", store, "order.paid", "body", *options).out == "published 1 message\n"
    (message,) = (one for one in messages_of(store) if one.body == b"body")
    assert (message.exchange, message.routing_key, message.headers) == ("events", "order.paid", {"n": 5, "t": "x"})
    assert (message.properties.content_type, message.properties.timestamp, message.properties.priority) == (
        "text/plain",
        7,
        3,
    )
    assert message.properties.delivery_mode == 2


def test_each_line_is_a_message(run, store):
    assert run("publish", store, "lost", "--json", stdin=b"1\n2\n3\n").json == {"messages": 3, "copies": 3}
    assert [message.body for message in messages_of(store, "lost")] == [b"1", b"2", b"3"]


def test_copies_in_several_queues_are_told(run, store):
    run("bind", store, "lost", "events", "order.*")
    assert run("publish", store, "order.x", "b", "-x", "events").out == "published 1 message, 2 copies in queues\n"


def test_a_delayed_message_comes_later(run, store):
    run("publish", store, "lost", "later", "--delay-ms", "3600000")
    assert messages_of(store, "lost") == []
    run("verify", store)


def test_what_no_queue_gets_is_a_problem(run, store):
    result = run("publish", store, "nobody", "x", code=1)
    assert "nobody" in result.err
    assert result.err.count("\n") == 1
    run("publish", store, "nobody", code=1, stdin=b"1\n2\n")


def test_what_a_broker_refuses_is_one_line(run, store):
    assert run("publish", store, "k", "x", "-x", "nope", code=4).err.count("\n") == 1
    for options in (
        ("-P", "colour=red"),
        ("-P", "headers=1"),
        ("-P", "timestamp=now"),
        ("--priority", "999"),
        ("-H", "=x"),
    ):
        assert run("publish", store, "mail", "x", *options, code=2).err.count("\n") == 1
    assert len(messages_of(store)) == 2


def test_an_error_among_lines_says_how_many_are_in_the_store(run, store):
    # Two chunks of input: what is there together is one commit, so the first is in the store when the second fails.
    with msglog.Store(store) as opened:
        opened.log.create_topic("small", max_message_bytes=1000)
    lines = b"short\n" * 200_000
    failed = run("append", store, "small", code=4, stdin=lines + bytes(5000))
    assert failed.out == ""
    kept = len(values_of(store, "small"))
    assert 0 < kept <= 200_000
    assert failed.err.endswith(f"; {kept:,} records before that stayed\n")
    assert failed.err.count("\n") == 1

    refused = run("append", store, "small", code=4, stdin=bytes(5000))
    assert "before that" not in refused.err
