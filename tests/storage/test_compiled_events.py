"""The compiled packing of events: what it makes of a commit's events is what the Python method makes."""

import gc
import random
import sys
from typing import Any

import pytest

from msglog.clock import ManualClock
from msglog.storage import Engine, Options, compiled
from msglog.storage.commit import Commit
from msglog.storage.filesystem import MemoryFileSystem
from msglog.storage.planning import Writer
from support.mutants_of_c import compile_mutants, load_mutant
from support.scale import scaled
from support.telling import tell

try:
    from _testcapi import remove_mem_hooks, set_nomemory
except ImportError:
    remove_mem_hooks = set_nomemory = None

pytestmark = pytest.mark.skipif(
    not compiled.is_compiled(), reason="installed without the compiled packing: no compiler, or no headers"
)

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF, 0x10000, 0xFFFFFFFF, 0x100000000, (1 << 63) - 1]
LENGTHS = [0, 1, 2, 15, 16, 17]
TEXTS = ["", "a", "log", "é" * 5, "日" * 10, "😀" * 8, *("x" * size for size in (31, 32, 255, 256, 300))]


class Text(str):
    """No plain text."""

    __slots__ = ()


STRANGE: list[Any] = [
    None, True, -1, -33, 1 << 63, 1 << 64, 1.5, b"bytes", (1, 2), {"a": 1}, Text("x"), "x" * 3000, "\ud800",
    [[[[[[[[[[1]]]]]]]]]], [0] * 3000, object(),
]  # fmt: skip
EVENTS: list[Any] = [
    *(("log", ["kind", strange]) for strange in STRANGE),
    *(("cursors", ["settle", *given]) for given in (
        (1, 2, 3), (1, 2, 3, 4, 5), (-1, 2, 3, 4), (1 << 32, 0, 1, 1), (1, 5, 4, 4), (1, 0, 1 << 32, 4),
        (1, 0, (1 << 32) - 1, 4), (1, 1 << 63, 1 << 63, 4), ("1", 2, 3, 4), (True, 2, 3, 4), (1, 2, 3, None), (),
    )),
    ("other", ["settle", 1, 2, 3, 4]), ("cursors", ["deliver", 1, 2, 3, 4]), (Text("cursors"), ["settle", 1, 2, 3, 4]),
    ("cursors", [Text("settle"), 1, 2, 3, 4]), ("log", []), ("log", ()), (None, ["kind"]), (1, ["kind"]), ("log",),
    ["log", ["kind"]], None, ("log", ["kind"], 1),
]  # fmt: skip


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setenv("MSGLOG_PURE_PYTHON", "")
    made = Engine.open(MemoryFileSystem(), "store", Options(sync="none"), [], ManualClock(), background=False)
    assert "Events" in repr(made.writer.bodies_of)
    yield made
    made.close()


def _told(method: Any, commit: Commit) -> object:
    """Return what a method makes of a commit, or what it raises."""
    try:
        bodies = method(commit)
    except Exception as error:  # noqa: BLE001 the subject
        return type(error), str(error)
    return [(stream.id, *(getattr(body, name) for name in type(body).__slots__)) for stream, body in bodies], (
        bodies is commit.bodies
    )


def _python(engine: Engine) -> Any:
    return lambda commit: Writer.bodies_of(engine.writer, commit)


def _thing(dice: random.Random, depth: int) -> Any:
    kind = dice.randrange(6 if depth < 3 else 5)
    if kind < 3:
        return dice.choice([*NUMBERS, dice.getrandbits(dice.randrange(1, 64))])
    return dice.choice(TEXTS) if kind < 5 else [_thing(dice, depth + 1) for _ in range(dice.choice(LENGTHS))]


def _events(dice: random.Random) -> list[Any]:
    events: list[Any] = []
    for _ in range(dice.choice([1, 1, 1, 2, 2, 3, 64, 65])):
        if dice.randrange(2):
            first = dice.choice([0, 7, 1 << 40])
            counts = dice.choice([0, 1, 300, (1 << 32) - 1])
            events.append(
                ("cursors", ["settle", dice.choice([1, 1 << 20]), first, first + counts, dice.choice(NUMBERS)])
            )
        else:
            events.append(
                (dice.choice(["log", "groups"]), ["kind", *(_thing(dice, 0) for _ in range(dice.randrange(4)))])
            )
    return events


def _differs(engine: Engine, method: Any, seeds: int) -> bool:
    """Whether a method makes something else of any events than Python does."""
    dice = random.Random(7)
    for events in [
        *([one] for one in EVENTS),
        *([EVENTS[17], one] for one in EVENTS),
        *(_events(dice) for _ in range(seeds)),
    ]:
        commit = Commit(engine)
        commit.events = events
        engine.clock.advance(ms=1)  # type: ignore[attr-defined]
        if _told(method, commit) != _told(_python(engine), commit):
            return True
    return False


def test_events_are_packed_as_python_packs_them(engine, record_property):
    assert not _differs(engine, engine.writer.bodies_of, scaled(1000))
    tell(record_property, model_steps=scaled(1000))


def test_a_commit_without_events_keeps_its_list_and_what_is_none_is_refused(engine):
    commit = Commit(engine)
    assert engine.writer.bodies_of(commit) is commit.bodies
    for given in (None, 5, object()):
        assert _told(engine.writer.bodies_of, given) == _told(_python(engine), given)  # type: ignore[arg-type]


def _made(engine: Engine, python: Any, module: Any = None) -> Any:
    """Return the method of a compiled module in front of another one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "_compiled_events", module or compiled._compiled_events)
        patch.delitem(vars(engine.writer), "bodies_of")
        patch.setattr(type(engine.writer), "bodies_of", python)
        compiled.pack_events(engine)
        return vars(engine.writer)["bodies_of"]


def test_few_are_left_to_python(engine):
    left: list[Commit] = []
    packs = _made(engine, lambda _, commit: left.append(commit))
    commit = Commit(engine)
    commit.events = [("cursors", ["settle", 1, 2, 3, 4]), ("groups", ["commit", "g", [[1, 0, 5]]])]
    packs(commit)
    assert left == []
    commit.events.append(("log", [None]))
    packs(commit)
    assert left == [commit]


@pytest.mark.skipif(set_nomemory is None, reason="this Python has no `_testcapi`")
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="3.13 crashes by itself when it has no memory for a call")
def test_each_allocation_may_fail_and_nothing_is_leaked(engine, record_property):
    commit = Commit(engine)
    commit.events = [("cursors", ["settle", 1, 2, 3, 4]), ("groups", ["commit", "g", [[1, 0, 5]]])]
    failed = before = 0
    for turn in range(4):
        if turn == 2:
            gc.collect()
            before = sys.getallocatedblocks()
        for number in range(20):
            set_nomemory(number, number + 1)
            try:
                engine.writer.bodies_of(commit)
            except MemoryError:
                failed += 1
            finally:
                remove_mem_hooks()
    gc.collect()
    assert sys.getallocatedblocks() - before < 100
    assert failed > 4 * 2
    tell(record_property, failed_allocations=failed)


MUTATIONS = [
    ("if (number < 0x80)", "if (number < 0x81)"),
    ("else if (number <= 0xFF)", "else if (number < 0xFF)"),
    ("else if (number <= 0xFFFF)", "else if (number < 0xFFFF)"),
    ("else if (number <= 0xFFFFFFFF)", "else if (number < 0xFFFFFFFF)"),
    ("if (size < 32)", "if (size < 33)"),
    ("else if (size <= 0xFF)", "else if (size < 0xFF)"),
    ("if (size < 16)", "if (size < 17)"),
    ("if (PyList_GET_SIZE(event) != 5) return 0;", "if (PyList_GET_SIZE(event) < 5) return 0;"),
    ("numbers[0] > most || ", ""),
    ("count < 0 || count > most", "count < 0"),
    ("put(packed, &self->mark, 1);", ""),
    ("put_little(packed, count, 4);", "put_little(packed, numbers[2], 4);"),
    (" && is_text(section, self->cursors)", ""),
    ("if (lengths[place] != lengths[0]) before = LENGTH_SIZE * count;", ""),
    ("before > 0 ? self->kind_uneven : self->kind_plain", "self->kind_plain"),
    ("SLOT(body, body_slot.value_bytes) = Py_NewRef(size);", "SLOT(body, body_slot.value_bytes) = Py_NewRef(number);"),
]
"""Steps of the source that something depends on, and what stands there when they are forgotten or wrong."""


@pytest.fixture(scope="module")
def mutants(tmp_path_factory):
    return compile_mutants(compiled.FOLDER / "_compiled_events.c", MUTATIONS, tmp_path_factory.mktemp("mutants"))


@pytest.mark.parametrize("number", range(-1, len(MUTATIONS)))
def test_each_step_of_the_source_is_missed_when_it_is_wrong(number, mutants, engine, tmp_path, record_property):
    """But for the first one, which is the source as it is."""
    packs = _made(engine, Writer.bodies_of, load_mutant(mutants, number, "storage", tmp_path))
    assert _differs(engine, packs, 200) is (number >= 0), MUTATIONS[number]
    if number >= 0:
        tell(record_property, mutants_killed=1)
