"""`verify`, `backup`, `salvage`, `recover`, `export`, `import`."""

import pytest

import msglog


def damage(store):
    """Change the first record of the topic."""
    for path in (store / "segments").glob("*-orders.*"):
        path.write_bytes(path.read_bytes().replace(b"order 0", b"order X"))


def test_a_sound_store_has_no_problems(run, store):
    assert run("verify", store).out == "no problems\n"
    assert run("verify", store, "--json").out == ""


def test_each_problem_is_a_line(run, store):
    damage(store)
    (line,) = run("verify", store, code=1).lines
    assert line.startswith("frame: ")
    assert "topic 'orders'" in line
    (problem,) = run("verify", store, "--json", code=1).json_lines
    assert (problem["kind"], problem["topic"], problem["first_offset"]) == ("frame", "orders", 0)


def test_reading_what_is_damaged_is_an_error_in_one_line(run, store):
    damage(store)
    for options in ((), ("--frames",)):
        result = run("dump", store, "orders", *options, code=5)
        assert result.err.count("\n") == 1
        assert result.out == ""


def test_a_backup_is_a_store(run, store, tmp_path):
    row = run("backup", store, tmp_path / "copy", "--json").json
    assert row["directory"] == str(tmp_path / "copy")
    assert run("dump", tmp_path / "copy", "orders").out == run("dump", store, "orders").out
    run("backup", store, tmp_path / "copy", code=2)
    assert "size" in run("backup", store, tmp_path / "copy2").out


def test_what_can_be_read_is_salvaged(run, store, tmp_path):
    assert run("salvage", store, tmp_path / "saved", "--json").json["complete"] is True
    damage(store)
    result = run("salvage", store, tmp_path / "rest", code=1)
    assert "missing: topic orders, partition 0, offsets 0 to before 1" in result.lines
    assert len(run("dump", tmp_path / "rest", "orders").lines) == 4
    run("salvage", store, tmp_path / "rest", code=2)


def test_recover_tells_how_a_store_was_found(run, store):
    assert run("recover", store, "--json").json["clean"] is True
    assert "was closed cleanly  yes" in run("recover", store).out


def test_an_export_is_imported(run, store, tmp_path):
    assert run("export", store, "orders", "-o", tmp_path / "o.jsonl").out == f"wrote 5 lines to {tmp_path}/o.jsonl\n"
    run("init", tmp_path / "s")
    run("create-topic", tmp_path / "s", "orders", "-p", "2")
    assert run("import", tmp_path / "s", "orders", tmp_path / "o.jsonl").out == "imported 5 records into orders\n"
    assert run("dump", tmp_path / "s", "orders").out == run("dump", store, "orders").out
    run("create-topic", tmp_path / "s", "one")
    run("import", tmp_path / "s", "one", tmp_path / "o.jsonl", code=4)
    run("import", tmp_path / "s", "one", tmp_path / "o.jsonl", "--no-keep-partitions")
    assert len(run("dump", tmp_path / "s", "one").lines) == 5
    assert len(run("export", store, "orders", "-p", "1").lines) == 2


def test_a_queue_goes_through_a_pipe(run, store):
    exported = run("export", store, "mail", "--queue").out
    assert run("import", store, "lost", "--queue", stdin=exported.encode()).out == "imported 2 messages into lost\n"
    assert [message["body"] for message in run("peek", store, "lost", "--json").json_lines] == ["first", "second"]


@pytest.mark.parametrize(
    "line", [b"no json", b"[]", b'{"key": 1}', b"\xff", b'{"value":"x","timestamp_ms":1,"colour":2}']
)
def test_a_line_that_cannot_be_is_told_by_its_number(run, store, line):
    result = run("import", store, "orders", stdin=b'{"value":"x","timestamp_ms":1,"key":null}\n' + line + b"\n", code=5)
    assert "line 2" in result.err
    assert result.err.count("\n") == 1
    assert run("info", store, "--json").json["records"] == 5


def test_files_that_cannot_be_used_are_one_line(run, store, tmp_path):
    for arguments in (
        ("import", store, "orders", "nothing-there"),
        ("export", store, "orders", "-o", tmp_path / "no" / "dir"),
    ):
        result = run(*arguments, code=5)
        assert result.err.startswith("msglog: ")
        assert result.err.count("\n") == 1
    run("export", store, "mail", "-q", "-p", "1", code=2)


def test_a_store_that_was_not_closed_asks_for_recovery(run, tmp_path):
    path = tmp_path / "s"
    with msglog.Store(path) as opened:
        opened.log.create_topic("t")
        opened.log.append("t", b"x")
        copy = {one.relative_to(path): one.read_bytes() for one in path.rglob("*") if one.is_file()}
    for name, content in copy.items():
        (path / name).write_bytes(content)
    for name in {one.relative_to(path) for one in path.rglob("*") if one.is_file()} - copy.keys():
        (path / name).unlink()
    result = run("topics", path, code=3)
    assert f"msglog recover {path}" in result.err
    run("verify", path)
    assert run("recover", path, "--json").json["clean"] is False
    assert run("topics", path, "--json").json[0]["records"] == 1
