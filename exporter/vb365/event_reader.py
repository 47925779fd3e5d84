"""Reading the events of a restore session page by page, in several steps if there are many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from urllib.parse import quote

from exporter.vb365.errors import BadResponseError, RecordsMovedError
from exporter.vb365.paging import iter_pages
from exporter.vb365.records.extras import EventSummary, EventTally
from exporter.vb365.rest import RestApi

MAX_EVENT_PAGES = 2_000
"""A million events, at the page size that is requested first. Larger pages may not hold more events in total."""

_MAX_EVENTS_PER_PAGE = 10_000

_PAGE_SIZES = (500, 2000, 2000)
"""Events per page, and per page of each repetition if events moved between pages: nothing moves within a page.

500 are about 0.4 MB. Decoding a page holds the interpreter lock, so larger ones would delay scrapes.
"""

_PAGES_IN_RESERVE = 2
"""Reading pauses when there is time for no more than this many pages, so that no page is aborted halfway.

After a pause, a single page is reserved for the first request: otherwise a slow server would never make progress.
"""


class EventReader:
    """Sums up a session's events page by page: however many there are, only one page is in memory, and none in a pause.

    If events moved between pages while they were read, some may be missing, and all are read again.

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
        self._api = api
        self._path = f"{api.versions.current()}/RestoreSessions/{quote(session_id, safe='')}/Events"
        self._clock = clock
        self._max_pages = max_pages
        self._until = math.inf
        self._longest_page_seconds = 0.0
        self._has_ended = False
        self._tally = EventTally()
        self._pages = self._read_pages()

    def read(self, until: float) -> EventSummary | None:
        """Read on until all pages are read or time is short; return the totals, or None for a pause.

        Args:
            until: when reading must end, on the monotonic clock.

        Raises:
            RecordsMovedError: events moved between pages at every attempt; some may be missing.
            Vb365Error: a page could not be read, or the paging is endless. Then this reader cannot continue.
            RuntimeError: the reader is at its end, or has failed.
        """
        if self._has_ended:
            raise RuntimeError("no events are left to read")
        self._until = until
        started = self._clock()
        if started + self._longest_page_seconds >= until:
            return None
        self._has_ended = True  # unless it pauses
        for _ in self._pages:
            now = self._clock()
            self._longest_page_seconds = max(self._longest_page_seconds, now - started)
            if now + _PAGES_IN_RESERVE * self._longest_page_seconds >= until:
                self._has_ended = False
                return None
            started = now
        return self._tally.summary()

    def _read_pages(self) -> Iterator[None]:
        """Add up the events, and again if events moved; pause after each page."""
        *page_sizes, last_page_size = _PAGE_SIZES
        for page_size in page_sizes:
            try:
                yield from self._read_once(page_size)
            except RecordsMovedError:
                continue
            return
        yield from self._read_once(last_page_size)

    def _read_once(self, page_size: int) -> Iterator[None]:
        self._tally = EventTally()
        events = 0
        max_events = self._max_pages * _PAGE_SIZES[0]
        for page in iter_pages(
            lambda target: self._api.get("events", target, until=self._until),
            base_url=self._api.base_url,
            path=self._path,
            query={},
            page_size=page_size,
            operation="events",
            max_pages=self._max_pages,
            max_results=_MAX_EVENTS_PER_PAGE,
        ):
            events += len(page)
            if events > max_events:
                raise BadResponseError(f"more than {max_events} events", operation="events")
            self._tally.add(page)
            page.clear()  # not to be kept during a pause
            yield
        if self._tally.has_repetitions():
            raise RecordsMovedError("events are on two pages of the list", operation="events")
