"""Reading the events of a restore session page by page, in several steps if there are many."""

from __future__ import annotations

import math
from collections.abc import Callable
from urllib.parse import quote

from exporter.vb365.paging import iter_pages
from exporter.vb365.records.extras import EventSummary, EventTally
from exporter.vb365.rest import RestApi

MAX_EVENT_PAGES = 2_000
"""A million events, at the page size that the client requests."""

_EVENTS_PER_PAGE = 500
"""About 0.4 MB. Decoding a page holds the interpreter lock, so a larger one would delay scrapes."""

_PAGES_IN_RESERVE = 2
"""Reading pauses when there is time for no more than this many pages, so that no page is aborted halfway.

After a pause, a single page is reserved for the first request: otherwise a slow server would never make progress.
"""


class EventReader:
    """Sums up a session's events page by page: however many there are, only one page is in memory.

    A server with many events may need longer for all pages than there is time before the next poll. `read` then pauses
    between two pages, and the next call continues.

    Source: `GET /{v}/RestoreSessions/{id}/Events`. Its requests are never retried.

    Args:
        api: the server's API.
        session_id: the session.
        clock: the monotonic clock.
        max_pages: how many pages there may be; beyond it, the paging is treated as endless.

    Raises:
        Vb365Error: the version of the API could not be detected.
    """

    def __init__(
        self,
        api: RestApi,
        session_id: str,
        *,
        clock: Callable[[], float],
        max_pages: int,
    ) -> None:
        self._clock = clock
        self._until = math.inf
        self._longest_page_seconds = 0.0
        self._has_ended = False
        self._tally = EventTally()
        self._pages = iter_pages(
            lambda target: api.get("events", target, until=self._until),
            base_url=api.base_url,
            path=f"{api.versions.current()}/RestoreSessions/{quote(session_id, safe='')}/Events",
            query={},
            page_size=_EVENTS_PER_PAGE,
            operation="events",
            max_pages=max_pages,
        )

    def read(self, until: float) -> EventSummary | None:
        """Read on until all pages are read or time is short; return the totals, or None for a pause.

        Args:
            until: when reading must end, on the monotonic clock.

        Raises:
            Vb365Error: a page could not be read, or the paging is endless. Then this reader cannot continue.
            RuntimeError: it is at its end, or has failed.
        """
        if self._has_ended:
            raise RuntimeError("no events are left to read")
        self._until = until
        started = self._clock()
        if started + self._longest_page_seconds >= until:
            return None
        self._has_ended = True  # unless it pauses
        for page in self._pages:
            self._tally.add(page)
            now = self._clock()
            self._longest_page_seconds = max(self._longest_page_seconds, now - started)
            if now + _PAGES_IN_RESERVE * self._longest_page_seconds >= until:
                self._has_ended = False
                return None
            started = now
        return self._tally.summary()
