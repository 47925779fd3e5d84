"""Sessions with so many events that a poll cannot read all of them: they are read on in later polls."""

from __future__ import annotations

from collections.abc import Callable

from exporter.polling.clock import Moment
from exporter.polling.interfaces import EventSource, ExtraRequest

_MAX_PLACES = 8
"""How many sessions may have events left to read in the next poll. Each keeps two pages of ids in memory, and 8 bytes of each event."""


class EventPlaces:
    """Places for sessions whose events are read over several polls.

    Args:
        is_final: whether a request is for a finished session; such requests take places of running sessions.
    """

    def __init__(self, is_final: Callable[[ExtraRequest], bool]) -> None:
        self._is_final = is_final
        self._paused: dict[ExtraRequest, EventSource] = {}
        # Since when; those whose events are being read included.
        self._places: dict[ExtraRequest, float] = {}
        self._awaits_place: set[ExtraRequest] = set()

    def may_begin(self, request: ExtraRequest, now: Moment) -> bool:
        """Whether a request can be made now. Events that found no place have to wait until one is free."""
        if request in self._awaits_place:
            return self._take_place(request, now)
        return True

    def pause(self, request: ExtraRequest, source: EventSource, now: Moment) -> None:
        """Keep a partly read source of events for the next poll, because this one had no time to read the rest.

        If all places are taken, drop the source: the events are read from the start once a place is free, and the request
        does not count as failed.
        """
        if self._take_place(request, now):
            self._paused[request] = source
        else:
            self._awaits_place.add(request)

    def _take_place(self, request: ExtraRequest, now: Moment) -> bool:
        """Take a place; a finished session's request takes one of a running session if there is no other."""
        if request not in self._places and len(self._places) >= _MAX_PLACES:
            of_running = (one for one in self._places if not self._is_final(one))
            displaced = next(of_running, None) if self._is_final(request) else None
            if displaced is None:
                return False
            self.leave(displaced)
            self._awaits_place.add(displaced)
        self._places[request] = now.monotonic
        return True

    def leave(self, request: ExtraRequest) -> None:
        """Free the place of a request, and drop the events that were kept."""
        self._paused.pop(request, None)  # unless a late worker has just taken it
        self._places.pop(request, None)
        self._awaits_place.discard(request)

    def take_paused(self, request: ExtraRequest) -> EventSource | None:
        """Remove and return the events that were kept. Safe to call from any thread: `dict.pop` is atomic.

        The thread that continues to read calls it, so that no other thread reads the same events. Their place stays taken.
        """
        return self._paused.pop(request, None)

    def drop_stale(self, oldest: float) -> None:
        """Free the places taken at that monotonic time or earlier."""
        for request, since in tuple(self._places.items()):
            if since <= oldest:
                self.leave(request)
