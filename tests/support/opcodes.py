"""Raises an exception at any one of the places in some code where a signal handler may raise one.

CPython runs signal handlers only as the last part of calls, at the start of functions and at jumps back. An
exception at another opcode is one that no program meets: between the end of a `with` block and the call of
`__exit__`, say, where it would leak a lock. So `Striker` counts, and strikes at, the opcodes that follow one
which runs handlers, as long as the same `except` or `with` is in force at both. When a function of Python that was
called by another one, with no C in between, returns, no handler runs. Finalizers are left alone: when they run is the
garbage collector's choice, and what is raised in one reaches nobody.
"""

import dis
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any, ClassVar

TELLS_RETURNS = sys.version_info < (3, 13)
"""Whether a call of Python by Python can be told from one through C: the caller has passed the whole opcode."""

_RUN_HANDLERS = ("RESUME", "CALL", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")


class Struck(BaseException):
    """The exception that is raised: no `except Exception` catches it."""


class Striker:
    """Counts the places passed in files of a folder and strikes at number `at` of them, told by `place`."""

    NEVER = 1 << 62

    def __init__(self, folder: str, at: int = NEVER) -> None:
        self.seen = 0
        self.place = ""
        self._folder = folder
        self._at = at
        self._last: dict[FrameType, int] = {}
        # Frames whose present opcode has called a function of Python.
        self._calling: set[FrameType] = set()
        # How many finalizers are under way.
        self._finalizing = 0

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Strike in this thread, inside of the block; no garbage is collected there, nor its finalizers struck."""
        before = sys.gettrace()
        collects = gc.isenabled()
        gc.disable()
        sys._getframe().f_trace_opcodes = True  # 3.12 traces opcodes only if a frame asked before `settrace`
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)
            if collects:
                gc.enable()
            self._last.clear()
            self._calling.clear()

    def _trace(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        if self._finalizing or self._folder not in frame.f_code.co_filename:
            return None
        if frame.f_code.co_name == "__del__":
            self._finalizing += 1
            return self._until_finalized
        frame.f_trace = self._step  # 3.13 traces opcodes only if a frame that is traced asks
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        caller = frame.f_back
        if TELLS_RETURNS and caller in self._last and caller.f_lasti != self._last[caller]:
            self._calling.add(caller)
        return self._step

    def _until_finalized(self, _frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "return":
            self._finalizing -= 1
        return self._until_finalized

    def _step(self, frame: FrameType, event: str, _argument: object) -> Callable[..., Any]:
        if event == "opcode":
            before, self._last[frame] = self._last.get(frame, 0), frame.f_lasti
            if frame in self._calling:
                self._calling.discard(frame)
            elif _Code.of(frame.f_code).is_struck_by_signals(before, frame.f_lasti):
                number = self.seen
                self.seen += 1
                if number == self._at:
                    self.place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                    raise Struck(self.place)
        return self._step


class _Code:
    """The opcodes of one code object, and which handler is in force at each."""

    _known: ClassVar[dict[CodeType, "_Code"]] = {}

    def __init__(self, code: CodeType) -> None:
        self._names = {instruction.offset: instruction.opname for instruction in dis.get_instructions(code)}
        self._handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]

    @classmethod
    def of(cls, code: CodeType) -> "_Code":
        if code not in cls._known:
            cls._known[code] = cls(code)
        return cls._known[code]

    def is_struck_by_signals(self, before: int, at: int) -> bool:
        """A signal strikes as part of the opcode that ran, so under that one's handler."""
        return self._names[before].startswith(_RUN_HANDLERS) and self._handler(before) == self._handler(at)

    def _handler(self, offset: int) -> int | None:
        for entry in self._handlers:
            if entry.start <= offset < entry.end:
                target: int = entry.target
                return target
        return None


def is_finalizing(frame: FrameType | None) -> bool:
    """Whether a frame is a finalizer or was called by one: what a signal handler raises there reaches nobody."""
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_forget"):
            return True
        frame = frame.f_back
    return False
