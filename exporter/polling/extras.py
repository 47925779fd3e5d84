"""Extras of sessions, such as statistics: which are due, how they are fetched, and when they become unknown.

A running session's extras are fetched in every poll, and once more after it has finished. A failed request affects only its
own extra, not the poll.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from exporter.config import Extra, SessionsConfig
from exporter.polling.clock import Clock, Moment
from exporter.polling.interfaces import Api
from exporter.polling.snapshot import with_series
from exporter.polling.status import Anomalies, Heartbeat
from exporter.polling.store import SessionStore
from exporter.polling.workers import Workers
from exporter.vb365.errors import Reason, Vb365Error
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["ExtraRequest", "Extras", "fetch_extras"]

_FINAL_ATTEMPTS = 3
"""How often an extra of a finished session is requested in total before it becomes unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRequest:
    """One extra of one session."""

    session_id: str
    extra: Extra


class Extras:
    """The extras of stored sessions, kept in their records. Part of the ledger; does no I/O and reads no clock.

    Args:
        store: the sessions.
        settings: which extras are wanted, and how many sessions have series.
        stale_after_seconds: how long a running session's extras are kept without a new response.
    """

    def __init__(
        self, store: SessionStore, settings: SessionsConfig, stale_after_seconds: float
    ) -> None:
        self._store = store
        self._wanted = settings.extras
        self._max_series = settings.max_series
        self._stale_after_seconds = stale_after_seconds
        self._final_attempts: dict[ExtraRequest, int] = {}  # attempts left, of finished sessions
        self._confirmed_at: dict[ExtraRequest, float] = {}  # of running sessions

    def due(self) -> tuple[ExtraRequest, ...]:
        """Return the requests of a poll: for just finished sessions, and for running sessions with series."""
        running = with_series(self._store.running_newest_first(), self._max_series)
        of_running = (request for one in running for request in self._requests(one.session.id))
        return (*self._final_attempts, *of_running)

    def due_for_finished(self, session_ids: Collection[str]) -> tuple[ExtraRequest, ...]:
        """Return the requests to make between polls: those for just finished sessions among `session_ids`."""
        return tuple(
            request for request in self._final_attempts if request.session_id in session_ids
        )

    def accept(self, request: ExtraRequest, value: Statistics | EventSummary, now: Moment) -> None:
        """Store a response. The response for a finished session is final."""
        if self._final_attempts.pop(request, None) is None:
            self._confirmed_at[request] = now.monotonic
        self._set(request, value)

    def record_failure(self, request: ExtraRequest) -> None:
        """Record a failed request. Once a finished session's attempts are used up, its extras become unknown."""
        if request not in self._final_attempts:
            return
        self._final_attempts[request] -= 1
        if self._final_attempts[request] == 0:
            del self._final_attempts[request]
            self._set(request, None)

    def with_known_extras(self, session: RestoreSession) -> RestoreSession:
        """Return a new record with the extras of the stored one, unless the session was reopened."""
        known = self._store.find(session.id)
        if known is None or (known.stopped and not session.stopped):
            return session
        return session._replace(statistics=known.statistics, events=known.events)

    def request_final(self, session_id: str) -> None:
        """Make the extras of a just finished session due."""
        for request in self._requests(session_id):
            self._final_attempts[request] = _FINAL_ATTEMPTS
            self._confirmed_at.pop(request, None)

    def discard(self, session_id: str) -> None:
        """Cancel all requests for a session that is no longer stored."""
        for request in self._requests(session_id):
            self._final_attempts.pop(request, None)
            self._confirmed_at.pop(request, None)

    def drop_stale(self, now: Moment) -> None:
        """Make stale extras unknown."""
        oldest = now.monotonic - self._stale_after_seconds
        for request, confirmed_at in tuple(self._confirmed_at.items()):
            if confirmed_at <= oldest:
                del self._confirmed_at[request]
                self._set(request, None)

    def _requests(self, session_id: str) -> Iterator[ExtraRequest]:
        return (ExtraRequest(session_id=session_id, extra=extra) for extra in self._wanted)

    def _set(self, request: ExtraRequest, value: Statistics | EventSummary | None) -> None:
        session = self._store.find(request.session_id)
        if session is not None:
            self._store.replace(session.with_extra(request.extra, value))


def fetch_extras(
    due: Iterable[ExtraRequest],
    extras: Extras,
    *,
    api: Api,
    workers: Workers,
    clock: Clock,
    anomalies: Anomalies,
    heartbeat: Heartbeat,
) -> bool:
    """Fetch extras and store them in the ledger; return whether the API supports any of them."""

    def fetch(request: ExtraRequest) -> Statistics | EventSummary:
        if request.extra == "events":
            return api.events(request.session_id)
        return api.statistics(request.session_id)

    supported = []
    for request in due:
        if request.extra == "statistics" and not api.has_statistics:
            extras.record_failure(request)
        else:
            supported.append(request)
    for request, response in workers.fetch_all(supported, fetch):
        heartbeat.beat()
        session_id, extra = request.session_id, request.extra
        if isinstance(response, Vb365Error):
            extras.record_failure(request)
            anomalies.extra_failed(session_id, extra, response.reason, str(response))
            continue
        if isinstance(response, EventSummary):
            anomalies.unknown_values(response.unknown_values, session_id)
            if response.unreadable:
                error = f"{response.unreadable} records are not events, the others are counted"
                anomalies.extra_failed(session_id, extra, Reason.BAD_RESPONSE, error)
        extras.accept(request, response, clock.now())
    return bool(supported)
