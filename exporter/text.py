"""Formatting: foreign text made safe, instants, durations and tables."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

__all__ = [
    "format_instant",
    "format_table",
    "human_duration",
    "label_value",
    "one_line",
    "replace_surrogates",
]

_MAX_LABEL_CHARACTERS = 512
_MAX_LINE_CHARACTERS = 200

# Lone surrogates cannot be encoded; control characters (C0 except newline, DEL, C1) break terminals and logs.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_SURROGATE = re.compile("[\ud800-\udfff]")

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def replace_surrogates(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded, with U+FFFD."""
    return _SURROGATE.sub("\ufffd", text)


def label_value(text: str) -> str:
    """Return foreign text as a label value: cut to 512 characters, unsafe characters replaced with U+FFFD."""
    cut = text[:_MAX_LABEL_CHARACTERS]
    # Most text is printable, and checking for that is several times as fast as the substitution.
    return cut if cut.isprintable() else _UNSAFE.sub("\ufffd", cut)


def one_line(text: str) -> str:
    """Return foreign text for a message: cut to 200 characters, unprintable ones replaced with U+FFFD."""
    cut = text[:_MAX_LINE_CHARACTERS]
    line = "".join(character if character.isprintable() else "\ufffd" for character in cut)
    return line if len(text) <= _MAX_LINE_CHARACTERS else f"{line}..."


def format_instant(moment: datetime, timespec: str = "seconds") -> str:
    """Format an instant as in RFC 3339, with a `Z`: `2026-03-01T12:00:00Z`.

    Args:
        moment: the instant, in UTC.
        timespec: the precision, as in `datetime.isoformat`.
    """
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def human_duration(seconds: float | None) -> str:
    """Format a duration by its two largest units: `2 d 3 h`, `4 min 5 s`, `12 s`.

    Negative durations, which clock skew can cause, become `0 s`; None, NaN and infinities become `unknown`.
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    rest = max(0, int(seconds))
    for (size, name), (small_size, small_name) in itertools.pairwise(_UNITS):
        if rest >= size:
            small = rest % size // small_size
            return f"{rest // size} {name}" + (f" {small} {small_name}" if small else "")
    return f"{rest} s"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Format rows as lines, each column as wide as its widest cell in a terminal. Cells must be printable."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    return "".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        + "\n"
        for row in rows
    )


def _width(text: str) -> int:
    """Return the number of terminal columns that the text occupies."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me"}:
        return 0  # combining: drawn over the previous character
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
