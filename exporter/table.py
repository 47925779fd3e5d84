"""Columns of text that line up in a terminal, whatever characters they hold."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["format_table"]

_GAP = "  "


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """The rows as lines, each column as wide as its widest cell. The cells must be printable."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return "".join(
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        + "\n"
        for row in rows
    )


def _width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0  # drawn over the one before it
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
