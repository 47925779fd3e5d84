"""How often Python looks for garbage that counting references does not find."""

from __future__ import annotations

import gc

__all__ = ["raise_gc_threshold"]

_ALLOCATIONS_PER_LOOK = 50_000


def raise_gc_threshold() -> None:
    """Look after more allocations than by default.

    Sessions are many, stay for long and are in no cycle: looking through them again and again, as by default after
    every 700, takes up to a third of a first poll.
    """
    gc.set_threshold(_ALLOCATIONS_PER_LOOK)
