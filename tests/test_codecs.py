"""Codecs: what goes in comes out, and what does not is a typed error that shows no payload."""

import datetime as dt
import enum
import math
import pickle
import sys
import uuid
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import msglog
from msglog import BYTES, JSON, MSGPACK, TEXT, json_of, msgpack_of
from msglog.codecs import SafeCodec
from support.threads import in_threads

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text("aä\0😀"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aä"), inner, max_size=3),
    max_leaves=8,
)
MSGPACK_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text("aä")
    | st.binary(max_size=8)
    | st.integers(0, 10**16).map(lambda us: EPOCH + dt.timedelta(microseconds=us)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 9) | st.text("a"), inner, max_size=3),
    max_leaves=8,
)


class Color(enum.Enum):
    RED = "red"


@dataclass
class Line:
    article: str
    cents: int = 0


@dataclass
class Order:
    number: int
    lines: list[Line]
    note: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    at: dt.datetime | None = None
    price: Decimal = Decimal(0)
    id: uuid.UUID | None = None
    color: Color = Color.RED


class Created(msgspec.Struct, tag="created"):
    name: str


class Deleted(msgspec.Struct, tag="deleted"):
    reason: bytes


class Point(NamedTuple):
    x: int
    y: int


class Config(TypedDict):
    size: int


ORDER = Order(
    7,
    [Line("lamp", 4_900), Line("chair")],
    "naïve",
    {"by": "post"},
    dt.datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=dt.UTC),
    Decimal("19.990"),
    uuid.UUID(int=5),
)


@given(JSON_VALUES)
def test_json_gives_back_what_it_got(value):
    assert JSON.decode(JSON.encode(value)) == value


@given(MSGPACK_VALUES)
def test_msgpack_gives_back_what_it_got(value):
    assert MSGPACK.decode(MSGPACK.encode(value)) == value


@given(st.text())
def test_text_gives_back_what_it_got(text):
    assert TEXT.decode(TEXT.encode(text)) == text


def test_bytes_stay_as_they_are():
    data = b"\x00\xff"
    assert BYTES.encode(data) is data
    assert BYTES.decode(data) is data


def test_json_is_compact_utf8():
    assert JSON.encode({"ä": [1, 2]}) == '{"ä":[1,2]}'.encode()


@pytest.mark.parametrize("of", [json_of, msgpack_of])
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Order, ORDER),
        (list[Order], [ORDER, ORDER]),
        (Created | Deleted, Deleted(b"\x00")),
        (Point, Point(1, 2)),
        (Config, {"size": 3}),
        (dict[str, int], {"a": 1}),
        (int | None, None),
        (float, 2.0),
        (dt.date, dt.date(2024, 2, 29)),
    ],
    ids=str,
)
def test_objects_of_a_type_come_back_equal(of, kind, value):
    codec = of(kind)
    again = codec.decode(codec.encode(value))
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize(("of", "other"), [(json_of, JSON), (msgpack_of, MSGPACK)])
def test_what_is_decoded_is_checked_against_the_type(of, other):
    codec = SafeCodec("value", of(Line))
    for wrong in ({"article": 5}, {"cents": 5}, [], None):
        with pytest.raises(msgspec.ValidationError):
            codec.decode(other.encode(wrong))
    assert codec.decode(other.encode({"article": "a", "added later": 1})) == Line("a")


@pytest.mark.parametrize("kind", [Order, Created, Point])
def test_an_object_of_another_class_is_refused_before_it_can_spoil_a_topic(kind):
    with pytest.raises(msglog.EncodeError):
        SafeCodec("value", json_of(kind)).encode(Line("lamp"))


@pytest.mark.parametrize("of", [json_of, msgpack_of])
@pytest.mark.parametrize(
    "wrong",
    [
        Order("1", []),
        Order(1, [Line(5)]),
        Order(1, None),
        Order(1, [], note=5),
        Order(1, [], tags={"a": 1}),
        Order(1, [], at="yesterday"),
        Order(1, [], price=None),
        Order(True, []),
    ],
    ids=repr,
)
def test_a_field_of_another_type_is_refused_before_it_can_spoil_a_topic(of, wrong):
    with pytest.raises(msglog.EncodeError, match=r"does not encode a Order: ValidationError") as refused:
        SafeCodec("value", of(Order)).encode(wrong)
    assert isinstance(refused.value.__cause__, msgspec.ValidationError)


@dataclass
class Choice:
    color: Color
    size: Literal["s", "m"]
    share: float


@pytest.mark.parametrize("wrong", [Choice("blue", "s", 0.5), Choice(Color.RED, "l", 0.5), Choice(Color.RED, "m", "1")])
@pytest.mark.parametrize("of", [json_of, msgpack_of])
def test_so_is_what_is_none_of_the_choices(of, wrong):
    codec = SafeCodec("value", of(Choice))
    with pytest.raises(msglog.EncodeError):
        codec.encode(wrong)
    good = Choice(Color.RED, "m", 0.5)
    assert codec.decode(codec.encode(good)) == good


def test_so_is_what_json_makes_null_of():
    with pytest.raises(msglog.EncodeError):
        SafeCodec("value", json_of(Choice)).encode(Choice(Color.RED, "s", math.nan))


def test_a_field_of_another_type_on_disk_is_an_error_with_its_record():
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        log.append("t", b'{"article":5}')
        with pytest.raises(msglog.DecodeError) as refused:
            list(log.topic("t", value=json_of(Line)).read())
    assert refused.value.record.value == b'{"article":5}'


def test_a_type_that_cannot_be_decoded_is_refused_at_once():
    with pytest.raises(msglog.InvalidTypeError, match="kind must be a type that msgspec takes"):
        json_of(Line | Order)


def test_codecs_of_types_say_which_extra_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgspec.json", None)
    with pytest.raises(msglog.InvalidOptionError, match=r"msglog\[msgspec\]"):
        json_of(Order)


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        pytest.param(JSON, object(), id="JSON-object"),
        (JSON, math.nan),
        (JSON, b"bytes"),
        (JSON, "\ud800"),
        pytest.param(MSGPACK, object(), id="MSGPACK-object"),
        (MSGPACK, 2**64),
        (MSGPACK, dt.datetime(2024, 1, 1)),  # noqa: DTZ001 without a zone nobody knows when that is
        (TEXT, "\ud800"),
        (TEXT, 5),
        (BYTES, "text"),
        (BYTES, bytearray(b"secret")),
    ],
    ids=repr,
)
def test_what_does_not_encode_is_a_typed_error(codec, value):
    with pytest.raises(msglog.EncodeError) as caught:
        SafeCodec("value", codec).encode(value, 3)
    error = caught.value
    assert (error.part, error.codec, error.option, error.outcome) == ("value", codec.name, "values[3]", "not_applied")
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert "secret" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("codec", "data"),
    [
        (JSON, b""),
        (JSON, b"NaN"),
        (JSON, b"[" * 100_000),
        (JSON, b"\xff"),
        (JSON, b"9" * 5000),
        (MSGPACK, b""),
        (MSGPACK, b"\xc1"),
        (MSGPACK, b"\xdd\xff\xff\xff\xff"),
        (MSGPACK, b"\x91" * 5000),
        (MSGPACK, b"\x01\x01"),
        (TEXT, b"\xff"),
        (json_of(Order), b"{"),
        (msgpack_of(Order), b"\xc1"),
    ],
    ids=lambda given: repr(given)[:30],
)
def test_what_does_not_decode_is_a_typed_error(codec, data):
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        log.append("t", data)
        with pytest.raises(msglog.DecodeError) as caught:
            next(log.topic("t", value=codec).read())
        record = next(log.read("t"))
    error = caught.value
    assert (error.part, error.codec, error.record, error.outcome) == ("value", codec.name, record, "not_applied")
    assert f"offset 0 ({len(data)} bytes) does not decode with {codec.name}" in str(error)
    assert error.__cause__ is not None
    twin = pickle.loads(pickle.dumps(error))
    assert (str(twin), twin.record, twin.codec) == (str(error), record, codec.name)


class Shouting:
    """A user's own codec: no base class, no attributes."""

    def encode(self, obj, /):
        return obj.upper().encode()

    def decode(self, data, /):
        return data.decode()


def test_any_object_with_two_methods_is_a_codec():
    codec = SafeCodec("body", Shouting())
    assert (codec.encode("hi"), codec.name, codec.content_type) == (b"HI", "Shouting", None)


@pytest.mark.parametrize("wrong", [None, "JSON", Shouting, lambda obj: obj])
def test_what_is_no_codec_is_refused(wrong):
    with pytest.raises(msglog.InvalidTypeError, match="value must be a codec"):
        SafeCodec("value", wrong)


@pytest.mark.parametrize("method", ["encode", "decode"])
def test_what_has_to_be_awaited_is_no_codec(method):
    async def awaited(_): ...

    codec = Shouting()
    setattr(codec, method, awaited)
    with pytest.raises(msglog.InvalidTypeError, match="value must be a codec whose encode and decode are plain"):
        SafeCodec("value", codec)


@pytest.mark.parametrize("codec", [JSON, MSGPACK, json_of(Order), msgpack_of(Order)], ids=repr)
def test_threads_share_a_codec(codec):
    def work(number):
        value = Order(number, [Line("x" * number)] * number)
        given = value if "_of" in codec.name else {"lines": ["x" * number] * number}
        data = codec.encode(given)
        for _ in range(200):
            assert codec.encode(given) == data
            assert codec.decode(data) == given

    in_threads(4, work)


def test_running_out_of_memory_is_not_called_a_bad_record():
    class Hungry(Shouting):
        def encode(self, _obj, /):
            raise MemoryError

        decode = encode

    with pytest.raises(MemoryError):
        SafeCodec("value", Hungry()).encode("x")
    with msglog.Log(":memory:") as log:
        log.create_topic("t")
        log.append("t", b"x")
        with pytest.raises(MemoryError):
            next(log.topic("t", value=Hungry(), on_decode_error="skip").read())


def test_every_codec_says_what_it_is():
    names = [repr(codec) for codec in (BYTES, TEXT, JSON, MSGPACK, json_of(Line), msgpack_of(list[int]))]
    assert names == [
        "msglog.BYTES",
        "msglog.TEXT",
        "msglog.JSON",
        "msglog.MSGPACK",
        "msglog.json_of(Line)",
        "msglog.msgpack_of(list[int])",
    ]
    assert all(isinstance(codec, msglog.Codec) for codec in (BYTES, TEXT, JSON, MSGPACK, json_of(Line)))
