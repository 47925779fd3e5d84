"""How much work the change feed may cause between polls, so that it does not override the poll interval."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

__all__ = ["FeedLimits"]

_MAX_FETCHES_AT_ONCE = 50
_FETCHES_PER_SECOND = 5.0
_MIN_FULL_LIST_INTERVAL_SECONDS = 600.0


class FeedLimits:
    """Limits the requests that the change feed causes. All times are monotonic seconds.

    Args:
        poll_interval_seconds: how often the server is polled in any case.
    """

    def __init__(self, poll_interval_seconds: float) -> None:
        self._poll_interval_seconds = poll_interval_seconds
        self._last_poll_at = -inf
        self._last_full_list_at = -inf
        self._fetches_left = float(_MAX_FETCHES_AT_ONCE)
        self._refilled_at = -inf
        self._fruitless: set[str] = set()

    def begin_poll(self) -> None:
        """Start over with the sessions that fetching was fruitless for."""
        self._fruitless.clear()

    def allow_poll(self, now: float) -> bool:
        """Return whether the feed may cause a poll now, and count it: one per poll interval."""
        if now < self._last_poll_at + self._poll_interval_seconds:
            return False
        self._last_poll_at = now
        return True

    def allow_full_list(self, now: float) -> bool:
        """Return whether the feed may cause a full list now, and count it: one in ten minutes."""
        if now < self._last_full_list_at + _MIN_FULL_LIST_INTERVAL_SECONDS:
            return False
        self._last_full_list_at = now
        return True

    def take_fetches(self, session_ids: Iterable[str], now: float) -> tuple[str, ...]:
        """Return which sessions may be fetched now, and count them: 50 at once, five per second on average."""
        refilled = self._fetches_left + _FETCHES_PER_SECOND * (now - self._refilled_at)
        self._fetches_left = min(float(_MAX_FETCHES_AT_ONCE), refilled)
        self._refilled_at = now
        promising = (one for one in session_ids if one not in self._fruitless)
        taken = tuple(islice(promising, int(self._fetches_left)))
        self._fetches_left -= len(taken)
        return taken

    def mark_fruitless(self, session_id: str) -> None:
        """Record that a session is still unknown after it was fetched: it is not fetched again before the next poll."""
        self._fruitless.add(session_id)
