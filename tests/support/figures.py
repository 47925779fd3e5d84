"""Figures of a benchmark, side by side."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with their unit."""
    return f"{seconds * 1000:.1f} ms"


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table that is Markdown, too; a row appears as soon as it is there."""
    sys.stdout.write(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()
