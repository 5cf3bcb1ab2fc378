"""What is drawn on terminals of several widths, and without colours: standard output pretends to be one."""

import contextlib
import io
import re
from collections import Counter
from itertools import product

import pytest
from rich.cells import cell_len

from msglog import Store
from msglog.cli.main import main

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def draw(monkeypatch):
    def drawing(width, *arguments, **variables):
        for name, value in ({"COLUMNS": str(width), "TERM": "xterm-256color"} | variables).items():
            monkeypatch.setenv(name, value)
        screen = Terminal()
        with contextlib.redirect_stdout(screen):
            assert main([str(argument) for argument in arguments]) == 0
        return screen.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    return drawing


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("command", ["info", "topics", "groups", "queues", "exchanges", "bindings", "policies"])
def test_tables_fit_and_nothing_is_lost(draw, run, store, command, width):
    lines = [ESCAPES.sub("", line) for line in draw(width, command, store).splitlines()]
    assert max(len(line.rstrip()) for line in lines) <= width
    wide = run(command, store).out
    text = "".join(lines).replace(" ", "")
    first, second = wide.split()[:2]
    if command == "info" or any(first in line and second in line for line in lines[:2]):
        # Folded words are in several places of the text: so compare which characters there are.
        assert sorted(text) == sorted(wide.replace(" ", "").replace("\n", ""))
    else:  # too narrow for columns: each row is a list, in which fields without a value are left out
        cells = {cell for line in wide.splitlines()[1:] for cell in line.split() if cell != "-"}
        assert [cell for cell in cells if cell not in text] == []


def test_a_long_name_takes_nothing_from_the_numbers(draw, tmp_path):
    path, name = tmp_path / "s", "t" * 120
    with Store(str(path), sync="none") as store:
        store.log.create_topic(name)
        store.log.create_topic("u", partitions=2)
        store.log.append_many("u", [bytes(1000)] * 700, partition=0)
        store.broker.declare_queue("\u65e5\u672c" * 40, arguments={"x-max-length": 1000})
    told = {
        "topics": f"{name}PARTITIONSATMOST683.7KiBdelete--delete--",
        "queues": "\u65e5\u672c" * 40 + "x-max-length=1000",
    }
    for command, width in product(told, range(80, 101)):
        lines = [ESCAPES.sub("", line).rstrip() for line in draw(width, command, path).splitlines()]
        assert max(map(cell_len, lines)) <= width
        assert not Counter(told[command]) - Counter("".join(lines)), width


def test_a_record_is_never_broken_by_us(draw, store):
    text = ESCAPES.sub("", draw(20, "dump", store, "orders", "-c", "1"))
    assert text == "0:0  2023-11-14T22:13:20.000Z  even  order 0  n=0\n"


def test_colours_can_be_turned_off(draw, store):
    assert "\x1b[36m" in draw(80, "dump", store, "orders")
    assert "\x1b[36m" not in draw(80, "dump", store, "orders", NO_COLOR="1")
    assert "\x1b" not in draw(80, "dump", store, "orders", TERM="dumb")
    assert "\x1b" not in draw(80, "dump", store, "orders", "--json")
