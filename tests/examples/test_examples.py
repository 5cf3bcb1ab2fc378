"""The examples do what they say: their results, and that they run as scripts."""

import runpy
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    return runpy.run_path(str(EXAMPLES / name))


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_runs_as_a_script(script):
    finished = subprocess.run([sys.executable, "-W", "error", script], capture_output=True, check=False)
    assert finished.stderr == b""
    assert finished.returncode == 0
    assert finished.stdout


def test_user_clicks():
    example = load("user_clicks.py")
    clicks = example["make_clicks"](300)
    results = example["main"]()
    assert results.views == Counter(click["page"] for _, click in clicks)
    assert results.current_pages == {user: click["page"] for user, click in clicks}
    assert results.next_pages == transitions(clicks)
    assert results.clicks_in_order == 300


def test_user_clicks_is_deterministic():
    example = load("user_clicks.py")
    assert example["main"]() == example["main"]()


def test_account_transactions():
    results = load("account_transactions.py")["main"]()
    assert results.balances == {"alice": 325_450, "bruno": 20_000, "clara": 45_300}
    assert results.suspects == {"clara"}
    assert results.february == {"alice": 1, "bruno": 1, "clara": 4}
    assert results.dashboard == ["09:15 alice -300.00", "09:40 clara +250.00"]


def transitions(clicks):
    """Count which page follows which, user by user."""
    counts = {}
    for user in {user for user, _ in clicks}:
        pages = [click["page"] for who, click in clicks if who == user]
        for page, following in pairwise(pages):
            counts.setdefault(page, Counter())[following] += 1
    return counts
