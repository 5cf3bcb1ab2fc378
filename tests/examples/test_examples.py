"""The examples do what they say: their results, and that they run as scripts."""

import asyncio
import runpy
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from support.scale import scaled

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


def test_orders():
    example = load("orders.py")
    results = example["main"]()
    assert results.copies == [3, 3, 3, 3]
    assert results.paid == {"A-1": 4_900, "A-2": 31_600, "A-3": 9_800, "A-4": 22_000}
    assert results.payment_attempts == {"A-1": 1, "A-2": 2, "A-3": 1, "A-4": 1}
    assert results.reserved == {"lamp": 3, "chair": 4, "table": 1}
    assert sorted(results.mails) == ["ada@example.org", "bob@example.org", "dora@example.org"]
    assert results.dead_letters == [("A-3", "email", "rejected")]


def test_atm_withdrawals():
    results = load("atm_withdrawals.py")["main"]()
    decisions = {
        "atm7-1": ("ada", 60_00, True, 40_00),
        "atm7-2": ("bob", 50_00, False, 40_00),
        "atm7-3": ("ada", 30_00, True, 10_00),
        "atm7-4": ("ada", 20_00, False, 10_00),
        "atm7-5": ("bob", 40_00, True, 0),
    }
    assert results.crashes == 1
    assert results.ledger == [(request, *decision) for request, decision in decisions.items()]
    asked = ["atm7-1", "atm7-2", "atm7-3", "atm7-3", "atm7-4", "atm7-5"]
    assert results.answers == [(request, *decisions[request]) for request in asked]
    assert results.audited == asked
    assert results.refused == ["atm7-2", "atm7-4"]


@pytest.mark.parametrize("seed", range(2))
def test_exactly_once(seed):
    example = load("exactly_once.py")
    kills = scaled(3)
    results = example["main"](purchases=200, kills=kills, seed=seed)
    expected = {f"purchase-{number}": 1 for number in range(200)}
    assert results.kills == kills
    assert results.bookings == expected
    assert results.receipts == expected
    assert results.total_cents == sum(example["prices"](200))


def test_thumbnails():
    example = load("thumbnails.py")
    results = asyncio.run(example["main"]())
    photos = {f"photo-{number:02}" for number in range(example["PHOTOS"])}
    assert results.album == {photo: [64, 256] for photo in photos}
    assert sum(results.made.values()) == results.answer == len(photos)
    assert results.redelivered == ["photo-00"]


def test_bank_account():
    example = load("bank_account.py")
    results = example["main"]()
    attempts = example["THREADS"] * example["ATTEMPTS"]
    price = 1_00 + example["FEE_CENTS"]
    assert attempts > 90  # more than any account can pay for
    expected = {name: cents % price for name, cents in example["OPENING_CENTS"].items()}
    assert results.balances == results.rebuilt == results.audited == results.lowest == expected
    assert min(results.lowest.values()) >= 0
    assert results.approved == {name: cents // price for name, cents in example["OPENING_CENTS"].items()}
    assert results.refused == {name: attempts - count for name, count in results.approved.items()}
    assert results.read_again < example["SNAPSHOT_EVERY"]


def transitions(clicks):
    """Count which page follows which, user by user."""
    counts = {}
    for user in {user for user, _ in clicks}:
        pages = [click["page"] for who, click in clicks if who == user]
        for page, following in pairwise(pages):
            counts.setdefault(page, Counter())[following] += 1
    return counts
