"""Figures of a benchmark, side by side."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds_text(seconds: float) -> str:
    """Seconds as milliseconds with their unit."""
    return f"{seconds * 1000:.1f} ms"


def ratio_text(factor: float) -> str:
    """How many times something is something else."""
    return f"{factor:.0f}x" if factor >= 20 else f"{factor:.2f}x"


def kilobytes_text(amount: float) -> str:
    """Bytes as kilobytes with their unit."""
    return f"{amount / 1000:.2f} KB"


def thread_seconds(action: Callable[[], object]) -> float:
    """Seconds of processor time it takes this thread: what else the machine does is not in it."""
    begun = time.thread_time()
    action()
    return time.thread_time() - begun


def interleave(rounds: int, *actions: Callable[[], float]) -> tuple[list[float], ...]:
    """What several actions measure in rounds: what else the machine does counts for all of them."""
    measured: tuple[list[float], ...] = tuple([] for _ in actions)
    for _ in range(rounds):
        for values, action in zip(measured, actions, strict=True):
            values.append(action())
    return measured


def median_ratio(slower: Iterable[float], faster: Iterable[float]) -> float:
    """How many times the one is the other: the median over the rounds."""
    return statistics.median(one / other for one, other in zip(slower, faster, strict=True))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table that is Markdown, too; a row appears as soon as it is there."""
    sys.stdout.write(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()
