"""A readonly engine beside the writer, step by step: after each refresh it shows what the writer published."""

import importlib
import random
from threading import Thread

import pytest

from msglog.errors import CorruptionError
from msglog.storage import Engine, Options, recovery
from support.faulty_filesystem import FaultyFileSystem
from support.history import State, difference, read_state
from support.recovery import MODES
from support.scale import scaled
from support.session import Script, open_engine, small_limits
from support.telling import tell

STEPS = 150


def _reader(script: Script) -> Engine:
    """Open the store in another process of the same machine."""
    options = Options(sync=script.sync, segment_bytes=script.segment_bytes, readonly=True)
    return open_engine(FaultyFileSystem(script.filesystem.disk), options)


def _step(script: Script, chance: random.Random) -> str:  # noqa: C901 a table
    """Do something at random and say what."""
    stream = script.stream("a")
    kind = chance.choices(
        ["append", "large", "commit", "trim", "flush", "roll", "rewrite", "reopen", "kill", "streams"],
        [30, 2, 30, 6, 4, 5, 5, 2, 2, 3],
    )[0]
    match kind:
        case "append":
            script.append("a", chance.randrange(10, 400))
        case "large":
            script.append("a", 9000)
        case "commit":
            script.commit(("append", "a", 20), ("append", "b", 30, 40), ("event",))
        case "trim":
            script.commit(("trim", "a", max(stream.start, stream.next_offset - chance.randrange(20))))
        case "flush":
            script.flush()
        case "roll":
            script.roll("a")
        case "rewrite":
            script.rewrite("a")
        case "reopen":
            script.close()
            script.open()
        case "kill":
            script.kill()
            script.open()
        case "streams":
            script.commit(("delete", "b"))
            script.commit(("create", "b"))
    return kind


def _readable(state: State) -> State:
    """Leave out what only decisions need: a reader knows no running totals."""
    for key, stream in state.streams.items():
        state = state.with_stream(key, stream.without_totals())
    return state


@pytest.mark.parametrize("sync", MODES)
@pytest.mark.parametrize("every", [1, 7, 40])
@pytest.mark.parametrize("seed", range(2))
def test_a_reader_shows_what_was_published(seed, every, sync, record_property):
    """`every`: how many steps the reader lags behind before it looks again."""
    chance = random.Random(seed * 100 + every)
    with small_limits():
        script = Script(sync, segment_bytes=1500)
        script.open()
        script.commit(("create", "a"), ("create", "b"))
        reader = _reader(script)
        steps: list[str] = []
        for number in range(scaled(STEPS)):
            steps.append(_step(script, chance))
            if number % every == 0:
                reader.refresh()
                found, expected = _readable(read_state(reader)), _readable(script.history.latest)
                assert found == expected, f"after {steps[-every:]}: {difference(expected, found)}"
        late = _reader(script)
        assert _readable(read_state(late)) == _readable(script.history.latest)
    tell(record_property, steps=len(steps))


@pytest.mark.parametrize("module", ["following", "replay"])
def test_a_segment_that_goes_while_its_events_are_read_does_not_stop_the_reader(module, monkeypatch):
    """A reader that finds its segment gone has the engine look again: also when it reads for that very look."""
    script = Script("none")
    script.open()
    script.commit(("create", "a"), ("event",))
    reader = _reader(script)
    asked = []
    apply_events = importlib.import_module(f"msglog.storage.{module}").apply_events

    def gone(engine, offset):
        asked.append(offset)
        if len(asked) == 1:
            engine.cache.on_missing()
            raise CorruptionError("the segment is gone", path="", position=0)
        return apply_events(engine, offset)

    if module == "replay":
        script.close()
        script.open()  # another life: all is loaded anew
    script.commit(("append", "a", 10), ("event",))
    monkeypatch.setattr(f"msglog.storage.{module}.apply_events", gone)
    monkeypatch.setattr(Engine, "writer_is_alive", lambda _: True)
    thread = Thread(target=reader.refresh, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    assert asked
    assert _readable(read_state(reader)) == _readable(script.history.latest)


@pytest.mark.parametrize("sync", MODES)
def test_what_goes_while_the_writer_goes_on_is_no_damage(monkeypatch, sync):
    with small_limits():
        script = Script(sync)
        script.open()
        script.commit(("create", "a"))
        script.append("a", 100)
        looks = []

        def under_way(engine):
            looks.append(engine)
            if len(looks) <= 20:
                script.append("a", 10)
                script.engine.checkpoint()  # the writer makes a checkpoint, and drops what the reader was to read
                raise CorruptionError("the segment is missing", path="a", position=0, first_offset=0, next_offset=1)
            return recover(engine)

        recover = recovery.recover
        monkeypatch.setattr(recovery, "recover", under_way)
        reader = _reader(script)
        assert len(looks) == 21
        assert read_state(reader) == read_state(script.engine)
        reader.close()


def test_what_is_gone_while_the_writer_stands_still_is_damage(monkeypatch):
    with small_limits():
        script = Script("none")
        script.open()
        script.commit(("create", "a"))
        looks = []

        def lost(engine):
            looks.append(engine)
            raise CorruptionError("the segment is missing", path="a", position=0, first_offset=0, next_offset=1)

        monkeypatch.setattr(recovery, "recover", lost)
        with pytest.raises(CorruptionError, match="missing"):
            _reader(script)
        assert len(looks) == 5
