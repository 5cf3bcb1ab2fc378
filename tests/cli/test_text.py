"""Texts, sizes, times: what is shown, and that it cannot disturb a terminal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msglog.cli.output import text, units


@given(st.binary())
def test_bytes_are_shown_in_one_printable_line(data):
    assert text.show_bytes(data).isprintable()


@given(st.text())
def test_texts_are_shown_in_one_printable_line(given_text):
    shown = text.safe(given_text)
    assert shown.isprintable()
    if given_text.isprintable():
        assert shown == given_text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"plain \xc3\xa9", "plain é"),
        (b"", ""),
        (None, "(null)"),
        (b"\x00\xff", "\\x00\\xff"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\u2028\u200b\ud800".encode(errors="surrogatepass"), "\\u2028\\u200b\\xed\\xa0\\x80"),
    ],
)
def test_bytes_are_text_where_they_can_be(value, shown):
    assert text.show_bytes(value) == shown


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1 << 30, "1.0 GiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes(size, shown):
    assert units.show_bytes_size(size) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0, "0 ms"),
        (1.25, "1.2 ms"),
        (999, "999 ms"),
        (90_000, "90 s"),
        (7_200_000, "2 h"),
        (86_400_000, "1 d"),
        (86_400_001, "86400001 ms"),
    ],
)
def test_durations(milliseconds, shown):
    assert units.show_duration(milliseconds) == shown


@pytest.mark.parametrize(("rate", "shown"), [(0, "0"), (0.25, "0.2"), (12.0, "12.0"), (1234.5, "1,234")])
def test_rates(rate, shown):
    assert units.show_rate(rate) == shown


@given(st.integers(0, 253_402_300_799_999))
def test_a_time_that_is_shown_can_be_given_back(timestamp_ms):
    assert units.parse_time(units.show_time(timestamp_ms), 0) == timestamp_ms


@pytest.mark.parametrize("timestamp_ms", [-(1 << 62), (1 << 62), -1])
def test_any_time_can_be_shown(timestamp_ms):
    assert units.show_time(timestamp_ms)


@pytest.mark.parametrize(
    ("given_text", "found"),
    [
        ("0", 0),
        ("1700000000000", 1_700_000_000_000),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T01:00+01:00", 0),
        ("90s", 910_000),
        ("1d", 0),
        ("5ms", 999_995),
    ],
)
def test_times_can_be_given_in_several_ways(given_text, found):
    assert units.parse_time(given_text, 1_000_000) == found


@pytest.mark.parametrize("given_text", ["", "now", "-5", "5w", "1969-01-01", "\u0665"])
def test_times_that_cannot_be(given_text):
    with pytest.raises(ValueError, match=r"isoformat|1970"):
        units.parse_time(given_text, 0)
