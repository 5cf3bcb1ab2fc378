"""Looking at a store that another process writes."""

import os
import time

import pytest

from support import shop
from support.children import child, line_from


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A process that has the store open, and does what it is told."""
    path = tmp_path_factory.mktemp("live") / "shop"
    shop.fill(path)
    with child("shop", str(path)) as process:
        assert line_from(process) == "open"

        def tell(what):
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            assert line_from(process) == "done"

        tell.path = path
        tell.pid = process.pid
        yield tell


def test_everything_can_be_looked_at(run, writer, tmp_path):
    path = writer.path
    for arguments in (
        ("topics",),
        ("groups",),
        ("groups", "billing"),
        ("queues",),
        ("exchanges",),
        ("bindings",),
        ("policies",),
        ("graph",),
        ("dump", "orders"),
        ("dump", "orders", "--frames"),
        ("dump", "mail", "-q"),
        ("peek", "mail"),
        ("tail", "orders"),
        ("tail", "mail", "-q"),
        ("export", "orders"),
        ("top", "--once", "-i", "0.1"),
        ("verify",),
    ):
        command, *more = arguments
        assert run(command, path, *more).out
    run("backup", path, tmp_path / "copy")
    assert run("verify", tmp_path / "copy").out == "no problems\n"


def test_what_is_written_meanwhile_is_seen(run, writer):
    path = writer.path
    before = run("info", path, "--json").json
    writer("append news")
    writer("send news")
    writer("send more")
    writer("take")
    after = run("info", path, "--json").json
    assert after["records"] == before["records"] + 1
    while after["messages"] != before["messages"] + 1:  # an acknowledgement is seen with the next sync
        time.sleep(0.05)
        after = run("info", path, "--json").json
    assert run("tail", path, "orders", "-p", "0", "-n", "1", "--json").json_lines[0]["value"] == "news"
    assert run("peek", path, "mail", "--json").json_lines[-1]["body"] == "more"


def test_who_writes_is_told(run, writer):
    row = run("info", writer.path, "--json").json
    assert (row["written_now"], row["writer_pid"], row["closed_cleanly"]) == (True, writer.pid, None)
    assert writer.pid != os.getpid()


@pytest.mark.parametrize(
    "arguments",
    [
        ("append", "orders", "x"),
        ("publish", "mail", "x"),
        ("create-topic", "t"),
        ("declare-queue", "q"),
        ("declare-exchange", "x"),
        ("bind", "lost", "events"),
        ("purge", "mail", "-y"),
        ("delete-queue", "mail", "-y"),
        ("delete-topic", "orders", "-y"),
        ("import", "orders"),
        ("recover",),
        ("reset-offsets", "billing", "orders", "--to", "latest", "--execute"),
    ],
)
def test_nobody_else_may_write(run, writer, arguments):
    command, *more = arguments
    result = run(command, writer.path, *more, code=3)
    assert result.err == f"msglog: {writer.path} is open for writing in process {writer.pid}\n"


def test_the_plan_of_a_reset_can_be_seen(run, writer):
    result = run("reset-offsets", writer.path, "billing", "orders", "--to", "earliest", "--dry-run")
    assert len(result.lines) == 3
