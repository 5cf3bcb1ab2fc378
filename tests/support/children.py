"""Child processes of tests, talking through pipes: modules of `support` run with `python -m`, or forked from a server.

A child that is forked from the server finds all that it needs imported, which is most of what one costs that lives for
a moment. The server itself has never opened a store.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from typing import IO, Any

from msglog.store.registration import PARTS

HAS_FORK_SERVER = "forkserver" in multiprocessing.get_all_start_methods()
# All at once: a server that runs already is not told of more.
_IMPORTED_BY_SERVER = [
    *PARTS,
    *(f"support.{name}" for name in ("appender", "broker_worker", "crowd", "filler", "power_worker", "transactor")),
]


def child_environment() -> dict[str, str]:
    """Return the environment in which a child imports what this process imports, with its temporary files beside."""
    path = os.pathsep.join(path for path in sys.path if path)
    return {**os.environ, "PYTHONPATH": path, "TMPDIR": tempfile.gettempdir()}


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


def fork_server() -> ForkServerContext:
    """Return what makes processes that are forked from the server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED_BY_SERVER)
    # The server imports by its environment only: what it does not find it leaves out without a word.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = child_environment()["PYTHONPATH"]
    try:
        ensure_running()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return context


class ForkedChild:
    """A function that runs in a child, whose standard output is a pipe."""

    def __init__(self, function: Callable[..., None], *arguments: Any) -> None:
        context = fork_server()
        mine, its = context.Pipe(duplex=False)
        self._process = context.Process(target=_run_writing_to, args=(its, function, *arguments), daemon=True)
        self._process.start()
        its.close()
        self.stdout: IO[str] = open(os.dup(mine.fileno()))  # noqa: SIM115 closed by `end`
        mine.close()

    def kill(self) -> None:
        """End it by SIGKILL."""
        self._process.kill()

    def end(self) -> None:
        """Have nothing left of it."""
        self._process.kill()
        self._process.join()
        self.stdout.close()


def _run_writing_to(pipe: Connection, function: Callable[..., None], *arguments: Any) -> None:
    os.dup2(pipe.fileno(), 1)
    function(*arguments)


@contextmanager
def forked_child(function: Callable[..., None], *arguments: Any) -> Iterator[ForkedChild]:
    """Run a function in a child that is forked from the server; it is killed at the end if it is still there."""
    process = ForkedChild(function, *arguments)
    try:
        yield process
    finally:
        process.end()


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
