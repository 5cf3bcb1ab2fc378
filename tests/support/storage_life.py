"""An engine that goes through steps, the same for the same seed; and what the compiled parts of storage are, changed.

For the tests that compare what is compiled with the Python methods.
"""

import random
import shutil
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from functools import lru_cache
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from msglog.clock import ManualClock
from msglog.cursors import Cursor, CursorModel
from msglog.storage import Engine, Options, compiled
from msglog.storage.filesystem import MemoryFileSystem, OSFileSystem
from support.building import compile_quickly
from support.ledger import Ledger

_HAS_CRC = '#define PROCESSOR_HAS_CRC __builtin_cpu_supports("sse4.2")'


class Life:
    """An engine of its own with some streams and a cursor; what its steps are says who derives from it."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        way: str,
        patch: pytest.MonkeyPatch,
        *,
        pure: bool,
        streams: str = "abc",
        **options: Any,
    ) -> None:
        self._dice = random.Random(seed)
        seeds = random.Random(seed)
        for module in [module for name, module in sys.modules.items() if name.startswith("msglog.storage")]:
            if getattr(module, "random_seed", None) is not None:
                patch.setattr(module, "random_seed", lambda: seeds.getrandbits(64))
        patch.setenv("MSGLOG_PURE_PYTHON", "1" if pure else "")
        self.clock = ManualClock()
        filesystem = MemoryFileSystem() if way == "memory" else OSFileSystem()
        models: list[Any] = [CursorModel, lambda _: Ledger()]
        folder.mkdir(parents=True)
        patch.chdir(folder)  # how long a path is says how much room is made for a commit that makes files
        sync: Any = "none" if way == "memory" else way
        self.engine = Engine.open(filesystem, "s", Options(sync=sync, **options), models, self.clock, background=False)
        with self.engine.lock:
            commit = self.engine.begin()
            commit.record(CursorModel.section, ["open", 1, 0])
            made = [commit.create_stream(name) for name in streams]
            commit.write()
        self.streams = [self.engine.streams[number] for number in made]

    def end(self) -> None:
        """Give back what an engine holds that was not closed: a life may end with any of its steps."""
        if not self.engine.released:
            self.engine._let_go()

    @property
    def cursor(self) -> Cursor[Any]:
        model = self.engine.models[CursorModel.section]
        assert isinstance(model, CursorModel)
        return model.cursors[1]

    def slots_of_streams(self) -> list[dict[str, object]]:
        return [
            slots(stream, without=("_cache", "active", "parts", "waiters", "unfinished")) for stream in self.streams
        ]

    def slots_of_parts(self, *without: str) -> list[dict[str, object]]:
        return [
            slots(part, without=("file", "header", "index", "map", "path", "used", *without))
            for stream in self.engine.streams.values()
            for part in stream.parts
        ]


def slots(one: object, without: Iterable[str] = ()) -> dict[str, object]:
    """Return what is in the slots of an object. Lives ask that of all their objects after every step."""
    names, values_of = _getter(type(one), frozenset(without))
    return dict(zip(names, values_of(one), strict=True))


@lru_cache
def _getter(kind: Any, without: frozenset[str]) -> tuple[list[str], Callable[[object], tuple[object, ...]]]:
    names = [name for name in kind.__slots__ if name not in without]
    return names, attrgetter(*names)


def differs(told: Generator[object], expected: Sequence[object]) -> bool:
    """Return whether a life is another one than expected. It ends with the first step that is."""
    try:
        return any(one != other for one, other in zip(told, expected, strict=True))
    except Exception:  # noqa: BLE001 as good as another story
        return True
    finally:
        told.close()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(name: str, folder: Path, old: str, new: str) -> Path:
    """Compile a part in which something stands for something else, in its source or in the header, and return it."""
    parts = [Path(shutil.copy(part, folder)) for part in (compiled.FOLDER / f"{name}.c", *compiled.FOLDER.glob("*.h"))]
    (holder,) = (part for part in parts if old in part.read_text())
    holder.write_text(holder.read_text().replace(old, new))
    return compile_quickly(parts[0])


def without_instruction(name: str, folder: Path, has_instruction: str = "0") -> Path:
    """Compile a part as for a processor that has no instruction for checksums, or has one when it says so."""
    return changed(name, folder, _HAS_CRC, f"#define PROCESSOR_HAS_CRC {has_instruction}")


def loaded(path: Path) -> Any:
    """Return a part that was compiled."""
    spec = spec_from_file_location(f"msglog.storage.{path.name.partition('.')[0]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
