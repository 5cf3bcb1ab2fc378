"""The page on safety names tests that exist; that they try as many cases as it says, whole runs check at their end."""

import ast
from pathlib import Path

import pytest

from support.evidence import KINDS, Claim, claims, unmet

ROOT = Path(__file__).parents[1]
CLAIMS = claims()


def test_the_page_claims_something():
    assert len(CLAIMS) > 20
    assert sum(claim.count for claim in CLAIMS if claim.kind == "crash images") > 90_000


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim.file}::{claim.test}")
def test_named_tests_exist(claim):
    tree = ast.parse((ROOT / claim.file).read_text())
    assert claim.test in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_a_claim_is_compared_with_what_was_told():
    claim = Claim("tests/a.py", "test_b", 10, "crash images")
    told = {"tests/a.py::test_b[x]": {"crash_images": 4}, "tests/a.py::test_b[y]": {"torn_stores": 5}}
    assert unmet([claim], told) == ["tests/a.py::test_b: 9 crash images, 10 are claimed"]
    told["tests/a.py::test_b"] = {"crash_images": 1}
    assert unmet([claim], told) == []
    assert unmet([claim], {"tests/a.py::test_c": {"crash_images": 1}}) == []


def test_kinds_do_not_share_names():
    names = [name for names in KINDS.values() for name in names]
    assert len(names) == len(set(names))
