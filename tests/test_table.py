from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from exporter.table import format_table

PRINTABLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)


def columns(text: str) -> int:
    """How many columns of a terminal a text takes, counted the slow way."""
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

    assert len(cells) == len(lines)
    starts = {
        columns(line.removesuffix(f"|{second}"))
        for line, (_, second) in zip(lines, cells, strict=True)
    }
    assert {2 + max(columns(first) for first, _ in cells)} == starts
