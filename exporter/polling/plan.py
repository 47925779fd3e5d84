"""Which lists to request: the cheapest one for many sessions, and the hourly full list that finds deletions. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
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
"""How many sessions to request per page: about 0.7 MB."""

PAGE_COST_IN_GETS = 25
"""What a page costs the server, in sessions fetched by id; an estimate."""

RESYNC_SECONDS = 3600.0
"""How often everything is listed, and finished sessions with configured ids are fetched."""

# More missing sessions than this are a history that was cleared: then the list alone is proof.
_MAX_VERIFIED_BY_ID = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A list to request."""

    created_since: datetime | None
    """Only sessions created after this; None for all."""
    max_pages: int | None = None
    """Stop after so many pages, or once everything wanted was listed; None reads to the end."""

    @property
    def is_full(self) -> bool:
        """Whether it lists every session there is."""
        return self.created_since is None and self.max_pages is None


def cheaper_list(
    creations: Iterable[datetime],
    unknown_creations: int,
    count_created_since: Callable[[datetime], int],
) -> ListRequest | None:
    """Return the list that saves the server most; None when fetching by id is as cheap.

    Args:
        creations: when the wanted sessions were created.
        unknown_creations: how many more sessions are wanted whose creation is unknown.
        count_created_since: returns how many sessions were created at a moment or later.
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
        configured: ids from the configuration, whose deletion is always verified by id.
    """

    def __init__(self, store: SessionStore, configured: frozenset[str]) -> None:
        self._store = store
        self._configured = configured
        self._due_at = -inf
        self._listed: set[str] | None = None  # by the full list in progress
        self.is_incomplete = False
        """Whether the last full list held an unreadable record, which may be any session's."""
        self.to_fetch: set[str] = set()
        """Ids to fetch by id, because no list has confirmed them."""
        self.not_kept = 0
        """How many sessions the server has that were evicted or found no room."""

    def is_due(self, moment: Moment) -> bool:
        """Whether the last one was an hour ago, or `request` was called since."""
        return moment.monotonic >= self._due_at

    def request(self) -> None:
        """Make it due from now on until it succeeds."""
        self._due_at = -inf

    def succeed(self, moment: Moment) -> None:
        """Make it due again in an hour."""
        self._due_at = moment.monotonic + RESYNC_SECONDS

    def begin_list(self, *, full: bool) -> None:
        """Start to compare if the list about to be read is full."""
        self._listed = set() if full else None
        self.is_incomplete = False

    def abort_list(self) -> None:
        """Drop the comparison in progress, if there is one."""
        self._listed = None

    def add_listed(self, session_id: str) -> None:
        """Record that the list shows a session which may be stored."""
        if self._listed is not None:
            self._listed.add(session_id)

    def count_not_kept(self) -> None:
        """Count a session that was evicted or found no room; a full list counts them all at its end."""
        self.not_kept += self._listed is None

    def end_list(self, moment: Moment) -> set[str]:
        """Compare the stored sessions with the full list; return the ids that it proves deleted."""
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
