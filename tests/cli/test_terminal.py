"""The program in a real terminal: what is drawn there, what Ctrl-C does, and pipes whose reader goes away."""

import re
import signal
import subprocess
import sys

import pexpect
import pytest

from msglog import Log
from support.children import child, child_environment, line_from

SECONDS = 60  # far more than it takes: only a test that hangs gets there
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def terminal():
    """Start the program in a terminal; what is still there at the end is killed."""
    started = []

    def start(*arguments, width=80, height=24, kind="xterm-256color"):
        environment = {**child_environment(), "TERM": kind, "PYTHONWARNINGS": "error"}
        for name in (
            "COLUMNS",
            "LINES",
            "NO_COLOR",
        ):  # they tell of another terminal
            environment.pop(name, None)
        process = pexpect.spawn(
            sys.executable,
            ["-m", "msglog", *map(str, arguments)],
            env=environment,
            dimensions=(height, width),
            timeout=SECONDS,
            encoding="utf-8",
            use_poll=True,  # a process that has made many stores may have descriptors that `select` cannot name
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.close(force=True)


def ended(process):
    """Wait for the end; return the exit code and what was still written."""
    process.expect(pexpect.EOF)
    process.wait()
    assert "Traceback" not in process.before
    return process.exitstatus, process.before


@pytest.fixture
def writer(store):
    with child("shop", str(store)) as process:
        assert line_from(process) == "open"

        def tell(what):
            process.stdin.write(f"{what}\n")
            process.stdin.flush()
            assert line_from(process) == "done"

        yield tell


def test_tail_follows_a_topic_that_another_process_writes(terminal, store, writer):
    process = terminal("tail", "-f", store, "orders", "-n", "1")
    process.expect("late")
    writer("append first")
    process.expect("first")
    writer("append second")
    writer("append third")
    process.expect("second")
    process.expect("third")
    process.sendintr()
    assert ended(process) == (130, process.before)
    assert "append" not in process.before


def test_tail_follows_a_queue_and_pipes_get_each_line_at_once(store, writer):
    process = subprocess.Popen(
        [sys.executable, "-m", "msglog", "tail", "-f", str(store), "mail", "-q", "-n", "1", "--json"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert '"body":"second"' in process.stdout.readline()
        writer("send third")
        assert '"body":"third"' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=SECONDS) == ("", "")
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()


def test_tail_goes_on_when_the_writer_was_killed_and_another_one_came(terminal, store):
    with child("shop", str(store)) as first:
        assert line_from(first) == "open"
        process = terminal("tail", "-f", store, "orders", "-n", "1")
        process.expect("late")
        first.stdin.write("append from the first\n")
        first.stdin.flush()
        process.expect("from the first")
        first.kill()
        first.wait()
    with child("shop", str(store)) as second:
        assert line_from(second) == "open"
        second.stdin.write("append from the second\n")
        second.stdin.flush()
        process.expect("from the second")
    process.sendintr()
    code, rest = ended(process)
    assert code == 130
    assert "from the first" not in rest


def test_top_renews_its_view_until_ctrl_c(terminal, store, writer):
    process = terminal("top", store, "-i", "0.2", width=100)
    process.expect("measuring")
    process.expect("LAG/DEPTH")
    for number in range(5):
        writer(f"append {number}")
    # The rate of the topic rises above 0 for an interval at least, and its group lags behind for good.
    process.expect(r"group\s+billing\s+-\s+0\s+6")
    process.expect("written now")
    process.sendintr()
    code, rest = ended(process)
    assert code == 130
    assert "\x1b[?1049l" in rest  # the screen is as it was before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_top_gives_the_screen_back_when_it_is_told_to_end(terminal, store, number):
    process = terminal("top", store, "-i", "0.1")
    process.expect("LAG/DEPTH")
    process.kill(number)
    code, rest = ended(process)
    assert code == 128 + number
    assert "\x1b[?1049l" in rest
    assert "\x1b[?25h" in rest  # the cursor can be seen again


def test_top_leaves_what_it_has_measured_last(terminal, store):
    code, text = ended(terminal("top", store, "-i", "0.1", "-n", "2"))
    assert code == 0
    behind = text.rpartition("\x1b[?1049l")[2]
    assert "LAG/DEPTH" in behind
    assert "billing" in behind


def test_a_dumb_terminal_gets_lines(terminal, store):
    code, text = ended(terminal("top", store, "-i", "0.1", "-n", "2", kind="dumb"))
    assert code == 0
    assert "\x1b" not in text
    assert len(re.findall(r"group  billing  out 0/s  waiting \d", text)) == 2
    assert ended(terminal("verify", store, kind="dumb")) == (0, "no problems\r\n")


def test_verify_shows_how_far_it_is(terminal, tmp_path):
    with Log(str(tmp_path / "s"), sync="none") as log:
        log.create_topic("t")
        for _ in range(20):
            log.append_many("t", [bytes(100_000)] * 50)
    process = terminal("verify", tmp_path / "s")
    process.expect("verifying")
    process.expect("MiB")
    code, rest = ended(process)
    assert code == 0
    assert "no problems" in rest


def test_a_question_is_asked_before_something_is_lost(terminal, store):
    for answer, code, said in (("n", 1, "nothing was changed"), ("y", 0, "removed 2 messages")):
        process = terminal("purge", store, "mail")
        process.expect(re.escape("Remove 2 messages from queue mail? [y/N]"))
        process.sendline(answer)
        found, rest = ended(process)
        assert found == code
        assert said in rest


def test_ctrl_c_is_no_answer(terminal, store):
    process = terminal("delete-topic", store, "orders")
    process.expect("Delete topic orders with 5 records")
    process.sendintr()
    code, rest = ended(process)
    assert code == 130
    assert rest.endswith("\n")  # what comes next begins a line


def test_offsets_are_moved_after_the_plan_was_shown(terminal, store):
    process = terminal("reset-offsets", store, "billing", "orders", "--to", "earliest")
    process.expect("NEW OFFSET")
    process.expect("Move the offsets of group billing")
    process.sendline("y")
    assert ended(process)[1].strip().endswith("moved")


def test_lines_are_typed_and_ctrl_d_ends(terminal, store):
    process = terminal("append", store, "prices", "-K", ":")
    process.expect("each line is a record")
    process.sendline("a:1")
    process.sendline("b:2")
    process.sendeof()
    code, rest = ended(process)
    assert code == 0
    assert "appended 2 records" in rest


def test_tables_fold_where_the_terminal_is_narrow(terminal, store):
    _, text = ended(terminal("bindings", store, width=40))
    assert "\x1b[1m" in text
    lines = [ESCAPES.sub("", line).rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 40
    assert len(lines) >= 3


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    with Log(str(tmp_path / "s"), sync="none") as log:
        log.create_topic("t")
        log.append_many("t", [b"x" * 100] * 20_000)
    command = f"'{sys.executable}' -m msglog dump '{tmp_path}/s' t | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=child_environment(), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.stderr == ""
    first, code = done.stdout.splitlines()
    assert first.startswith("0:0  ")
    assert code == "141"


def test_output_that_finds_no_room_is_one_line(store):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "msglog", "topics", str(store)],
            env=child_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (5, "msglog: No space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_whoever_started_it_has_closed_are_no_traceback(store, closed):
    command = f"'{sys.executable}' -m msglog append '{store}' orders v {closed}"
    lines = f"'{sys.executable}' -m msglog append '{store}' orders {closed}"
    for line in (command, lines):
        done = subprocess.run(
            ["bash", "-c", line],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    with Log(str(store), readonly=True) as log:
        assert sum(record.value == b"v" for number in range(2) for record in log.read("orders", number)) == 1
