"""A token bucket: a burst, then a steady rate."""

from __future__ import annotations

import math


class TokenBucket:
    """Counts permits, of which a bounded number is left over. All times are monotonic seconds.

    Args:
        burst: how many permits there are at most, and at first.
        per_second: how many are added per second.
    """

    def __init__(self, burst: float, *, per_second: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._left = self._burst
        self._refilled_at = -math.inf

    def refill(self, now: float) -> int:
        """Add the permits due at `now`; return how many there are."""
        refilled = self._left + self._per_second * (now - self._refilled_at)
        self._left = min(self._burst, refilled)
        self._refilled_at = now
        return int(self._left)

    def take(self, count: int) -> None:
        """Use permits up."""
        self._left -= count

    def try_take(self, now: float) -> bool:
        """Use up a permit at `now`; return False if there is none."""
        is_left = self.refill(now) > 0
        if is_left:
            self.take(1)
        return is_left
