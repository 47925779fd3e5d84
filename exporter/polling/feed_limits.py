"""How much work the change feed may cause between polls, so that it does not override the poll interval."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from math import inf

from exporter.token_bucket import TokenBucket

_MAX_POLLS_AT_ONCE = 3
"""A feed's start causes a poll, and so may an early restart."""
_MAX_FETCHES_AT_ONCE = 50
_FETCHES_PER_SECOND = 5.0
_MIN_FULL_LIST_INTERVAL_SECONDS = 600.0


class FeedLimits:
    """Limits the requests that the change feed causes. All times are monotonic seconds.

    Args:
        poll_interval_seconds: how often the server is polled in any case.
    """

    def __init__(self, poll_interval_seconds: float) -> None:
        self._polls = TokenBucket(_MAX_POLLS_AT_ONCE, per_second=1 / poll_interval_seconds)
        self._fetches = TokenBucket(_MAX_FETCHES_AT_ONCE, per_second=_FETCHES_PER_SECOND)
        self._last_full_list_at = -inf
        self._fruitless: set[str] = set()

    def begin_poll(self) -> None:
        """Forget which fetches were fruitless."""
        self._fruitless.clear()

    def try_take_poll(self, now: float) -> bool:
        """Return whether the feed may cause a poll now; if so, use up a permit.

        There is one per poll interval on average, in bursts of three.
        """
        return self._polls.try_take(now)

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
