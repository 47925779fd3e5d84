"""One poll of one server: which requests it makes, in which order, and what it publishes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import inf

import structlog

from exporter.config import ServerConfig
from exporter.polling.anomalies import Anomalies
from exporter.polling.clock import Clock, Moment
from exporter.polling.extras_fetcher import ExtrasFetcher
from exporter.polling.health import Heartbeat, PollFailure
from exporter.polling.intake import Intake
from exporter.polling.interfaces import Api, PollObserver
from exporter.polling.outcome import PollOutcome
from exporter.polling.parallel_requests import ParallelRequests
from exporter.polling.plan import ListRequest
from exporter.polling.server_details import ServerDetails
from exporter.polling.server_state import ServerState
from exporter.polling.snapshot import Snapshot
from exporter.vb365.errors import NotFoundError, Vb365Error, would_recur
from exporter.vb365.records.restore_session import Rejection, RestoreSession

log = structlog.get_logger()

# Retries end within the poll interval: a server that rejects requests must not look like a slow one.
_RETRY_SHARE = 0.9
# Extras end early enough for the next poll, and do not delay the changes that the change feed reports for long.
_EXTRAS_SHARE = 0.5


class Poller:
    """Polls one server and publishes snapshots, in the thread of the poll loop.

    Args:
        server: the server's configuration.
        api: its API.
        state: its sessions and everything else that is known of it.
        clock: the process's clocks.
        observer: counts polls and anomalies.
        publish: receives every new snapshot.
        mark_down: shows the server as down, for this reason, until the next poll ends.
        stop: aborts the poll.
        on_changed: receives the sessions found, started or finished, after their extras were fetched.

    Attributes:
        anomalies: counts and logs anomalies in responses.
        heartbeat: shows whether the poll loop is stuck.
        polled_once: set when the first poll has ended.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        state: ServerState,
        clock: Clock,
        observer: PollObserver,
        publish: Callable[[Snapshot], None],
        stop: threading.Event,
        mark_down: Callable[[str], None] = lambda _reason: None,
        on_changed: Callable[[tuple[RestoreSession, ...]], None] = lambda _sessions: None,
    ) -> None:
        self._server = server
        self._api = api
        self._state = state
        self._ledger = ledger = state.ledger
        self._clock = clock
        self._stop = stop
        self._on_changed = on_changed
        self._parallel = ParallelRequests(
            server.max_concurrent_requests,
            name=f"get-{server.name}",
            stop=stop,
            clock=clock.monotonic,
        )
        self.anomalies = Anomalies(server, observer)
        self.heartbeat = Heartbeat(server, clock)
        self._intake = Intake(
            server,
            api=api,
            state=state,
            clock=clock,
            anomalies=self.anomalies,
            heartbeat=self.heartbeat,
        )
        self._outcome = PollOutcome(
            server,
            api=api,
            state=state,
            observer=observer,
            now=self._intake.now,
            timestamp=clock.timestamp,
            publish=publish,
            mark_down=mark_down,
        )
        self.polled_once = threading.Event()
        self._details = ServerDetails(
            server,
            api=api,
            state=state,
            anomalies=self.anomalies,
            clock=clock,
            heartbeat=self.heartbeat,
        )
        self._extras_fetcher = ExtrasFetcher(
            ledger.extras,
            api=api,
            parallel=self._parallel,
            clock=clock,
            anomalies=self.anomalies,
            heartbeat=self.heartbeat,
        )

    def poll(self, *, end_extras_at: float = inf) -> None:
        """Poll once: fetch lists, then sessions by id, publish, then fetch organizations and extras.

        Errors while fetching are recorded and logged, not raised.

        Args:
            end_extras_at: when requests for organizations and extras end, in monotonic seconds, if not earlier. Organizations
                that are overdue may take five seconds longer, once an hour.

        Raises:
            Exception: the result cannot be published or passed on; pass the exception to `fail_uncompleted`.
        """
        started = self._intake.now()
        self._outcome.begin(started)
        proceed = self._fetch_sessions(started)
        if self._stop.is_set():
            return  # an aborted poll shows nothing about the server
        self._intake.check_times()
        self._outcome.end()
        self.polled_once.set()
        until = self._end_of_extras(end_extras_at)
        if proceed and self._details.fetch_organizations(until):
            self._outcome.publish_snapshot()
        self._fetch_extras(until, of_finished=None if proceed else ())

    def fail_uncompleted(self, error: Exception) -> None:
        """Process an exception from a poll or from what follows it; if a result is unpublished, show the server as down."""
        self._outcome.fail_uncompleted(error)
        self.polled_once.set()

    # The steps of a poll, in order

    def _fetch_sessions(self, started: Moment) -> bool:
        """Fetch everything that may have changed; return whether to fetch organizations and extras."""
        try:
            self._ledger.begin_poll(started)
            with self._api.retrying_until(
                started.monotonic + _RETRY_SHARE * self._server.poll_interval
            ):
                trust_404 = self._fetch_lists(started)
                self._fetch_unconfirmed(trust_404=trust_404)
        except Exception as error:  # noqa: BLE001 - `abort` logs it
            self._outcome.abort(error, stopped=self._stop.is_set())
            return False
        return trust_404  # a server whose lists fail would use up the attempts of extras

    def _fetch_lists(self, started: Moment) -> bool:
        """Fetch the lists that are due, or else the version; return whether a 404 may be believed.

        Raises:
            Vb365Error: the poll cannot continue.
        """
        lists = self._ledger.due_lists(started)
        trust_404 = False
        try:
            if not lists:
                self._details.fetch_version()
                self._ledger.confirm_finished(self._intake.now())
                return True
            self._details.fetch_version_if_due(started, self._outcome.tolerate)
            for request in lists:
                self._intake.read_list(request)
                trust_404 = True
            next_list = self._ledger.due_lists(self._intake.now())[0]
            if next_list.replaces(lists[0]):
                self._intake.read_list(next_list)
        except Vb365Error as error:
            self._outcome.tolerate(error)
        return trust_404

    def _fetch_unconfirmed(self, *, trust_404: bool) -> None:
        """Fetch the sessions that no list has confirmed: by id, or with another list if that is cheaper.

        Raises:
            Vb365Error: the poll cannot continue.
        """
        session_ids = self._ledger.unconfirmed()
        cheaper = self._ledger.cheaper_list(session_ids) if trust_404 else None
        if cheaper is not None:
            self._try_list(cheaper)
            session_ids = self._ledger.unconfirmed()
        not_found: list[str] = []
        for session_id, response in self._parallel.fetch_all(session_ids, self._api.get_session):
            self.heartbeat.beat()
            if isinstance(response, RestoreSession):
                self._intake.accept([response])
            elif isinstance(response, Rejection):
                self._reject(session_id, response)
            elif isinstance(response, NotFoundError) and trust_404:
                not_found.append(session_id)
            else:
                self._outcome.failures.append(PollFailure.of_session(session_id, response))
        self._verify_not_found(not_found)

    def _reject(self, session_id: str, rejection: Rejection) -> None:
        """Record an unreadable response. A session known as finished stays as it was; for any other, the poll fails."""
        self.anomalies.rejected(rejection)
        known = self._ledger.find(session_id)
        if known is not None and known.stopped:
            self._intake.accept([known])
        else:
            self._outcome.failures.append(PollFailure.of_session(session_id, rejection))

    def _verify_not_found(self, session_ids: Iterable[str]) -> None:
        """Believe 404s by id as far as a list of this poll agrees; if none covers the sessions, fetch one that does.

        Raises:
            Vb365Error: the poll cannot continue.
        """
        if (verifying := self._ledger.resync.verifying_list(session_ids)) is not None:
            self._try_list(verifying)
        for session_id in session_ids:
            if not self._ledger.mark_not_found(session_id, self._intake.now()):
                self._outcome.failures.append(PollFailure.of_unconfirmed_404(session_id))
            elif session_id in self._server.sessions.ids:
                self.anomalies.unknown_id(session_id)

    def _try_list(self, request: ListRequest) -> None:
        """Read a list; raise only an error after which the poll cannot continue."""
        try:
            self._intake.read_list(request)
        except Vb365Error as error:
            self._outcome.tolerate(error)

    def _end_of_extras(self, end_at: float) -> float:
        # Counted from now: sessions that take half of the poll interval would otherwise leave no time for extras.
        return min(self._clock.monotonic() + _EXTRAS_SHARE * self._server.poll_interval, end_at)

    def _fetch_extras(self, until: float, *, of_finished: Iterable[str] | None) -> None:
        """Fetch extras, which may take long, publish them, and pass on the sessions that started or finished."""
        try:
            if self._extras_fetcher.fetch(until, of_finished=of_finished):
                self._outcome.publish_snapshot()
        except Exception:
            log.exception(
                "extras aborted by unexpected error, next poll retries", server=self._server.name
            )
        if not self._stop.is_set():
            self.pass_on_changed()

    def pass_on_changed(self) -> None:
        """Pass on the sessions that started or finished. Once stopped, a poller that continues with the state does so."""
        self._state.unreported += self._ledger.take_changed()
        if self._state.unreported:
            self._on_changed(self._state.unreported)
            self._state.unreported = ()  # only now: if it fails, the next poll reports them again

    # Between polls

    def fetch(self, session_ids: Iterable[str], *, until: float) -> Iterator[tuple[str, bool]]:
        """Fetch sessions by id; yield the id of each, and whether the server has it. Does not publish.

        Errors are not raised: the next poll retries and reports them.

        Args:
            session_ids: the sessions.
            until: when requests end, in monotonic seconds.
        """
        get = partial(self._api.get_session, until=until)
        for session_id, response in self._parallel.fetch_all(
            session_ids, get, until=until, ends_group=would_recur
        ):
            self.heartbeat.beat()
            if isinstance(response, RestoreSession):
                self._intake.accept([response])
            if not isinstance(response, Vb365Error) or isinstance(response, NotFoundError):
                yield session_id, not isinstance(response, NotFoundError)

    def publish(self, finished: Iterable[str], *, end_extras_at: float) -> None:
        """Publish the present state, then with extras, and pass on the sessions that started or finished.

        Args:
            finished: the sessions whose extras to fetch, if they have just finished.
            end_extras_at: when their requests end, in monotonic seconds, if not earlier.
        """
        self._outcome.publish_snapshot()
        self._fetch_extras(self._end_of_extras(end_extras_at), of_finished=finished)
