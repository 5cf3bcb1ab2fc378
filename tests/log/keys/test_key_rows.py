"""The arithmetic of the index by key: rows, which runs are merged, which ones an index goes on with."""

from bisect import bisect_left

import hypothesis.strategies as st
import pytest
from hypothesis import given

from msglog.log.rules.key_rows import (
    DIGEST_BYTES,
    ROW_BYTES,
    RunSpan,
    candidates,
    digest_of,
    offset_of,
    offsets_in,
    rows_of,
    runs_to_merge,
    split_rows,
)

# Few different bytes, so that a digest is found across two rows, too.
DIGESTS = st.binary(min_size=1, max_size=DIGEST_BYTES).map(
    lambda some: (bytes(byte % 2 for byte in some) * DIGEST_BYTES)[:DIGEST_BYTES]
)
OFFSETS = st.lists(st.integers(0, 300), min_size=1, max_size=6, unique=True).map(sorted)


def test_digests_differ():
    keys = [b"", b"\0", b"a", b"b", b"a" * 1000, b"a" * 1001]
    digests = {digest_of(key) for key in keys}
    assert len(digests) == len(keys)
    assert {len(digest) for digest in digests} == {DIGEST_BYTES}
    assert digest_of(b"a") == digest_of(b"a")


@given(st.dictionaries(DIGESTS, OFFSETS, max_size=8), st.integers(0, 300))
def test_rows_tell_what_they_were_made_of(offsets, end):
    rows = rows_of(offsets.items(), end)
    assert rows == sorted(rows)
    data = b"".join(rows)
    assert split_rows(data) == rows
    for digest, known in offsets.items():
        assert offsets_in(data, digest) == known[: bisect_left(known, end)]
    assert {offset_of(row) for row in rows} == {one for known in offsets.values() for one in known if one < end}


def test_a_digest_across_two_rows_is_not_found():
    digest = bytes(range(DIGEST_BYTES))
    across = [b"\xff" * 12 + digest[:12], digest[12:] + b"\xff" * 20]
    assert digest in b"".join(across)
    assert offsets_in(b"".join(across), digest) == []
    own = digest + (7).to_bytes(8, "big")
    assert offsets_in(b"".join([*across, own]), digest) == [7]
    assert len(own) == ROW_BYTES


@pytest.mark.parametrize(
    ("counts", "count", "merged"),
    [
        ([], 10, 0),
        ([10], 10, 1),
        ([20], 10, 1),
        ([21], 10, 0),
        ([60, 20], 10, 2),
        ([61, 20], 10, 1),
        ([0, 0], 0, 2),
        ([1], 0, 0),
        ([100, 1], 0, 0),
        ([9, 100, 1], 2, 1),
    ],
)
def test_which_runs_are_merged(counts, count, merged):
    assert runs_to_merge(counts, count) == merged


@given(st.lists(st.integers(0, 1000), max_size=200))
def test_there_are_few_runs(sizes):
    counts = []
    written = 0
    for size in sizes:
        merged = runs_to_merge(counts, size)
        counts[len(counts) - merged :] = [size + sum(counts[len(counts) - merged :])]
        written += counts[-1]
    total = sum(sizes)
    assert sum(counts) == total
    assert len([count for count in counts if count]) <= 1 + total.bit_length()
    assert written <= (2 + 2 * total.bit_length()) * (total + 1)


def test_the_run_that_reaches_farthest_comes_first():
    spans = [RunSpan(1, 0, 5, 9), RunSpan(1, 0, 10, 9), RunSpan(1, 5, 20, 9), RunSpan(1, 0, 10, 12)]
    assert list(candidates(spans, 0, at_start=True)) == [spans[3], spans[1], spans[0]]
    assert list(candidates(spans, 5, at_start=False)) == [spans[2]]
    assert list(candidates(spans, 6, at_start=True)) == [spans[2], spans[3], spans[1]]
    assert list(candidates(spans, 6, at_start=False)) == []
    assert list(candidates(spans, 20, at_start=True)) == []
