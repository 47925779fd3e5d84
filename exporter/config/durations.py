"""Converts Prometheus durations such as `1h30m` to seconds and back."""

from __future__ import annotations

import re

__all__ = ["DURATION_PATTERN", "format_duration", "parse_duration"]

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
