"""A run as bytes: what was written is found again, and nothing else is believed."""

import random

import hypothesis.strategies as st
import pytest
from hypothesis import given

from msglog.log.keys.files import memory_run
from msglog.log.keys.run import Anchor, DamagedRunError, load_run, write_run
from msglog.log.rules.key_rows import RunSpan, digest_of, rows_of
from support.keyed import small_runs
from support.scale import scaled
from support.telling import tell

SPAN = RunSpan(3, 100, 600, 77)
ANCHOR = Anchor(5, 1 << 63)


def write(offsets, span=SPAN, seed=4):
    data = bytearray()

    def store(position, part):
        assert position == len(data)
        data.extend(part)

    rows = rows_of(((digest_of(key), known) for key, known in offsets.items()), span.end)
    write_run(store, lambda *_: b"", span, rows, ANCHOR, seed, in_file=True)
    return bytes(data)


def load(data, span=SPAN):
    return load_run(lambda position, size: data[position : position + size], len(data), span)


def contents(run, keys):
    return {key: list(run.forwards(digest_of(key))) for key in keys}


KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"d" * 50])


@given(
    offsets=st.dictionaries(KEYS, st.sets(st.integers(100, 599), min_size=1, max_size=40).map(sorted)),
    block=st.integers(1, 9),
)
def test_what_was_written_is_found(offsets, block):
    with small_runs(block=block):
        run = load(write(offsets))
        assert (run.span, run.anchor, run.rows) == (SPAN, ANCHOR, sum(map(len, offsets.values())))
        for key in [*offsets, b"none", b"other"]:
            known = offsets.get(key, [])
            assert list(run.forwards(digest_of(key))) == known
            assert list(run.backwards(digest_of(key))) == known[::-1]
        assert list(run.all_rows()) == rows_of(((digest_of(k), o) for k, o in offsets.items()), SPAN.end)
        in_memory = memory_run(SPAN, run.all_rows(), ANCHOR)
        assert contents(in_memory, offsets) == offsets


def test_a_key_with_more_records_than_blocks_hold():
    with small_runs(block=4):
        offsets = {b"hot": list(range(100, 500)), **{b"%d" % n: [500 + n] for n in range(50)}}
        run = load(write(offsets))
        assert list(run.forwards(digest_of(b"hot"))) == offsets[b"hot"]
        assert next(run.backwards(digest_of(b"hot"))) == 499
        assert contents(run, offsets) == offsets


def test_no_rows_at_all():
    run = load(write({}))
    assert run.rows == 0
    assert list(run.forwards(digest_of(b"a"))) == list(run.all_rows()) == []


def damaged(data):
    """Yield (what was done, bytes): every length cut off, every byte changed in some ways, blocks moved about."""
    chance = random.Random(len(data))
    for size in range(len(data)):
        yield f"cut to {size}", data[:size]
    for place in range(len(data)):
        for value in {0, 255, data[place] ^ 1 << chance.randrange(8)} - {data[place]}:
            yield f"byte {place} is {value}", data[:place] + bytes([value]) + data[place + 1 :]
    yield "longer", data + b"\0"
    yield "twice", data * 2
    yield "shifted", b"\0" + data
    for _ in range(scaled(200)):
        start, to = (24 * chance.randrange(len(data) // 24) for _ in range(2))
        moved = bytearray(data)
        moved[to : to + 96] = data[start : start + 96]
        if (changed := bytes(moved[: len(data)])) != data:
            yield f"96 bytes of {start} at {to}", changed


def test_damage_is_an_error_and_never_an_answer(record_property):
    offsets = {b"%d" % n: sorted({100 + n, 200 + n, 599 - n}) for n in range(12)}
    tried = 0
    with small_runs(block=4):
        for what, data in damaged(write(offsets)):
            tried += 1
            found = {}
            try:
                run = load(data)
                for key in offsets:
                    try:
                        found[key] = list(run.forwards(digest_of(key)))
                    except DamagedRunError as error:
                        assert error.run is run  # noqa: PT017 only some damage is found so late
            except DamagedRunError as error:
                assert error.run is None  # noqa: PT017 only some damage is found so early
            assert found.items() < offsets.items(), what
    assert tried > 1000
    tell(record_property, damaged_runs=tried)


def test_a_run_with_another_name_is_not_believed():
    data = write({b"a": [100]})
    for other in (RunSpan(4, 100, 600, 77), RunSpan(3, 0, 600, 77), RunSpan(3, 100, 601, 77), RunSpan(3, 100, 600, 78)):
        with pytest.raises(DamagedRunError):
            load(data, other)


def test_blocks_of_another_file_are_not_believed():
    offsets = {b"%d" % n: [100 + n] for n in range(64)}
    with small_runs(block=4):
        one, two = write(offsets, seed=1), write(offsets, seed=2)
        rows = 64 * 24
        assert one[:rows] == two[:rows]
        mixed = load(one[:rows] + two[rows:])  # the same rows, and the checksums of the other file: all is well there
        assert contents(mixed, offsets) == offsets
        other = write({b"%d" % n: [300 + n] for n in range(64)}, seed=1)
        run = load(other[:rows] + two[rows:])
        for key in offsets:
            with pytest.raises(DamagedRunError):
                list(run.forwards(digest_of(key)))
