"""Fetches the extras of sessions in the time that polls leave.

A failed request affects only its own extra, never the poll, and extras never delay the next poll.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import inf
from operator import attrgetter
from typing import TypeAlias

from exporter.polling.anomalies import Anomalies
from exporter.polling.clock import Clock
from exporter.polling.extras import Extras
from exporter.polling.health import Heartbeat
from exporter.polling.interfaces import Api, EventSource, ExtraRequest
from exporter.polling.parallel_requests import ParallelRequests
from exporter.vb365.errors import Reason, RequestTimeoutError, StoppedError, Vb365Error, would_recur
from exporter.vb365.records.extras import EventSummary, Statistics

_MAX_REQUESTS = 10_000
"""One poll requests at most this many: after an outage, extras of hundreds of thousands of sessions may be due."""

_START_SHARE = 0.1
"""A request that begins in this part of a poll's time for extras has as much time as a request can get."""

_TOLERANCE_SECONDS = 0.1
"""A request that ends so long before its deadline was aborted at its deadline."""

Result: TypeAlias = Statistics | EventSummary | EventSource


class ExtrasFetcher:
    """Fetches extras and stores them in the ledger.

    After a timeout, throttling, a failed login or a failed connection, no more extras of the same kind are requested until
    the next poll: they would most likely fail the same way, and each timeout costs seconds. A 403 concerns only its own
    request.

    Args:
        extras: which extras are due; stores them.
        api: the server's API.
        parallel: makes the requests.
        clock: the process's clocks.
        anomalies: counts and logs failures.
        heartbeat: shows that the poll loop is not stuck.
    """

    def __init__(
        self,
        extras: Extras,
        *,
        api: Api,
        parallel: ParallelRequests,
        clock: Clock,
        anomalies: Anomalies,
        heartbeat: Heartbeat,
    ) -> None:
        self._extras = extras
        self._api = api
        self._parallel = parallel
        self._clock = clock
        self._anomalies = anomalies
        self._heartbeat = heartbeat

    def fetch(self, until: float, *, of_finished: Iterable[str] | None = None) -> bool:
        """Fetch the first 10,000 extras that are due; return whether any was due that the server supports.

        What is left is due again in the next poll. So are events that wait for a place. Statistics wait while the API
        version in use lacks them, because a server that restarts may not serve its newest version for some time.

        Args:
            until: when to stop, in monotonic seconds.
            of_finished: between polls, the sessions to fetch extras of, if they have just finished. None for all.
        """
        for one in self._extras.take_abandoned():
            error = "not received in time after its finish, they stay unknown"
            self._anomalies.extra_failed(one.session_id, one.extra, Reason.TIMEOUT, error)
        now = self._clock.now()
        has_statistics = self._api.has_statistics
        if of_finished is None:
            due = self._extras.due(has_statistics=has_statistics)
            start_until = now.monotonic + _START_SHARE * (until - now.monotonic)
        else:
            due = self._extras.due_for_finished(of_finished, has_statistics=has_statistics)
            start_until = -inf  # the next poll may give more time
        begun = [one for one in due if self._extras.places.may_begin(one, now)]
        settled = 0
        for request, result in self._parallel.fetch_all(
            begun[:_MAX_REQUESTS],
            partial(self._request, until=until, start_until=start_until),
            until=until,
            group=attrgetter("extra"),
            ends_group=would_recur,
        ):
            self._heartbeat.beat()
            if result is not None:
                self._extras.mark_attempted(request)
                settled += self._store(request, result)
        some_wait = len(begun) < len(due)
        if settled < len(due) and (some_wait or self._clock.monotonic() >= until):
            self._anomalies.extras_left(len(due) - settled)
        return bool(due)

    def _request(self, request: ExtraRequest, *, until: float, start_until: float) -> Result | None:
        """Make a request; for events, return the source itself if it paused.

        Return None if a request that began after `start_until` was aborted at `until`: with more time, the server might
        have responded. In the next poll, this request comes first.
        """
        is_late = self._clock.monotonic() > start_until
        try:
            if request.extra == "statistics":
                return self._api.statistics(request.session_id, until=until)
            source = self._extras.places.take_paused(request) or self._api.events(
                request.session_id
            )
            summary = source.read(until)
        except RequestTimeoutError:
            if is_late and self._clock.monotonic() + _TOLERANCE_SECONDS >= until:
                return None
            raise
        return source if summary is None else summary

    def _store(self, request: ExtraRequest, result: Result | Vb365Error) -> bool:
        """Store a result or failure; return False if there are events left to fetch."""
        session_id, extra = request.session_id, request.extra
        if isinstance(result, StoppedError):
            return False  # a poller that continues with the ledger makes the request again
        if isinstance(result, Vb365Error):
            # Throttling does not use up one of a finished session's attempts.
            if result.reason is not Reason.THROTTLED:
                self._extras.record_failure(request, self._clock.now())
            self._anomalies.extra_failed(session_id, extra, result.reason, str(result))
        elif isinstance(result, Statistics):
            self._extras.accept(request, result, self._clock.now())
        elif isinstance(result, EventSummary):
            self._anomalies.unknown_values(result.unknown_values, session_id)
            if result.unreadable:
                error = f"{result.unreadable} records are not events, the others are counted"
                self._anomalies.extra_failed(session_id, extra, Reason.BAD_RESPONSE, error)
            self._extras.accept(request, result, self._clock.now())
        else:
            self._extras.places.pause(request, result, self._clock.now())
            return False
        return True
