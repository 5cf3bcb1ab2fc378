"""Tries mutants: run as a process of its own that forks a child for each.

It imports all that the package and the killers need, and then forgets the package and the tests' helpers: a child
imports them anew, with the mutation, and saves the rest. A line on the standard input is a JSON array of the name of a
killer and, if it is not to run on the package as it is, of a mutation; one line on the standard output tells what
became of it: "killed", "survived" or "broken", and why.
"""

import importlib
import json
import logging
import os
import random
import select
import sys
import time
import traceback
import types
from collections.abc import Sequence

LONGEST_SECONDS = 60


def _is_own(name: str) -> bool:
    return name.partition(".")[0] in ("msglog", "support")


class _Imported:
    """What this process imported at first: what checks need on the package as it is, and what tells of the checks."""

    def __init__(self) -> None:
        killers = importlib.import_module("support.mutation.killers")
        self.modules = killers.all_killers()
        self.storage_only = killers.STORAGE_ONLY
        self._own = {name: module for name, module in sys.modules.items() if _is_own(name)}

    def forget(self) -> None:
        """Let the package and the helpers of tests be imported anew."""
        for name in list(sys.modules):
            if _is_own(name):
                del sys.modules[name]

    def remember(self) -> None:
        """Use what was imported at first."""
        sys.modules.update(self._own)


def _run(imported: _Imported, killer: str, name: str) -> str:
    """Run in the child: import the mutant, and the killer on it."""
    logging.disable()
    # Seeds of files are random, and with them where stores are torn: here one run is like the next.
    os.urandom = random.Random(2).randbytes  # type: ignore[assignment]
    module = imported.modules[killer]
    if name:
        table = importlib.import_module("support.mutation.table")
        mutation = next(one for one in table.MUTATIONS if one.name == name)
        mutation.install()
        if module in imported.storage_only:
            # The package without its face, which would import all layers above the engine.
            package = types.ModuleType("msglog")
            package.__path__ = [str(mutation.root)]
            sys.modules["msglog"] = package
        importlib.import_module(mutation.module)
    else:
        imported.remember()
    check = importlib.import_module("support.mutation.killers").killers_in(module)[killer]
    try:
        check()
    except NameError as error:
        return f"broken {error!r}"
    except BaseException as error:  # noqa: BLE001 whatever it is, the mutant is found out
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(str(error).split())[:300]
        return f"killed {type(error).__name__}: {text} ({last.filename.rpartition('/')[2]}:{last.lineno})"
    return "survived"


def _in_a_child(imported: _Imported, words: Sequence[str]) -> str:
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            told = _run(imported, words[0], words[1] if len(words) > 1 else "")
        except BaseException as error:  # noqa: BLE001 nothing may go on in the child
            told = f"broken {error!r}"
        os.write(writing, told.encode(errors="replace"))
        os._exit(0)
    os.close(writing)
    told = ""
    end = time.monotonic() + LONGEST_SECONDS
    while select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
        data = os.read(reading, 1 << 16)
        if not data:
            break
        told += data.decode()
    else:
        os.kill(process, 9)
        told = f"broken: it was not done within {LONGEST_SECONDS} seconds"
    os.close(reading)
    os.waitpid(process, 0)
    return " ".join((told or "broken: the process ended").split())


def main() -> None:
    """Answer one line after the other."""
    os.environ["MSGLOG_PURE_PYTHON"] = "1"  # it is Python that is mutated
    imported = _Imported()
    imported.forget()
    print("ready", flush=True)  # noqa: T201 the pipe is what it talks through
    for line in sys.stdin:
        print(_in_a_child(imported, json.loads(line)), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
