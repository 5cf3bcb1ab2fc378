"""Mutation of the safety code: without any one sync, checksum, check or step of the order the suite fails.

Each mutation of the table is made in a process of its own, and the check that stands beside it must fail there; on the
package as it is every check passes. What syncs, verifies or refuses is looked for in the source: new safety code comes
with its mutation.
"""

import ast
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator

import pytest

from support.children import child_environment, line_from
from support.mutation.killers import all_killers
from support.mutation.mutant import PACKAGE
from support.mutation.table import HARMLESS, MUTATIONS
from support.telling import tell

SYNCS = {"sync", "sync_directory", "fsync", "fdatasync"}
ERRORS = {"CorruptionError", "FrameError", "_damage"}
WAITING = ("log", "broker", "transactions")
"""Packages whose calls wait for the engine's sync."""
PACKAGES = ("storage", *WAITING)
"""Where there is safety code."""


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "support.mutation.server"]
    with subprocess.Popen(
        command,
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert line_from(process) == "ready"
        yield process
        process.kill()


def _ask(server: subprocess.Popen[str], *words: str) -> str:
    server.stdin.write(json.dumps(words) + "\n")
    server.stdin.flush()
    return line_from(server)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutant_is_killed(mutation, server, record_property):
    told = _ask(server, mutation.killer, mutation.name)
    assert told.startswith("killed "), f"{mutation.killer}: {told}"
    tell(record_property, mutants_killed=1)


@pytest.mark.parametrize("killer", all_killers())
def test_the_package_as_it_is_survives(killer, server, record_property):
    assert _ask(server, killer) == "survived"
    tell(record_property, checks_that_kill=1)


def test_every_check_kills_something():
    assert all_killers().keys() == {mutation.killer for mutation in MUTATIONS}


def test_mutations_have_names_of_their_own():
    assert [name for name, count in Counter(mutation.name for mutation in MUTATIONS).items() if count > 1] == []


# What there is to mutate


def _is_safety_call(node: ast.Call, package: str) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if package == "storage":
        if name == "crc32c" or name in ERRORS:
            return True
        return name in SYNCS and isinstance(node.func, ast.Attribute)
    if package in WAITING and name == "wait" and isinstance(node.func, ast.Attribute):
        return ast.unparse(node.func.value).endswith("engine")
    return False


def _safety_calls() -> Iterator[tuple[str, str, int]]:
    """Yield file, text and place of every call that syncs, verifies, tells damage, or waits for a sync."""
    for path in sorted(path for package in PACKAGES for path in (PACKAGE / package).rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        source = path.read_bytes()
        starts = [0]
        for line in source.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and _is_safety_call(node, file.partition("/")[0]):
                start = starts[node.lineno - 1] + node.col_offset
                end = starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)
                yield file, source[start:end].decode(), len(source[:start].decode())


def test_all_safety_code_is_mutated_or_shown_to_be_harmless(record_property):
    places: dict[str, list[range]] = {}
    for mutation in MUTATIONS:
        source = (PACKAGE / mutation.file).read_text()
        places.setdefault(mutation.file, []).append(mutation.place(source))
    found = list(_safety_calls())
    bare = [
        (file, text)
        for file, text, place in found
        if (file, text) not in HARMLESS and not any(place in mutated for mutated in places.get(file, ()))
    ]
    assert bare == [], "safety code without a mutation: give it one in support/mutation/table.py"
    assert HARMLESS.keys() <= {(file, text) for file, text, _ in found}
    tell(record_property, safety_calls=len(found))
