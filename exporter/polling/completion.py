"""Asking for what is known of sessions beyond their records; each extra fails by itself, and none fails a poll."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from exporter.polling.clock import Clock
from exporter.polling.extras import ExtraRequest, Extras
from exporter.polling.interfaces import Api
from exporter.polling.oddities import Anomalies
from exporter.polling.workers import Workers
from exporter.vb365.errors import Reason, Vb365Error
from exporter.vb365.records.extras import EventSummary, Statistics

__all__ = ["ExtrasFetcher"]


class ExtrasFetcher:
    """Completes the sessions of a ledger. A part of the poller.

    Args:
        api: the server's.
        extras: takes the answers.
        workers: ask.
        clock: the process's clocks.
        oddities: told of what fails.
        beat: called whenever an answer has come.
    """

    def __init__(
        self,
        *,
        api: Api,
        extras: Extras,
        workers: Workers,
        clock: Clock,
        oddities: Anomalies,
        beat: Callable[[], None],
    ) -> None:
        self._api = api
        self._extras = extras
        self._workers = workers
        self._clock = clock
        self._oddities = oddities
        self._beat = beat

    def ask(self, due: Iterable[ExtraRequest]) -> bool:
        """Ask for what is due; returns whether there was anything to ask."""
        wanted = []
        for request in due:
            if request.extra == "statistics" and not self._api.has_statistics:
                self._extras.failed(request)
            else:
                wanted.append(request)
        for request, answer in self._workers.ask_all(wanted, self._answer):
            self._beat()
            if isinstance(answer, Vb365Error):
                self._extras.failed(request)
                self._oddities.extra_failed(request, answer.reason, str(answer))
                continue
            if isinstance(answer, EventSummary):
                self._look_at(request, answer)
            self._extras.take(request, answer, self._clock.now())
        return bool(wanted)

    def _answer(self, request: ExtraRequest) -> Statistics | EventSummary:
        if request.extra == "events":
            return self._api.events(request.session_id)
        return self._api.statistics(request.session_id)

    def _look_at(self, request: ExtraRequest, summary: EventSummary) -> None:
        self._oddities.unknown_values(summary.unknown_values, request.session_id)
        if summary.unreadable:
            why = f"{summary.unreadable} records are no events, the others are counted"
            self._oddities.extra_failed(request, Reason.BAD_RESPONSE, why)
