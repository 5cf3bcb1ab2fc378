"""What one input may take of the machine: seconds of the processor and memory, both far above what any needs."""

import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

CPU_SECONDS = 20.0
MEMORY_BYTES = 2 << 30
_PAGE = resource.getpagesize()


class HangError(BaseException):
    """An input that takes too long. No `except Exception` catches it."""


@contextmanager
def limits(seconds: float = CPU_SECONDS) -> Iterator[None]:
    """Bound what the block allocates, and have it interrupted after seconds of the process's time.

    What asks for more memory gets `MemoryError`. Only in the main thread, as signals are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * _PAGE
    before = signal.signal(signal.SIGVTALRM, _interrupt)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, hard))
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.signal(signal.SIGVTALRM, before)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise HangError("too many seconds of the processor")
