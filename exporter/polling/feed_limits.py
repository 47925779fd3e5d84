"""How much work the change feed may cause between polls, so that it does not override the poll interval."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

__all__ = ["FeedLimits"]

_MAX_POLLS_AT_ONCE = 3
"""A feed's start causes a poll, and so may an early restart."""
_MAX_FETCHES_AT_ONCE = 50
_FETCHES_PER_SECOND = 5.0
_MIN_FULL_LIST_INTERVAL_SECONDS = 600.0


class _Allowance:
    """A token bucket.

    Args:
        most: how many permits there are at most, and at first.
        per_second: how many are added per second.
    """

    def __init__(self, most: int, *, per_second: float) -> None:
        self._most = float(most)
        self._per_second = per_second
        self._left = self._most
        self._refilled_at = -inf

    def refill(self, now: float) -> int:
        """Add the permits due at `now`, in monotonic seconds; return how many there are."""
        refilled = self._left + self._per_second * (now - self._refilled_at)
        self._left = min(self._most, refilled)
        self._refilled_at = now
        return int(self._left)

    def take(self, count: int) -> None:
        """Use permits up."""
        self._left -= count


class FeedLimits:
    """Limits the requests that the change feed causes. All times are monotonic seconds.

    Args:
        poll_interval_seconds: how often the server is polled in any case.
    """

    def __init__(self, poll_interval_seconds: float) -> None:
        self._polls = _Allowance(_MAX_POLLS_AT_ONCE, per_second=1 / poll_interval_seconds)
        self._fetches = _Allowance(_MAX_FETCHES_AT_ONCE, per_second=_FETCHES_PER_SECOND)
        self._last_full_list_at = -inf
        self._fruitless: set[str] = set()

    def begin_poll(self) -> None:
        """Forget which fetches were fruitless."""
        self._fruitless.clear()

    def try_take_poll(self, now: float) -> bool:
        """Return whether the feed may cause a poll now; if so, use up a permit.

        There is one per poll interval on average, in bursts of three.
        """
        allowed = self._polls.refill(now) > 0
        if allowed:
            self._polls.take(1)
        return allowed

    def try_take_full_list(self, now: float) -> bool:
        """Return whether the feed may cause a full list now; if so, use up the permit: there is one in ten minutes."""
        if now < self._last_full_list_at + _MIN_FULL_LIST_INTERVAL_SECONDS:
            return False
        self._last_full_list_at = now
        return True

    def take_fetches(self, session_ids: Iterable[str], now: float) -> tuple[str, ...]:
        """Return which sessions may be fetched now, and use up a permit for each.

        There are five per second on average, in bursts of 50.
        """
        promising = (one for one in session_ids if one not in self._fruitless)
        taken = tuple(islice(promising, self._fetches.refill(now)))
        self._fetches.take(len(taken))
        return taken

    def mark_fruitless(self, session_id: str) -> None:
        """Record that a session is still unknown after it was fetched: it is not fetched again before the next poll."""
        self._fruitless.add(session_id)
