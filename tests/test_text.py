from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.text import format_instant, format_table, human_duration, label_value, one_line

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59.99, "59 s"),
        (60, "1 min"),
        (245, "4 min 5 s"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (3_605, "1 h"),
        (183_600, "2 d 3 h"),
        (86_400 * 400, "400 d"),
        (-5, "0 s"),
        (None, "unknown"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_a_duration_is_formatted_by_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert human_duration(seconds) == text


@given(st.floats())
def test_every_number_can_be_formatted_as_a_duration(seconds: float) -> None:
    assert human_duration(seconds)


def columns(text: str) -> int:
    """Count the terminal columns of a text character by character."""
    total = 0
    for character in text:
        if unicodedata.category(character) not in {"Mn", "Me"}:
            total += 2 if unicodedata.east_asian_width(character) in {"F", "W"} else 1
    return total


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [("ID", "NAME", "N"), ("1", "Fabrikam", ""), ("20", "-", "x")]

    assert format_table(rows).splitlines() == [
        "ID  NAME      N",
        "1   Fabrikam",
        "20  -         x",
    ]


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    rows = [("東京", "1"), ("A\u030angs", "2"), ("abcde", "3")]

    assert format_table(rows).splitlines() == ["東京   1", "A\u030angs   2", "abcde  3"]


@given(st.lists(st.tuples(PRINTABLE, PRINTABLE), min_size=1))
def test_the_second_column_begins_at_the_same_place_in_every_line(
    cells: list[tuple[str, str]],
) -> None:
    lines = format_table([(first, f"|{second}") for first, second in cells]).split("\n")[:-1]

    assert len(lines) == len(cells)
    starts = {
        columns(line.removesuffix(f"|{second}"))
        for line, (_, second) in zip(lines, cells, strict=True)
    }
    assert starts == {2 + max(columns(first) for first, _ in cells)}


def test_an_instant_is_in_utc_with_a_z_and_the_given_precision() -> None:
    moment = datetime(2026, 3, 1, 12, 0, 0, 123456, UTC)

    assert format_instant(moment) == "2026-03-01T12:00:00Z"
    assert format_instant(moment, "milliseconds") == "2026-03-01T12:00:00.123Z"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Contoso, Ltd", "Contoso, Ltd"),
        ("\ud800lone\udfff", "\ufffdlone\ufffd"),
        ("\x00\x1b[31m\t\x7f\x85", "\ufffd\ufffd[31m\ufffd\ufffd\ufffd"),
        ("two\nlines", "two\nlines"),
        ("Ünïcødé \U0001f600", "Ünïcødé \U0001f600"),
        ("x" * 512, "x" * 512),
        ("x" * 513, "x" * 512),
        ("x" * 511 + "\x00\x00", "x" * 511 + "\ufffd"),
    ],
)
def test_a_label_value_is_cut_and_its_unsafe_characters_are_replaced(
    text: str, expected: str
) -> None:
    assert label_value(text) == expected


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ü text", "plain ü text"),
        ("two\r\nlines\t\x1b[0m", "two��lines��[0m"),
        ("\ud800 and \u202e and \x85", "� and � and �"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "..."),
    ],
)
def test_foreign_text_becomes_one_short_printable_line(text: str, line: str) -> None:
    assert one_line(text) == line
