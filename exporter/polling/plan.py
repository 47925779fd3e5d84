"""Building blocks for choosing lists: recent sessions, many sessions at once, or everything."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from exporter.polling.clock import Moment
from exporter.polling.server_time import is_ahead
from exporter.vb365.paging import PAGE_SIZES

PAGE_SIZE = PAGE_SIZES[0]
"""Sessions per page of a list that is not repeated."""

PAGE_COST_IN_GETS = 25
"""Estimated cost of a page to the server, in sessions fetched by id."""

RESYNC_SECONDS = 3600.0
"""How often everything is listed, finished sessions with configured ids are fetched, and server details are requested."""

MAX_LATE_SECONDS = 60.0
"""How long after a change the server may not show all of it yet: in other responses, or in the rest of a record."""

# A session may appear in a list slightly after its creationTime, which another server's clock may have given.
_LIST_OVERLAP = timedelta(minutes=10)

_LISTED_PER_KEPT = 2
_MIN_LISTED_SESSIONS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """A list to request."""

    created_since: datetime | None
    """Only sessions created after this; None for all."""
    max_pages: int | None = None
    """Stop after this many pages, or once every session wanted was listed; None reads to the end."""
    margin: timedelta = timedelta(0)
    """How much earlier it begins than the sessions that it has to show."""

    @property
    def is_full(self) -> bool:
        """Whether it lists every session on the server."""
        return self.created_since is None and self.max_pages is None

    def replaces(self, previous: ListRequest) -> bool:
        """Whether this list of new sessions is needed in the same poll, because `previous`, just read, may lack some.

        This list then begins earlier by more than lists overlap: a response has shown that the server's clock was set back.
        """
        if self.created_since is None or previous.created_since is None:
            return False
        return previous.created_since - self.created_since > _LIST_OVERLAP


def cheaper_list(
    creations: Iterable[datetime],
    unknown_creations: int,
    count_created_since: Callable[[datetime], int],
) -> ListRequest | None:
    """Return the list that saves the server the most work; None unless it saves more than one page costs.

    Args:
        creations: when the wanted sessions were created.
        unknown_creations: how many more sessions, of unknown creation time, are wanted.
        count_created_since: returns how many sessions were created at a given time or later.
    """
    # How far back these are is not known: the list is read until they were listed or fetching them would have cost less.
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

    A session that was left open may be older than those kept, so more are read, but not without limit.
    """
    return max(_LISTED_PER_KEPT * max_sessions, _MIN_LISTED_SESSIONS)


class DiscoveryWindow:
    """The creation time from which on sessions may not have been listed yet.

    It advances only with lists that were read to their end, because an interrupted list has shown only the newest
    sessions. A list with more sessions than are read of any list counts as read: the next one would end at the same
    place. A session from the future does not advance it: it would hide every session created before that date.

    Attributes:
        newest: the newest creationTime seen that is not ahead of the server's own time.
    """

    def __init__(self) -> None:
        self.newest: datetime | None = None
        # `newest` as of the last list read to its end, or when that list ended if that is earlier.
        self._listed: datetime | None = None
        self._listed_at = -inf

    def observe(self, creation: datetime, moment: Moment) -> None:
        """Take a creationTime into account."""
        if (self.newest is None or creation > self.newest) and not is_ahead(creation, moment.wall):
            self.newest = creation

    def created_since(self, moment: Moment) -> datetime | None:
        """Return since when to list; None if there is no such time yet.

        It is ten minutes before the newest creationTime listed or, if the server's clock was set back meanwhile, before
        that clock's time of the last list.
        """
        if self._listed is None:
            return None
        return min(self._listed, self.time_of_last_list(moment)) - _LIST_OVERLAP

    def baseline(self, moment: Moment, *, requested_at: float) -> datetime:
        """Return the creationTime after which sessions have started since the first list.

        It is the newest creationTime listed or, if that is later, ten minutes before the list was requested: the clock that
        dates the sessions may be behind. What was created before and comes into sight later is not new: the account may
        be granted its role.

        Without the server's confirmed time, the ten minutes count only if the list shows no session. If the newest is
        slightly ahead of the server's own time, it is that time: sessions that start until then are new, too.

        Args:
            moment: when the list ended.
            requested_at: monotonic time of its request.
        """
        requested = moment.wall - timedelta(seconds=moment.monotonic - requested_at)
        earliest = requested - _LIST_OVERLAP
        if self.newest is None:
            return earliest
        newest = min(self.newest, moment.wall)
        return max(newest, earliest) if moment.is_confirmed else newest

    def end_list(self, request: ListRequest, *, requested_at: float, moment: Moment) -> None:
        """Advance after a list that was read to its end.

        Args:
            request: the list.
            requested_at: monotonic time of its request: it may lack sessions created later.
            moment: when it ended.
        """
        if self.newest is None:
            return
        since = request.created_since
        if since is not None and since > self.time_of_last_list(moment):
            return  # the server's clock was set back, and only this response showed it
        self._listed = min(self.newest, moment.wall)
        self._listed_at = requested_at

    def time_of_last_list(self, moment: Moment) -> datetime:
        """Return when the last list was requested, by the server's present clock; now if there was none."""
        if self._listed is None:
            return moment.wall
        return moment.wall - timedelta(seconds=moment.monotonic - self._listed_at)
