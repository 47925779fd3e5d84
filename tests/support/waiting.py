"""Waiting for a condition that another thread or process brings about."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    true: Callable[[], bool], what: str, seconds: float = 20.0, *, pause_seconds: float = 0.02
) -> None:
    """Check a condition repeatedly, with a pause in between, until it is true.

    Raises:
        AssertionError: it was not true within `seconds`.
    """
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(pause_seconds)
