"""Topic options: defaults, limits, and what a refusal says."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.errors import InvalidOptionError, InvalidTypeError
from msglog.log.rules.topic_config import TopicConfig


def test_defaults_are_valid_and_documented():
    assert TopicConfig().to_dict() == {
        "retention_ms": None,
        "retention_bytes": None,
        "segment_bytes": None,
        "segment_ms": None,
        "cleanup_policy": "delete",
        "timestamp_type": "create",
        "compression": None,
        "min_cleanable_dirty_ratio": 0.5,
        "delete_retention_ms": 86_400_000,
        "min_compaction_lag_ms": 0,
        "max_compaction_lag_ms": None,
        "message_timestamp_before_max_ms": None,
        "message_timestamp_after_max_ms": 3_600_000,
        "max_message_bytes": None,
    }


OUT_OF_RANGE = [
    ("retention_ms", -1),
    ("retention_bytes", 1 << 63),
    ("segment_bytes", 1023),
    ("segment_bytes", 1 << 31),
    ("segment_ms", 0),
    ("cleanup_policy", "compress"),
    ("cleanup_policy", None),
    ("timestamp_type", "Create"),
    ("compression", "gzip"),
    ("min_cleanable_dirty_ratio", 1.1),
    ("min_cleanable_dirty_ratio", float("nan")),
    ("delete_retention_ms", -1),
    ("max_compaction_lag_ms", 0),
    ("max_message_bytes", 0),
]
WRONG_TYPE = [
    ("retention_ms", "1"),
    ("retention_ms", True),
    ("retention_bytes", 1.5),
    ("delete_retention_ms", None),
    ("min_compaction_lag_ms", None),
    ("cleanup_policy", ["compact"]),
    ("compression", b"zstd"),
    ("min_cleanable_dirty_ratio", True),
    ("min_cleanable_dirty_ratio", None),
]


@pytest.mark.parametrize(("option", "given"), OUT_OF_RANGE + WRONG_TYPE)
def test_a_refusal_names_option_value_and_what_is_allowed(option, given):
    with pytest.raises(InvalidOptionError) as caught:
        TopicConfig(**{option: given})
    error = caught.value
    assert (error.option, repr(error.given)) == (option, repr(given))
    assert str(error) == f"{option}={given!r}; allowed: {error.allowed}"
    assert isinstance(error, InvalidTypeError) is ((option, given) in WRONG_TYPE)


def test_the_greatest_compaction_lag_is_not_below_the_least():
    with pytest.raises(InvalidOptionError, match="at least min_compaction_lag_ms, which is 10"):
        TopicConfig(min_compaction_lag_ms=10, max_compaction_lag_ms=9)
    assert TopicConfig(min_compaction_lag_ms=10, max_compaction_lag_ms=10)


@pytest.mark.parametrize(
    ("policy", "deletes", "compacts"),
    [("delete", True, False), ("compact", False, True), ("compact,delete", True, True)],
)
def test_cleanup_policies(policy, deletes, compacts):
    config = TopicConfig(cleanup_policy=policy)
    assert (config.deletes, config.compacts) == (deletes, compacts)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"segment_ms": 7}, 7),
        ({"max_compaction_lag_ms": 5}, None),
        ({"max_compaction_lag_ms": 5, "cleanup_policy": "compact"}, 5),
        ({"max_compaction_lag_ms": 5, "cleanup_policy": "compact", "segment_ms": 3}, 3),
    ],
)
def test_a_compacted_topics_segment_also_rolls_by_the_greatest_lag(options, expected):
    assert TopicConfig(**options).max_segment_ms == expected


@given(
    st.builds(
        TopicConfig,
        retention_ms=st.none() | st.integers(0, 1 << 62),
        segment_bytes=st.none() | st.integers(1024, 1 << 30),
        compression=st.sampled_from([None, "zlib", "zstd", "lz4"]),
        min_cleanable_dirty_ratio=st.floats(0, 1),
    )
)
def test_options_survive_as_a_dict(config):
    assert TopicConfig.from_dict(config.to_dict()) == config


def test_altering_makes_a_new_valid_config():
    config = TopicConfig(retention_ms=5)
    assert config.altered(retention_ms=None, segment_ms=9) == TopicConfig(segment_ms=9)
    assert config.retention_ms == 5
    with pytest.raises(InvalidOptionError, match="retention_ms=-1"):
        config.altered(retention_ms=-1)


@pytest.mark.parametrize("make", [TopicConfig().altered, lambda **options: TopicConfig.from_dict(options)])
def test_an_unknown_option_is_refused(make):
    with pytest.raises(InvalidOptionError, match="'retention' is not a topic option; allowed: the options"):
        make(retention=5)


def test_a_config_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TopicConfig().retention_ms = 5
