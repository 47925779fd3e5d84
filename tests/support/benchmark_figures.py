"""Measuring and printing the figures of benchmarks."""

from __future__ import annotations

import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence


def quantile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def milliseconds_text(seconds: float) -> str:
    """Format seconds as milliseconds."""
    return f"{seconds * 1000:.1f} ms"


def ratio_text(factor: float) -> str:
    """Format a ratio."""
    return f"{factor:.0f}x" if factor >= 20 else f"{factor:.2f}x"


def kilobytes_text(amount: float) -> str:
    """Format bytes as kilobytes."""
    return f"{amount / 1000:.2f} KB"


def thread_seconds(action: Callable[[], object]) -> float:
    """Return the processor time that an action takes in this thread, in seconds."""
    begun = time.thread_time()
    action()
    return time.thread_time() - begun


def interleave(rounds: int, *actions: Callable[[], float]) -> tuple[list[float], ...]:
    """Return the measurements of several actions taken in turns, so that other load affects all of them alike."""
    measured: tuple[list[float], ...] = tuple([] for _ in actions)
    for _ in range(rounds):
        for values, action in zip(measured, actions, strict=True):
            values.append(action())
    return measured


def median_ratio(slower: Iterable[float], faster: Iterable[float]) -> float:
    """Return the median over the rounds of `slower` divided by `faster`."""
    return statistics.median(one / other for one, other in zip(slower, faster, strict=True))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a Markdown table, each row as soon as it is available."""
    sys.stdout.write(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for row in rows:
        sys.stdout.write(f"| {' | '.join(row)} |\n")
        sys.stdout.flush()
