from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.text import DURATION_PATTERN, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30.0),
        ("5m", 300.0),
        ("1h30m", 5_400.0),
        ("7d", 604_800.0),
        ("500ms", 0.5),
        ("1s500ms", 1.5),
        ("2w", 1_209_600.0),
        ("1y", 31_536_000.0),
        ("90m", 5_400.0),
        ("1d0h5m", 86_700.0),
        ("0s", 0.0),
        ("0", 0.0),
    ],
)
def test_prometheus_durations_are_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "1.5h",
        "-5m",
        "5 m",
        " 5m",
        "5m ",
        "5m\n",
        "30s5m",
        "1m1m",
        "5M",
        "5min",
        "ms",
        "٥m",
        "9" * 5000 + "s",
    ],
)
def test_anything_else_is_rejected_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a duration such as 30s, 5m, 1h30m or 7d$"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.5, "500ms"),
        (60.0, "1m"),
        (90.0, "1m30s"),
        (604_800.0, "7d"),
        (7_776_000.0, "90d"),
        (93_784.005, "1d2h3m4s5ms"),
    ],
)
def test_seconds_are_written_as_people_write_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=10**12))
def test_a_written_duration_reads_back_to_the_millisecond(milliseconds: int) -> None:
    text = format_duration(milliseconds / 1_000)

    assert parse_duration(text) == milliseconds / 1_000
    assert re.search(DURATION_PATTERN, text)


_parts = st.sampled_from(
    ["", "1", "23", "y", "4w", "5d", "6h", "7m", "8s", "9ms", "m", "1.5s", " "]
)


@given(st.lists(_parts, max_size=4).map("".join))
def test_editors_accept_what_the_exporter_reads(text: str) -> None:
    try:
        parse_duration(text)
    except ValueError:
        assert not re.search(DURATION_PATTERN, text)
    else:
        assert re.search(DURATION_PATTERN, text)
