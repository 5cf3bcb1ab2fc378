"""Topic patterns: the rows seen on RabbitMQ, a naive matcher, and nothing left behind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.broker.rules.topic_trie import TopicTrie
from support.routing import bound, topic_matches, words_of

WORDS = st.sampled_from(["*", "#", "a", "b", "", "a#", "**"])
KEYS = st.lists(WORDS, max_size=6).map(".".join)
# Wildcards often, and in runs: they are what can go wrong.
PATTERNS = st.lists(st.sampled_from(["*", "#", "a", "b", ""]), max_size=6).map(".".join)


def matches(trie, key):
    return {queue for targets in trie.match(key) for queue in targets.split()[0]}


def trie_of(patterns):
    trie = TopicTrie()
    for pattern in patterns:
        trie.add(bound("t", pattern, pattern))
    return trie


def nodes_below(node):
    for child in (*node.words.values(), node.star, node.rest):
        if child is not None:
            yield child
            yield from nodes_below(child)


@pytest.mark.parametrize(
    ("key", "matching", "not_matching"),
    [
        ("", ["#", "#.#", ""], ["*", "#.*", "*.#"]),
        ("a", ["#", "*", "a.#", "#.a", "*.#", "#.*", "a"], ["", "b", "*.*", "A"]),
        ("a.b", ["a.#.b", "a.*", "*.b", "#.b", "a.#", "#.#"], ["a", "b", "*", "a.*.b", "a.b.*"]),
        ("a..b", ["a.*.b", "a.#.b", "a..b", "*.*.*"], ["a.b", "*.*", "a.*"]),
        ("a.", ["a.*", "*.*", "a.", "a.#"], ["a", "*"]),
        (".", ["*.*", ".", "#", ".*", "*."], ["*", "", ".."]),
        ("*", ["*", "#"], ["a", "*.*"]),
        ("#", ["*", "#"], ["a", "*.*", ""]),
        ("*.a", ["*.a", "#.a", "*.*"], ["b.a"]),
        ("a#.b*", ["a#.b*", "a#.*", "#.b*"], ["a.b", "a#.b"]),
    ],
)
def test_patterns_match_as_seen_on_rabbitmq(key, matching, not_matching):
    assert matches(trie_of([*matching, *not_matching]), key) == set(matching)


def test_matching_is_case_sensitive():
    assert matches(trie_of(["Stock.usd", "stock.usd"]), "stock.usd") == {"stock.usd"}


@given(st.lists(PATTERNS, max_size=12, unique=True), KEYS)
def test_the_trie_matches_what_a_naive_matcher_does(patterns, key):
    expected = {pattern for pattern in patterns if topic_matches(words_of(pattern), words_of(key))}
    assert matches(trie_of(patterns), key) == expected


@given(st.lists(PATTERNS, max_size=12, unique=True), KEYS)
def test_what_matches_is_found_once_and_is_not_empty(patterns, key):
    found = trie_of(patterns).match(key)
    assert len({id(targets) for targets in found}) == len(found)
    assert all(found)


@given(st.lists(PATTERNS, max_size=12, unique=True), KEYS, st.randoms())
def test_the_order_of_matches_does_not_depend_on_how_the_patterns_came(patterns, key, rng):
    shuffled = list(patterns)
    rng.shuffle(shuffled)

    def order(trie):
        return [sorted(targets.split()[0]) for targets in trie.match(key)]

    assert order(trie_of(shuffled)) == order(trie_of(patterns))


@given(st.lists(st.tuples(PATTERNS, st.sampled_from("xyz")), max_size=20), st.data())
def test_removing_bindings_leaves_no_empty_node(pairs, data):
    trie = TopicTrie()
    present = []
    for pattern, queue in pairs:
        binding = bound("t", queue, pattern)
        if binding not in present:
            trie.add(binding)
            present.append(binding)
    while present:
        trie.remove(present.pop(data.draw(st.integers(0, len(present) - 1))))
        assert not any(node.empty for node in nodes_below(trie._root))
        key = data.draw(KEYS)
        expected = {b.destination for b in present if topic_matches(words_of(b.routing_key), words_of(key))}
        assert matches(trie, key) == expected
    assert trie._root.empty


def test_patterns_that_mean_the_same_share_a_node():
    trie = trie_of(["#.*", "*.#", "#.*.#"])
    (targets,) = trie.match("a")
    assert targets.split() == (("#.*", "*.#", "#.*.#"), ())


def test_many_hashes_do_not_make_a_key_expensive():
    # By trying every way to stretch them, this would take longer than the universe has.
    trie = trie_of([".".join(["#", "a"] * 40), ".".join(["#", "a"] * 30) + ".#.b"])
    assert matches(trie, ".".join("a" * 39 + "c" + "a" * 39)) == {".".join(["#", "a"] * 40)}
