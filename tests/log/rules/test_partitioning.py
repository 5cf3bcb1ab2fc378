"""Partitioning: Kafka's key hash, bit by bit, and sticky batches."""

from collections import Counter
from itertools import groupby, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.log.rules.partitioning import StickyPartitioner, murmur2, partition_for_key

JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "value"), JAVA_VECTORS.items())
def test_murmur2_equals_the_java_clients(key, value):
    assert murmur2(key) == value


def test_the_partition_of_foobar_among_seven():
    assert partition_for_key(b"foobar", 7) == 0


@given(st.binary(max_size=600), st.integers(1, 1000))
def test_a_key_goes_to_its_masked_hash_cached_or_not(key, partitions):
    expected = (murmur2(key) & 0x7FFFFFFF) % partitions
    assert [partition_for_key(key, partitions) for _ in range(2)] == [expected, expected]


@given(st.binary(max_size=50))
def test_murmur2_is_a_signed_32_bit_integer(key):
    assert -(1 << 31) <= murmur2(key) < 1 << 31


def test_keys_spread_over_all_partitions():
    counts = Counter(partition_for_key(b"key-%d" % number, 8) for number in range(8000))
    assert all(800 < counts[partition] < 1200 for partition in range(8))


@given(st.integers(1, 20), st.integers(), st.lists(st.integers(1, 3000), max_size=200))
def test_sticky_stays_for_a_batch_and_then_moves_to_another_partition(partitions, seed, sizes):
    sticky = StickyPartitioner(partitions, seed=seed, batch_bytes=2000)
    chosen = [(sticky.choose(size), size) for size in sizes]
    assert all(0 <= partition < partitions for partition, _ in chosen)
    if partitions == 1:
        return
    runs = [[size for _, size in run] for _, run in groupby(chosen, key=lambda choice: choice[0])]
    assert all(sum(run) >= 2000 > sum(run[:-1]) for run in runs[:-1])
    assert sum(runs[-1][:-1]) < 2000 if runs else True


def test_sticky_is_repeatable_and_fair():
    first, second = (StickyPartitioner(5, seed=3) for _ in range(2))
    choices = [first.choose(16 * 1024) for _ in range(5000)]
    assert choices == [second.choose(16 * 1024) for _ in range(5000)]
    assert all(before != after for before, after in pairwise(choices))
    assert all(800 < count < 1200 for count in Counter(choices).values())
