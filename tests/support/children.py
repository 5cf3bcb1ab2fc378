"""Child processes of tests: modules of `support` run with `python -m`, talking through pipes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def child_environment() -> dict[str, str]:
    """Return the environment in which a child imports what this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@contextmanager
def child(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module in a child with pipes; it is killed at the end if it is still there."""
    process = subprocess.Popen(
        [sys.executable, "-m", f"support.{module}", *arguments],
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line_from(process: subprocess.Popen[str]) -> str:
    """Return the next line that a child writes; an error with what it complained about if it ended."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        assert process.stderr is not None
        raise AssertionError(f"the child ended with {process.wait()}: {process.stderr.read()}")
    return line.strip()


def say(*words: object) -> None:
    """In a child: write a line for `line_from`."""
    print(*words, flush=True)  # noqa: T201 the pipe is what it talks through
