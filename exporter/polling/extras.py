"""What is known of sessions beyond their records: asked for while they run, and once more when they have ended. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from exporter.config import Extra, SessionsConfig
from exporter.polling.clock import Moment
from exporter.polling.snapshot import with_series
from exporter.polling.store import SessionStore
from exporter.vb365.records.extras import EventSummary, Statistics
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["ExtraRequest", "Extras"]

_LAST_LOOKS = 3
"""How often a session that has ended is asked for the same extra, when that fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraRequest:
    """One extra of one session."""

    session_id: str
    extra: Extra


class Extras:
    """The extras of the sessions that are kept. A part of the ledger.

    Args:
        kept: the sessions; what is known of them stands in their records.
        settings: which extras are wanted, and how many sessions have series.
        stale_after_seconds: how old an answer about a session that runs may get.
    """

    def __init__(
        self, kept: SessionStore, settings: SessionsConfig, stale_after_seconds: float
    ) -> None:
        self._kept = kept
        self._wanted = settings.extras
        self._max_series = settings.max_series
        self._stale_after_seconds = stale_after_seconds
        self._last_looks: dict[ExtraRequest, int] = {}  # at sessions that ended: how many are left
        self._answered_at: dict[ExtraRequest, float] = {}  # of sessions that run

    def due(self) -> tuple[ExtraRequest, ...]:
        """What to ask for: of sessions that run and have series, and of those that have just ended."""
        running = with_series(self._kept.running_newest_first(), self._max_series)
        of_running = (request for one in running for request in self._requests(one.session.id))
        return (*self._last_looks, *of_running)

    def due_of_ended(self, session_ids: Collection[str]) -> tuple[ExtraRequest, ...]:
        """What to ask for between polls: of those of these sessions that have just ended."""
        return tuple(request for request in self._last_looks if request.session_id in session_ids)

    def take(self, request: ExtraRequest, answer: Statistics | EventSummary, now: Moment) -> None:
        """Take in an answer."""
        if self._last_looks.pop(request, None) is None:
            self._answered_at[request] = now.monotonic
        else:
            self._answered_at.pop(request, None)
        self._set(request, answer)

    def failed(self, request: ExtraRequest) -> None:
        """There was no answer. That to the last look at a session is not known then, whatever was before."""
        left = self._last_looks.get(request)
        if left is None:
            return
        if left > 1:
            self._last_looks[request] = left - 1
        else:
            self._end(request)

    def carried_over(self, session: RestoreSession) -> RestoreSession:
        """A new record of a session, with the extras that are known of it."""
        known = self._kept.find(session.id)
        if known is None or (known.statistics is None and known.events is None):
            return session
        return session._replace(statistics=known.statistics, events=known.events)

    def ended(self, session_id: str) -> None:
        """A session has ended: what is said of it from now on is final."""
        for request in self._requests(session_id):
            self._last_looks[request] = _LAST_LOOKS

    def forget(self, session_id: str) -> None:
        """A session is not kept any more."""
        for request in self._requests(session_id):
            self._last_looks.pop(request, None)
            self._answered_at.pop(request, None)

    def expire(self, now: Moment) -> None:
        """End what has not been answered for too long."""
        oldest = now.monotonic - self._stale_after_seconds
        outdated = [
            request for request, answered_at in self._answered_at.items() if answered_at <= oldest
        ]
        for request in outdated:
            if request not in self._last_looks:
                self._end(request)

    def _requests(self, session_id: str) -> Iterator[ExtraRequest]:
        return (ExtraRequest(session_id=session_id, extra=extra) for extra in self._wanted)

    def _end(self, request: ExtraRequest) -> None:
        self._last_looks.pop(request, None)
        self._answered_at.pop(request, None)
        self._set(request, None)

    def _set(self, request: ExtraRequest, value: Statistics | EventSummary | None) -> None:
        session = self._kept.find(request.session_id)
        if session is not None:
            self._kept.renew(session.with_extra(request.extra, value))
