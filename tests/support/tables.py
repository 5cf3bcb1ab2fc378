"""Hypothesis strategies for AMQP field tables, and a comparison that is exact in value and type."""

from datetime import timedelta, timezone
from decimal import Decimal

from hypothesis import strategies as st

from msglog.broker.properties import Properties

texts = st.text(st.characters(exclude_categories=["Cs"]))
short_texts = texts.filter(lambda text: len(text.encode()) <= 255)
offsets = st.timedeltas(min_value=timedelta(hours=-23), max_value=timedelta(hours=23)).map(timezone)
datetimes = st.datetimes(timezones=st.none() | offsets)
decimals = st.decimals() | st.builds(
    lambda negative, digits, exponent: Decimal((negative, tuple(map(int, str(digits))), exponent)),
    st.integers(0, 1),
    st.integers(min_value=0),
    st.integers(-999_999, 999_999),
)
atoms = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats()
    | decimals
    | texts
    | st.binary()
    | datetimes
)
values = st.recursive(
    atoms, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(short_texts, inner, max_size=4), max_leaves=8
)
tables = st.dictionaries(short_texts, values, max_size=6)
properties = st.builds(
    Properties,
    content_type=st.none() | short_texts,
    content_encoding=st.none() | short_texts,
    headers=st.none() | tables,
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=st.none() | short_texts,
    reply_to=st.none() | short_texts,
    expiration=st.none() | short_texts,
    message_id=st.none() | short_texts,
    timestamp=st.none() | st.integers(0, (1 << 63) - 1),
    type=st.none() | short_texts,
    user_id=st.none() | short_texts,
    app_id=st.none() | short_texts,
    cluster_id=st.none() | short_texts,
)


def exact(value):
    """Return what two values share only if they are the same in value and type, down to the bits of a float."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, [(exact(name), exact(item)) for name, item in value.items()]
    if isinstance(value, list | tuple):
        return kind, [exact(item) for item in value]
    if isinstance(value, float):
        return kind, "nan" if value != value else value.hex()  # noqa: PLR0124 - false of NaN alone
    if kind == "datetime":
        return kind, value.isoformat()
    return kind, repr(value)
