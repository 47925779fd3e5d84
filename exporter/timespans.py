"""Time spans as people read them."""

from __future__ import annotations

import itertools
import math
from typing import Final

__all__ = ["human_duration"]

_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def human_duration(seconds: float | None) -> str:
    """Write a time span by its two largest units: `2 d 3 h`, `4 min 5 s`, `12 s`.

    Negative spans, which clocks that disagree make, are `0 s`; None and NaN are `unknown`.
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    rest = max(0, int(seconds))
    for (size, name), (small_size, small_name) in itertools.pairwise(_UNITS):
        if rest >= size:
            small = rest % size // small_size
            return f"{rest // size} {name}" + (f" {small} {small_name}" if small else "")
    return f"{rest} s"
