"""Extras of sessions, such as statistics: which are due, in which order, and when they become unknown.

A running session's extras are due in every poll, and once more after it has finished.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, count, takewhile

from exporter.config import Extra, SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.counters import RestoredTotals, max_awaited_sessions
from exporter.polling.event_places import EventPlaces
from exporter.polling.interfaces import ExtraRequest
from exporter.polling.plan import MAX_LATE_SECONDS
from exporter.polling.snapshot import with_series
from exporter.polling.store import SessionStore
from exporter.polling.transition import FINISHES, Transition
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession

_FINAL_ATTEMPTS = 3
"""How many times an extra of a finished session is requested before it becomes unknown."""

_MAX_FINAL_SECONDS = 86_400.0
"""How long the extras of a finished session are requested: an API version may lack them, or the server throttle them."""


@dataclass(slots=True, kw_only=True)
class _FinalRequest:
    """What is known of the last request for an extra of a finished session."""

    attempts_left: int
    since: float
    """When it became due, in monotonic seconds."""
    provisional: Statistics | EventSummary | None = None
    """A response that seemed to come too early."""


class Extras:
    """The extras of stored sessions, kept in their records. Part of the ledger; does no I/O and reads no clock.

    Args:
        store: the sessions.
        settings: which extras are wanted, how many sessions have series, and `max_sessions`. Each extra of at most
            `max(max_sessions, 10,000)` finished sessions is awaited; those of the oldest become unknown.
        totals: counts the final extras of finished sessions.

    Attributes:
        places: the sessions whose events are read on in later polls.
    """

    def __init__(
        self, store: SessionStore, settings: SessionsConfig, totals: RestoredTotals
    ) -> None:
        self.places = EventPlaces(self._is_final)
        self._store = store
        self._restores = store.restores
        self._wanted = settings.extras
        self._max_series = settings.max_series
        self._totals = totals
        self._max_awaited = max_awaited_sessions(settings)
        # Of finished sessions, in the order of `since`: however many wait, a poll looks only at those that are due.
        self._final: dict[Extra, OrderedDict[ExtraRequest, _FinalRequest]] = {
            extra: OrderedDict() for extra in settings.extras
        }
        self._confirmed_at: dict[ExtraRequest, float] = {}  # of running sessions
        self._attempt_numbers = count(1)
        self._last_attempt: dict[ExtraRequest, int] = {}
        self._abandoned: list[ExtraRequest] = []

    def due(self, *, has_statistics: bool = True) -> tuple[ExtraRequest, ...]:
        """Return the requests of a poll: the final ones for finished sessions, then those for running sessions with series.

        There may not be time for all of them, so within each group, the least recently made come first.

        Args:
            has_statistics: whether the API version in use has statistics. Without them, their requests wait.
        """
        supported = self._supported(has_statistics=has_statistics)
        running = with_series(self._store.running_newest_first(), self._max_series)
        of_running = _requests((one.session.id for one in running), supported)
        final = chain.from_iterable(self._final[extra] for extra in supported)
        return (*self._by_last_attempt(final), *self._by_last_attempt(of_running))

    def _supported(self, *, has_statistics: bool) -> list[Extra]:
        return [extra for extra in self._wanted if has_statistics or extra != "statistics"]

    def _by_last_attempt(self, requests: Iterable[ExtraRequest]) -> list[ExtraRequest]:
        return sorted(requests, key=lambda request: self._last_attempt.get(request, 0))

    def mark_attempted(self, request: ExtraRequest) -> None:
        """Record that a request was made, whatever its outcome."""
        self._last_attempt[request] = next(self._attempt_numbers)

    def due_for_finished(
        self, session_ids: Iterable[str], *, has_statistics: bool = True
    ) -> tuple[ExtraRequest, ...]:
        """Return the requests to make between polls: those for just finished sessions among `session_ids`."""
        supported = self._supported(has_statistics=has_statistics)
        return tuple(filter(self._is_final, _requests(session_ids, supported)))

    def _is_final(self, request: ExtraRequest) -> bool:
        """Whether a request is a final one: for an extra of a finished session that is still awaited."""
        return request in self._final[request.extra]

    def accept(self, request: ExtraRequest, value: Statistics | EventSummary, now: Moment) -> None:
        """Store a response. The response for a finished session is final, unless it seems to come too early."""
        self.places.leave(request)
        final = self._final[request.extra].get(request)
        if final is None:
            self._confirmed_at[request] = now.monotonic
        elif now.monotonic - final.since < MAX_LATE_SECONDS and self._seems_early(request, value):
            final.provisional = value
        else:
            self._discard_final(request)
            self._totals.add(request.session_id, request.extra, value)
        self._set(request, value)
        self._settle_if_final(request.session_id)

    def _seems_early(self, request: ExtraRequest, value: Statistics | EventSummary) -> bool:
        """Whether items are in progress, or fewer are known than the session's record says, which may be incomplete, too."""
        session = self._store.finished.get(request.session_id)
        if session is None or value.is_partial:
            return value.is_partial
        return not session.is_written or value.processed < (session.processed_items or 0)

    def record_failure(self, request: ExtraRequest, now: Moment) -> None:
        """Record a failed request. Once a finished session's attempts are used up, its extras become unknown.

        The last attempt is kept for later while the server may not have written the extras yet.
        """
        self.places.leave(request)
        final = self._final[request.extra].get(request)
        if final is None:
            return
        if final.attempts_left > 1 or now.monotonic - final.since >= MAX_LATE_SECONDS:
            final.attempts_left -= 1
        if final.attempts_left == 0:
            self._give_up(request)

    def _abandon(self, request: ExtraRequest) -> None:
        self._give_up(request)
        self._abandoned.append(request)

    def take_abandoned(self) -> list[ExtraRequest]:
        """Return the final requests that were given up since the last call, as they waited too long or were too many."""
        abandoned, self._abandoned = self._abandoned, []
        return abandoned

    def _give_up(self, request: ExtraRequest) -> None:
        """Stop requesting an extra of a finished session. It stays unknown, unless there was a provisional response."""
        value = self._final[request.extra][request].provisional
        self._discard_final(request)
        self._totals.add(request.session_id, request.extra, value)
        self._set(request, value)
        self._settle_if_final(request.session_id)

    def with_known_extras(self, session: RestoreSession) -> RestoreSession:
        """Return a new record with the extras of the stored one, unless the session was reopened."""
        known = self._store.find(session.id) if self._wanted else None
        if known is None or (known.stopped and not session.stopped):
            return session
        return session._replace(statistics=known.statistics, events=known.events)

    def without_provisional(self, session: RestoreSession) -> RestoreSession:
        """Return a session without the extras from before its finish, if those from after it are not known yet."""
        if not self._wanted:
            return session
        for request in filter(self._is_final, self._requests(session.id)):
            known = self._final[request.extra][request].provisional
            session = session.with_extra(request.extra, known)
        return session

    def follow(self, session: RestoreSession, transition: Transition, moment: Moment) -> None:
        """Make the extras of a finished session due once more, and cancel that if it is running again.

        They are requested after each finish, and when a session returns whose finish was seen: they were dropped with
        its record, or never counted.
        """
        if not self._wanted:
            return
        if not session.stopped:
            self.cancel_final(session.id)
        elif transition in FINISHES or (
            transition is Transition.FOUND and self._store.saw_finish(session)
        ):
            self._request_final(session.id, moment)

    def _request_final(self, session_id: str, moment: Moment) -> None:
        if session_id not in self._store.finished and not self._totals.expects(session_id):
            return  # nothing depends on them
        for request in self._requests(session_id):
            awaited = self._final[request.extra]
            awaited[request] = _FinalRequest(attempts_left=_FINAL_ATTEMPTS, since=moment.monotonic)
            awaited.move_to_end(request)
            self._confirmed_at.pop(request, None)
            self.places.leave(request)  # the events of a running session are not final
            if len(awaited) > self._max_awaited:
                self._abandon(next(iter(awaited)))

    def cancel_final(self, session_id: str) -> None:
        """Cancel the last requests for a session that is running again."""
        for request in self._requests(session_id):
            self._discard_final(request)

    def end_final(self, session_id: str) -> None:
        """Cancel the last requests for a session that was deleted, and count the provisional responses."""
        for request in filter(self._is_final, self._requests(session_id)):
            value = self._final[request.extra][request].provisional
            if value is not None:
                self._totals.add(session_id, request.extra, value)
            self._discard_final(request)

    def discard(self, session_id: str) -> None:
        """Cancel the requests for a session that is no longer stored, except those whose results are still to be counted."""
        is_counted = self._totals.expects(session_id)
        for request in self._requests(session_id):
            self._confirmed_at.pop(request, None)
            if not is_counted:
                self._discard_final(request)
        self._restores.settle(session_id, None)

    def _discard_final(self, request: ExtraRequest) -> None:
        self._final[request.extra].pop(request, None)
        self._last_attempt.pop(request, None)
        self.places.leave(request)

    def drop_stale(self, now: Moment, stale_after_seconds: float) -> None:
        """Make a running session's extras unknown after `stale_after_seconds` without a response.

        A finished session whose extras are not final after that time is judged by its record until they are.
        """
        oldest = now.monotonic - stale_after_seconds
        for request, confirmed_at in tuple(self._confirmed_at.items()):
            if confirmed_at <= oldest:
                del self._confirmed_at[request]
                self._set(request, None)
        self._settle_overdue(now, oldest)
        self.places.drop_stale(oldest)

    def _settle_overdue(self, now: Moment, oldest: float) -> None:
        self._restores.set_now(now.wall)
        last_given_up = now.monotonic - _MAX_FINAL_SECONDS
        for awaited in self._final.values():
            too_old = takewhile(lambda one: one[1].since <= last_given_up, awaited.items())
            for request, _ in tuple(too_old):
                self._abandon(request)
        for session_id in self._restores.awaiting_since(oldest):
            for request in filter(self._is_final, self._requests(session_id)):
                self._set(request, None)  # what was received before its end
            self._restores.settle(session_id, self._store.finished.get(session_id))

    def _requests(self, session_id: str) -> Iterator[ExtraRequest]:
        return _requests((session_id,), self._wanted)

    def _settle_if_final(self, session_id: str) -> None:
        """Count a finished session as a proven restore, if it is one, once all of its extras are final."""
        if not any(map(self._is_final, self._requests(session_id))):
            self._restores.settle(session_id, self._store.finished.get(session_id))

    def _set(self, request: ExtraRequest, value: Statistics | EventSummary | None) -> None:
        session = self._store.find(request.session_id)
        if session is not None:
            self._store.replace(session.with_extra(request.extra, value))


def _requests(session_ids: Iterable[str], extras: Collection[Extra]) -> Iterator[ExtraRequest]:
    return (
        ExtraRequest(session_id=session_id, extra=extra)
        for session_id in session_ids
        for extra in extras
    )
