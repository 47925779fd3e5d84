"""Formatting: foreign text made safe, instants, Prometheus durations, durations and tables for people."""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime

_MAX_LABEL_CHARACTERS = 512
_MAX_LINE_CHARACTERS = 200

# Lone surrogates cannot be encoded; control characters (C0 except newline, DEL, C1) break terminals and logs.
_UNSAFE = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

_SURROGATE = re.compile("[\ud800-\udfff]")

_MILLISECONDS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
"""Milliseconds in each unit, in the order that Prometheus requires."""

# int() has an error of its own for thousands of digits, so their number is bounded.
_AMOUNTS = "".join(f"(?:([0-9]{{1,18}}){unit})?" for unit in _MILLISECONDS)

DURATION_PATTERN = f"^(?=.){_AMOUNTS}$"
"""A regular expression that editors understand, too (ECMA 262)."""

_HUMAN_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


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
    """Format an instant in UTC as in RFC 3339: `2026-03-01T12:00:00Z`. `timespec` is that of `datetime.isoformat`."""
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def json_value(value: object) -> object:
    """Return a value for JSON: an instant in UTC as in RFC 3339, a float rounded to a thousandth, others unchanged."""
    if isinstance(value, datetime):
        return format_instant(value)
    return round(value, 3) if isinstance(value, float) else value


def parse_duration(text: str) -> float:
    """Return the seconds of a Prometheus duration: `30s`, `1h30m`, `7d`, `500ms`, or a bare `0`.

    Raises:
        ValueError: the text is not a duration; the message does not quote it.
    """
    if text == "0":
        return 0.0
    match = re.fullmatch(DURATION_PATTERN, text)
    if match is None:
        raise ValueError("must be a duration such as 30s, 5m, 1h30m or 7d")
    amounts = zip(match.groups(), _MILLISECONDS.values(), strict=True)
    return sum(int(amount) * size for amount, size in amounts if amount) / 1_000


def format_duration(seconds: float) -> str:
    """Format seconds as a Prometheus duration, to the millisecond.

    Days are the largest unit: people write `7d` and `90d`, not `1w` and `12w6d`.
    """
    rest = round(seconds * 1_000)
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        amount, rest = divmod(rest, _MILLISECONDS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"


def human_duration(seconds: float | None) -> str:
    """Format a duration by its two largest units: `2 d 3 h`, `4 min 5 s`, `12 s`.

    Negative durations, which clock skew can cause, become `0 s`; None, NaN and infinities become `unknown`.
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    rest = max(0, int(seconds))
    for (size, name), (small_size, small_name) in itertools.pairwise(_HUMAN_UNITS):
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
