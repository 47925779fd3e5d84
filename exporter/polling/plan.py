"""Which lists to request: the cheapest for many sessions, and the hourly full list that finds deletions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import inf

from exporter.polling.clock import Moment
from exporter.polling.store import SessionStore

__all__ = [
    "PAGE_COST_IN_GETS",
    "PAGE_SIZE",
    "RESYNC_SECONDS",
    "ListRequest",
    "Resync",
    "cheaper_list",
]

PAGE_SIZE = 1000
"""Sessions per page, about 0.7 MB."""

PAGE_COST_IN_GETS = 25
"""Estimated cost of a page to the server, in sessions fetched by id."""

RESYNC_SECONDS = 3600.0
"""How often everything is listed, and finished sessions with configured ids are fetched."""

# If more sessions than this are missing, the history was cleared: they are not fetched one by one.
_MAX_VERIFIED_BY_ID = 100

_MAX_REMEMBERED = 100
"""How many sessions that the change feed reports are remembered for the next poll."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A list to request."""

    created_since: datetime | None
    """Only sessions created after this; None for all."""
    max_pages: int | None = None
    """Stop after this many pages, or once everything wanted was listed; None reads to the end."""

    @property
    def is_full(self) -> bool:
        """Whether it lists every session on the server."""
        return self.created_since is None and self.max_pages is None


def cheaper_list(
    creations: Iterable[datetime],
    unknown_creations: int,
    count_created_since: Callable[[datetime], int],
) -> ListRequest | None:
    """Return the list that saves the server the most; None if fetching by id costs no more.

    Args:
        creations: when the wanted sessions were created.
        unknown_creations: how many more sessions, of unknown creation time, are wanted.
        count_created_since: returns how many sessions were created at a given time or later.
    """
    if unknown_creations >= 2 * PAGE_COST_IN_GETS:
        return ListRequest(created_since=None, max_pages=unknown_creations // PAGE_COST_IN_GETS)
    best: ListRequest | None = None
    most_saved = PAGE_COST_IN_GETS
    for confirmed, creation in enumerate(sorted(creations, reverse=True), start=1):
        pages = 1 + count_created_since(creation) // PAGE_SIZE
        saved = confirmed - pages * PAGE_COST_IN_GETS
        if saved > most_saved:
            most_saved = saved
            best = ListRequest(
                created_since=creation - timedelta(seconds=1),
                max_pages=confirmed // PAGE_COST_IN_GETS,
            )
    return best


class Resync:
    """The hourly comparison of the stored sessions with the full list.

    Args:
        store: the stored sessions.
        configured: the configured ids; their deletion is always verified by id.
    """

    def __init__(self, store: SessionStore, configured: frozenset[str]) -> None:
        self._store = store
        self._configured = configured
        self._due_at = -inf
        self._listed: set[str] | None = None  # by the full list in progress
        self.is_incomplete = False
        """Whether the last list contained an unreadable record, which could be any session."""
        self.to_fetch: set[str] = set()
        """Ids to fetch: missing from a full list, reported by the change feed, or checked hourly without discovery."""
        self.not_kept = 0
        """How many sessions on the server are not stored because they were evicted or did not fit."""

    def is_due(self, moment: Moment) -> bool:
        """Whether an hour has passed since the last resync, or one was requested."""
        return moment.monotonic >= self._due_at

    def request(self) -> None:
        """Make a resync due until one succeeds."""
        self._due_at = -inf

    def succeed(self, moment: Moment) -> None:
        """Make the next resync due in an hour."""
        self._due_at = moment.monotonic + RESYNC_SECONDS

    def remember(self, session_ids: Iterable[str]) -> int:
        """Add ids that the change feed reports to those to fetch; return how many are too many.

        Lists find those that are new, and running sessions are fetched in any case.
        """
        wanted = set(session_ids) - self.to_fetch - self._store.running.keys()
        room = max(0, _MAX_REMEMBERED - len(self.to_fetch))
        self.to_fetch.update(islice(wanted, room))
        return max(0, len(wanted) - room)

    def begin_list(self, *, full: bool) -> None:
        """Start a comparison if the list about to be read is full."""
        self._listed = set() if full else None
        self.is_incomplete = False

    def abort_list(self) -> None:
        """Abandon the comparison in progress, if any."""
        self._listed = None

    def add_listed(self, session_id: str) -> None:
        """Record that the list contains a session that is not past its lookback."""
        if self._listed is not None:
            self._listed.add(session_id)

    def count_not_kept(self) -> None:
        """Count a session that was evicted or did not fit; a full list recounts them all at its end."""
        self.not_kept += self._listed is None

    def end_list(self, moment: Moment) -> set[str]:
        """Compare the stored sessions with the full list; return the ids of deleted sessions."""
        listed = self._listed or set()
        self._listed = None
        self.succeed(moment)
        finished = self._store.finished.keys()
        stored = finished | self._store.running.keys() | self._store.expired_ids
        self.not_kept = len(listed - stored)
        missing = finished - listed
        deleted: set[str] = set()
        if len(missing) > _MAX_VERIFIED_BY_ID:
            if not self.is_incomplete:
                deleted = missing - self._configured
            missing &= self._configured
        self.to_fetch |= missing
        if not self.is_incomplete:
            self._store.expired_ids &= listed
        return deleted
