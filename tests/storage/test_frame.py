"""The frame format: what goes in comes out, and nothing else is taken for a frame."""

import zlib

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from msglog.errors import InvalidOptionError, TransactionTooLargeError, UnsupportedFormatError
from msglog.storage import frame as frames
from msglog.storage.frame import CRC, HEADER, HEADER_SIZE, Body, Frame, FrameError, decode, encode_body, header_of
from msglog.storage.runs import decode_run

VALUES = st.one_of(st.none(), st.binary(max_size=40))
STAMPS = st.integers(-(1 << 62), 1 << 62)
HEADERS = st.lists(st.tuples(st.text(max_size=5), VALUES), max_size=3).map(tuple)
SEED = 12345


@st.composite
def batches(draw):
    count = draw(st.integers(1, 12))
    uniform = draw(st.booleans())
    size = draw(st.integers(0, 20))
    values = [b"v" * size] * count if uniform else draw(st.lists(VALUES, min_size=count, max_size=count))
    offsets = None
    if draw(st.booleans()):
        offsets = sorted(draw(st.sets(st.integers(0, 50), min_size=count, max_size=count)))
    return {
        "values": values,
        "timestamp_ms": draw(STAMPS),
        "keys": draw(st.one_of(st.none(), st.lists(VALUES, min_size=count, max_size=count))),
        "headers": draw(st.one_of(st.none(), st.lists(HEADERS, min_size=count, max_size=count))),
        "timestamps": draw(st.one_of(st.none(), st.lists(st.integers(0, 1 << 60), min_size=count, max_size=count))),
        "offsets": offsets,
        "span": None if offsets is None else 51,
        "append_time": draw(st.booleans()),
        "codec": draw(st.sampled_from([None, "zlib", "zstd", "lz4"])),
    }


def framed(body: Body, base_offset: int = 7) -> bytes:
    return header_of(body, SEED, base_offset, commit=3, life=2, frames=1, value_total=99) + body.data


def read_back(body: Body, base_offset: int = 7) -> Frame:
    return decode(framed(body, base_offset)[CRC.size :], "somewhere")


@pytest.mark.parametrize("count", [1, 2, 1024, 5000])
def test_any_number_of_empty_values_comes_back(count):
    assert read_back(encode_body([b""] * count, 1)).values == [b""] * count


@given(batches())
def test_a_batch_comes_back_as_it_was(batch):
    body = encode_body(**batch)
    frame = read_back(body)
    count = len(batch["values"])
    assert frame.values == batch["values"]
    assert frame.keys == batch["keys"]
    assert frame.headers == batch["headers"]
    assert list(frame.offsets) == [7 + delta for delta in batch["offsets"] or range(count)]
    assert frame.timestamps == (batch["timestamps"] or batch["timestamp_ms"])
    assert frame.max_timestamp_ms == max(batch["timestamps"] or [batch["timestamp_ms"]])
    assert (frame.count, frame.next_offset) == (count, 7 + (batch["span"] or count))
    assert (frame.append_time, frame.commit, frame.value_total) == (batch["append_time"], 3, 99)
    assert body.value_bytes == sum(len(value) for value in batch["values"] if value is not None)


@given(st.lists(VALUES, min_size=1, max_size=8), st.binary(max_size=9))
def test_one_key_for_all_stands_once(values, key):
    shared = encode_body(values, 1, key=key)
    assert read_back(shared).keys == [key] * len(values)
    if len(values) > 1 and key:
        assert shared.size < encode_body(values, 1, keys=[key] * len(values)).size


@given(batches(), st.data())
def test_every_flipped_bit_breaks_the_checksum(batch, data):
    whole = bytearray(framed(encode_body(**batch)))
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[bit // 8] ^= 1 << bit % 8
    assert crc32c(bytes(whole[CRC.size :]), SEED) != CRC.unpack_from(whole)[0]


@given(batches(), st.binary(max_size=30), st.integers(0, 60))
def test_a_body_that_does_not_fit_its_header_is_refused_not_believed(batch, garbage, cut):
    # What a checksum cannot catch, since whoever wrote it computed one: columns that contradict each other.
    raw = framed(encode_body(**batch))[CRC.size :]
    changed = raw[: max(HEADER_SIZE - CRC.size, len(raw) - cut)] + garbage
    try:
        frame = decode(changed, "somewhere")
    except (FrameError, UnsupportedFormatError):
        return
    assert len(frame.values) == frame.count == len(list(frame.offsets))


@given(st.lists(st.tuples(st.binary(max_size=20), st.one_of(st.none(), st.binary(max_size=9)), STAMPS), min_size=2))
def test_a_run_of_single_records_reads_as_one_batch(rows):
    whole = b""
    for place, (value, key, stamp) in enumerate(rows):
        whole += framed(encode_body([value], stamp, keys=None if key is None else [key]), 100 + place)
    run = decode_run(whole, SEED, 100, 1 << 40)
    assert run is not None
    frame, size = run
    assert size == len(whole)
    assert frame.values == [value for value, _, _ in rows]
    assert (frame.keys or [None] * len(rows)) == [key for _, key, _ in rows]
    assert frame.timestamps == [stamp for _, _, stamp in rows]
    assert list(frame.offsets) == list(range(100, 100 + len(rows)))


def test_a_run_ends_before_damage_before_the_end_and_before_batches():
    single = [framed(encode_body([b"%d" % place], 1), place) for place in range(4)]
    damaged = bytearray(single[2])
    damaged[-1] ^= 1
    assert decode_run(b"".join([*single[:2], damaged, single[3]]), SEED, 0, 100)[0].next_offset == 2
    assert decode_run(b"".join(single), SEED, 0, 3)[0].next_offset == 3
    assert decode_run(b"".join(single)[:-1], SEED, 0, 100)[0].next_offset == 3
    batch = framed(encode_body([b"a", b"b"], 1), 2)
    assert decode_run(b"".join([*single[:2], batch]), SEED, 0, 100)[0].next_offset == 2
    assert decode_run(single[0], SEED, 0, 100) is None


def test_decompression_is_bounded_by_the_size_in_the_frame():
    body = encode_body([b"x" * 1000], 1, codec="zlib")
    body.data = CRC.pack(10) + zlib.compress(bytes(1 << 20))
    with pytest.raises(FrameError, match="instead of 10"):
        read_back(body)
    body.data = CRC.pack(1 << 31) + zlib.compress(b"")
    with pytest.raises(FrameError, match="claims"):
        read_back(body)


def test_unknown_codecs_are_named():
    with pytest.raises(InvalidOptionError, match="snappy"):
        encode_body([b"x"], 1, codec="snappy")
    body = encode_body([b"x"], 1, codec="zlib")
    body.kind |= 9 << 24
    with pytest.raises(UnsupportedFormatError, match="codec"):
        read_back(body)


def test_the_header_has_the_documented_size():
    assert HEADER.size == HEADER_SIZE == 72


def test_the_number_of_records_is_bounded(monkeypatch):
    """Records without a byte of their own take no space in the file, but memory each."""
    monkeypatch.setattr(frames, "MAX_RECORDS", 3)
    body = encode_body([b""] * 3, 1)
    raw = header_of(body, SEED, 0, 1, 1, 1, 0)[CRC.size :] + body.data
    assert decode(raw, "somewhere").values == [b""] * 3
    with pytest.raises(TransactionTooLargeError) as caught:
        encode_body([b""] * 4, 1)
    assert (caught.value.size, caught.value.limit) == (4, 3)
    monkeypatch.setattr(frames, "MAX_RECORDS", 2)
    with pytest.raises(FrameError, match="claims 3 records"):
        decode(raw, "somewhere")
