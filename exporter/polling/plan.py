"""Which lists to request: of new sessions, the cheapest for many sessions, the hourly full list that finds deletions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from math import inf

from exporter.polling.clock import Moment
from exporter.polling.store import SessionStore
from exporter.vb365.paging import PAGE_SIZES

__all__ = [
    "PAGE_COST_IN_GETS",
    "PAGE_SIZE",
    "RESYNC_SECONDS",
    "DiscoveryWindow",
    "ListRequest",
    "Resync",
    "cheaper_list",
    "is_ahead",
    "max_listed_sessions",
]

PAGE_SIZE = PAGE_SIZES[0]
"""Sessions per page of a list that is not repeated."""

PAGE_COST_IN_GETS = 25
"""Estimated cost of a page to the server, in sessions fetched by id."""

RESYNC_SECONDS = 3600.0
"""How often everything is listed, and finished sessions with configured ids are fetched."""

# A session may appear in a list slightly after its creationTime, and clocks within a server farm differ slightly.
_OVERLAP = timedelta(minutes=10)

_LISTED_PER_KEPT = 2
_MIN_LISTED_SESSIONS = 200_000

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


def max_listed_sessions(max_sessions: int) -> int:
    """Return how many sessions of one list are read, if at most `max_sessions` are kept.

    A session that was left open may be older than those kept, so more are read; but a list must end.
    """
    return max(_LISTED_PER_KEPT * max_sessions, _MIN_LISTED_SESSIONS)


def is_ahead(creation: datetime, moment: Moment) -> bool:
    """Whether a session was created later than now by the server's own time, and by more than clocks may differ."""
    return creation > moment.wall + _OVERLAP


class DiscoveryWindow:
    """Since when sessions may have been created that no list has shown yet.

    It advances only with lists that were read to their end, as a list that breaks off has shown its newest sessions
    alone. A session from the future does not advance it: it would hide every session created before that date.

    Attributes:
        newest: the newest creationTime seen that is not ahead of the server's own time.
    """

    def __init__(self) -> None:
        self.newest: datetime | None = None
        self._listed: datetime | None = None  # `newest` as of the last list read to its end
        self._listed_at = -inf

    def observe(self, creation: datetime, moment: Moment) -> None:
        """Take a creationTime into account."""
        if (self.newest is None or creation > self.newest) and not is_ahead(creation, moment):
            self.newest = creation

    def created_since(self, moment: Moment) -> datetime | None:
        """Return since when to list; None if there is no such time yet.

        It is the newest creationTime listed or, if the server's clock was set back meanwhile, that clock's time of the
        last list.
        """
        if self._listed is None:
            return None
        return min(self._listed, self._time_of_last_list(moment)) - _OVERLAP

    def end_list(self, request: ListRequest, *, requested_at: float, moment: Moment) -> None:
        """Advance after a list that was read to its end.

        Args:
            request: the list.
            requested_at: monotonic time of its request: what was created since may not be in it.
            moment: when it ended.
        """
        if self.newest is None:
            return
        since = request.created_since
        if since is not None and since > self._time_of_last_list(moment):
            return  # the server's clock was set back, and only this response showed it
        self._listed = min(self.newest, moment.wall)
        self._listed_at = requested_at

    def _time_of_last_list(self, moment: Moment) -> datetime:
        """Return when the last list was requested, by the server's present clock."""
        return moment.wall - timedelta(seconds=moment.monotonic - self._listed_at)


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
        self._listed: set[str] | None = (
            None  # by the full list in progress, as far as they are stored
        )
        self._listed_sessions = 0
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
        self._listed_sessions = 0
        self.is_incomplete = False

    def abort_list(self) -> None:
        """Abandon the comparison in progress, if any."""
        self._listed = None

    def add_listed(self, session_id: str) -> None:
        """Record that the list contains a session that is not past its lookback."""
        if self._listed is not None and session_id not in self._listed:
            self._listed.add(session_id)
            self._listed_sessions += 1

    def count_not_kept(self, session_id: str, *, observed_id: str) -> None:
        """Count a session that was evicted, or did not fit, when another one or itself was observed.

        Full lists count all of them. Between full lists, a session that does not fit is not counted: it was counted
        before, and every list of new sessions may show it again.
        """
        if self._listed is not None:
            self._listed.discard(session_id)
        elif session_id != observed_id:
            self.not_kept += 1

    def end_list(self, moment: Moment) -> set[str]:
        """Compare the stored sessions with the full list; return the ids of deleted sessions."""
        listed = self._listed or set()
        self._listed = None
        self.succeed(moment)
        finished = self._store.finished.keys()
        stored = listed & (finished | self._store.running.keys() | self._store.expired_ids)
        self.not_kept = self._listed_sessions - len(stored)
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
