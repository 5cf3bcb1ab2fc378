"""Strikes a script once, at one place in the storage engine's code: nothing may come of it but that call's end.

`prepare` returns an open `Script`; `code` is what stands in the paths of the modules that are struck.
"""

import os
from _thread import LockType
from collections.abc import Callable

import msglog.storage
from msglog.errors import MsglogError
from msglog.storage import Engine
from support.crash_images import crash_images
from support.history import read_state
from support.opcodes import Striker, Struck
from support.recovery import recover
from support.session import Script

STORAGE_FOLDER = os.path.join(os.path.dirname(msglog.storage.__file__), "")


def places_in(work: Callable[[Script], None], prepare: Callable[[], Script], code: str = STORAGE_FOLDER) -> int:
    """Return at how many places `strike` can strike."""
    counting = Striker(code)
    script = prepare()
    with counting.striking():
        work(script)
    return counting.seen


def _leaked_locks(engine: Engine) -> list[str]:
    """Return which of the engine's locks are held, although nobody is at work."""
    holders = (engine, engine.writer, engine._checkpointer)
    return [
        f"{type(holder).__name__}.{name}"
        for holder in holders
        for name in dir(holder)
        if isinstance(value := getattr(holder, name, None), LockType) and value.locked()
    ]


def strike(work: Callable[[Script], None], prepare: Callable[[], Script], at: int, code: str = STORAGE_FOLDER) -> None:
    """Strike once, at one place, and see that nothing came of it but the one call's end."""
    script = prepare()
    striker = Striker(code, at)
    try:
        with striker.striking():
            work(script)
    except Struck:
        pass
    except MsglogError as error:
        raise AssertionError(f"{striker.place}: turned into {error!r}") from error
    engine = script.engine
    assert not _leaked_locks(engine), f"{striker.place}: {_leaked_locks(engine)} leaked"
    try:
        # The next commit settles what became of the interrupted one; it must not need any help.
        with engine.lock:
            engine.clear_obstacle()
        engine.flush()
        script.history.resolve_interrupted(read_state(engine))
        script.commit(("append", "a", 20), ("event",))
        script.append("a", 20)
        script.check()
        script.flush()
        moment, disk = script.moment, script.filesystem.disk
        for image in crash_images(disk.start, disk.operations, seed=at, first=moment, each=1, chances=0):
            if image.label == "nothing":
                script.history.check(recover(image.build(), script.sync), moment)
        script.close()
        script.open()
        script.check()
    except Exception as error:
        raise AssertionError(f"{striker.place}: {type(error).__name__}: {error}") from error
