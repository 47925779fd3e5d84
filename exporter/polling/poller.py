"""One poll of one server, readable on one screen, and the loop around it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Protocol

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Clock, Moment
from exporter.polling.failure import PollFailure, ends_poll, is_server_wide
from exporter.polling.ledger import PAGE_SESSIONS, WALK_EVERY_SECONDS, Ledger, ListRequest
from exporter.polling.snapshot import ServerStatus, Snapshot
from exporter.vb365.client import Page, ServiceInstance
from exporter.vb365.errors import ForbiddenError, NotFoundError, Reason, Vb365Error
from exporter.vb365.model import Rejection, RestoreSession

__all__ = ["Api", "PollObserver", "Poller"]

log = structlog.get_logger()

# Retries end inside the poll interval: a server that refuses must not look like one that is too slow.
_RETRY_SHARE = 0.9
# Three prefixes tried, a login, and the request itself: each may take 6 x timeout.
_REQUESTS_FOR_ONE_ANSWER = 5
_HEARTBEAT_MARGIN_SECONDS = 30.0
_LOGGED_ODDITIES = 200


class Api(Protocol):
    """What a poller needs of `exporter.vb365.client.Client`."""

    @property
    def api_version(self) -> str | None:
        """The prefix in use, None until it is known."""

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate the server showed last expires."""

    def poll(self, deadline: float) -> AbstractContextManager[None]:
        """Bound the retries of the requests within by monotonic seconds."""

    def service_instance(self) -> ServiceInstance:
        """Ask what the server is."""

    def list_sessions(self, *, created_since: datetime | None, page_size: int) -> Iterator[Page]:
        """Ask for sessions page by page, newest first."""

    def get_session(self, session_id: str) -> RestoreSession | Rejection:
        """Ask for one session."""


class PollObserver(Protocol):
    """Who counts what polls come across; the exporter's own metrics."""

    def polled(self, reason: Reason | None) -> None:
        """A poll has ended, well or with its first failure's reason."""

    def overran(self) -> None:
        """A poll took longer than the poll interval."""

    def rejected(self, reason: str) -> None:
        """A record was no restore session."""

    def unknown_value(self, field: str) -> None:
        """A record held an enum value that is not known."""


class Poller:
    """Asks one server again and again, and publishes a snapshot after every poll.

    The only writer of the server's ledger. `run` is the body of its thread.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        ledger: Ledger,
        clock: Clock,
        observer: PollObserver,
        publish: Callable[[Snapshot], None],
        stop: threading.Event,
        first_gap_seconds: float | None = None,
    ) -> None:
        self._server = server
        self._api = api
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._publish = publish
        self._stop = stop
        self._first_gap_seconds = first_gap_seconds or server.poll_interval
        self._workers = ThreadPoolExecutor(
            max_workers=server.max_concurrent_requests, thread_name_prefix=f"get-{server.name}"
        )
        self._status = ServerStatus(tls_verified=not server.tls_config.insecure_skip_verify)
        self._failures: list[PollFailure] = []
        self._failed_before: PollFailure | None = None
        self._logged_oddities: set[tuple[str, ...]] = set()
        self._identify_due_at = -inf
        self._heartbeat = clock.monotonic()
        self.polled_once = threading.Event()

    # The loop

    def run(self) -> None:
        """Poll until stopped; polls never overlap, and one that overran is followed by the next at once."""
        interval = self._server.poll_interval
        due = self._clock.monotonic()
        gap = self._first_gap_seconds
        while not self._stop.is_set():
            begun = self._clock.monotonic()
            self.poll()
            now = self._clock.monotonic()
            if now - begun > interval:
                self._overran(now - begun)
                due = now
            else:
                due = max(
                    due + gap, now
                )  # polls that a frozen process has missed are not made up for
                gap = interval
            self._stop.wait(max(0.0, due - now))
            self._beat()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def healthy(self) -> bool:
        """False when the loop has not moved for longer than its own longest wait allows."""
        one_answer = _REQUESTS_FOR_ONE_ANSWER * 6 * self._server.timeout
        allowed = self._server.poll_interval + one_answer + _HEARTBEAT_MARGIN_SECONDS
        return self._clock.monotonic() - self._heartbeat < allowed

    # One poll

    def poll(self) -> None:
        """Ask for everything that can have changed and publish what was answered. Never raises."""
        begun = self._clock.now()
        self._failures = []
        try:
            self._ledger.begin_poll(begun)
            with self._api.poll(begun.monotonic + _RETRY_SHARE * self._server.poll_interval):
                vouched, reachable = self._ask_server(begun)
                if reachable:
                    self._ask_ids(vouched=vouched)
        except Exception as error:
            defect = PollFailure(reason=Reason.INTERNAL, message=type(error).__name__)
            if defect != self._failed_before and not self._stop.is_set():
                log.exception("poll broke off", server=self._server.name)
            self._failures.append(defect)
        if self._stop.is_set():
            return  # an abandoned poll says nothing about the server
        ended = self._clock.now()
        self._ledger.end_poll(ended, complete=not self._failures)
        self._conclude(begun, ended)

    def _ask_server(self, begun: Moment) -> tuple[bool, bool]:
        """Ask for what the server has; returns whether it answered for itself, and whether it makes sense to go on."""
        lists = self._ledger.lists(begun)
        vouched = False
        try:
            if not lists:
                self._identify()
                self._ledger.vouch(self._clock.now())
                return True, True
            if self._status.version is None or begun.monotonic >= self._identify_due_at:
                self._identify_due_at = begun.monotonic + WALK_EVERY_SECONDS
                self._identify_if_allowed()
            for request in lists:
                self._read_list(request)
                vouched = True
        except Vb365Error as error:
            self._failed(error)
            return vouched, not ends_poll(error)
        return vouched, True

    def _ask_ids(self, *, vouched: bool) -> None:
        """Ask one by one for what no list has shown, or with a list where that is cheaper for the server."""
        wanted = self._ledger.unconfirmed()
        instead = self._ledger.list_instead(wanted) if vouched else None
        if instead is not None:
            try:
                self._read_list(instead)
            except Vb365Error as error:
                self._failed(error)
                if ends_poll(error):
                    return
            wanted = self._ledger.unconfirmed()
        for session_id, answer in self._get_all(wanted):
            self._beat()
            if isinstance(answer, RestoreSession):
                self._take(answer, self._clock.now())
            elif isinstance(answer, Rejection):
                self._reject(answer)
                why = f"session {session_id} cannot be read: {answer.reason}"
                self._fail(Reason.BAD_RESPONSE, why, of_one_session=True)
            elif isinstance(answer, NotFoundError) and vouched:
                self._ledger.missing(session_id, self._clock.now())
            elif is_server_wide(answer):
                self._failed(answer)
            else:
                self._fail(answer.reason, f"session {session_id}: {answer}", of_one_session=True)

    def _identify(self) -> None:
        """Ask which version the server is."""
        self._status = replace(self._status, version=self._api.service_instance().version)
        self._beat()

    def _identify_if_allowed(self) -> None:
        """The same where the answer is nice to have: sessions can be listed without it."""
        try:
            self._identify()
        except ForbiddenError:
            self._status = replace(self._status, version="")
        except Vb365Error as error:
            if ends_poll(error):
                raise
            self._failed(error)

    def _read_list(self, request: ListRequest) -> None:
        self._ledger.begin_list(request)
        pages = self._api.list_sessions(
            created_since=request.created_since, page_size=PAGE_SESSIONS
        )
        for number, page in enumerate(pages, start=1):
            self._beat()
            for rejection in page.rejections:
                self._ledger.unreadable()
                self._reject(rejection)
            answered = self._clock.now()
            for session in page.sessions:
                self._take(session, answered)
            if request.most_pages is not None and (
                number >= request.most_pages or not self._ledger.unconfirmed()
            ):
                break
        self._ledger.end_list(request, self._clock.now())

    def _get_all(
        self, session_ids: Iterable[str]
    ) -> Iterator[tuple[str, RestoreSession | Rejection | Vb365Error]]:
        """Ask for sessions by id, several at a time; ends early when the server itself is the trouble."""
        abandon = threading.Event()

        def get(session_id: str) -> RestoreSession | Rejection | Vb365Error | None:
            if abandon.is_set() or self._stop.is_set():
                return None
            try:
                return self._api.get_session(session_id)
            except Vb365Error as error:
                if is_server_wide(error):
                    abandon.set()
                return error

        session_ids = tuple(session_ids)
        answers = (
            map(get, session_ids) if len(session_ids) == 1 else self._workers.map(get, session_ids)
        )
        for session_id, answer in zip(session_ids, answers, strict=True):
            if answer is not None:
                yield session_id, answer

    def _take(self, session: RestoreSession, answered: Moment) -> None:
        for unknown in session.unknown_values:
            self._observer.unknown_value(unknown.field)
            if self._is_new_oddity("unknown", unknown.field, unknown.value):
                log.warning(
                    "unknown value shown as Unknown",
                    server=self._server.name,
                    field=unknown.field,
                    value=unknown.value,
                    session_id=session.id,
                )
        self._ledger.observe(session, answered)

    def _reject(self, rejection: Rejection) -> None:
        self._observer.rejected(rejection.reason)
        if self._is_new_oddity("rejected", rejection.reason, rejection.field):
            log.warning(
                "record rejected, the others are served",
                server=self._server.name,
                reason=rejection.reason,
                field=rejection.field,
                session_id=rejection.session_id,
            )

    # How it ended

    def _conclude(self, begun: Moment, ended: Moment) -> None:
        failure = self._failures[0] if self._failures else None
        self._log_change(failure, ended)
        self._observer.polled(failure.reason if failure else None)
        timestamp = self._clock.timestamp()
        failing_since = self._status.failing_since
        up_since = self._status.up_since
        self._status = replace(
            self._status,
            up=failure is None,
            failure_reason=failure.reason if failure else None,
            failure_message=failure.message if failure else None,
            failing_since=(failing_since or begun.monotonic) if failure else None,
            up_since=None if failure else (up_since or begun.monotonic),
            api_version=self._api.api_version,
            certificate_not_after=self._api.certificate_not_after,
            last_poll_timestamp=timestamp,
            last_success_timestamp=self._status.last_success_timestamp if failure else timestamp,
            last_poll_duration_seconds=ended.monotonic - begun.monotonic,
        )
        self._publish(self._ledger.snapshot(self._status))
        self.polled_once.set()

    def _log_change(self, failure: PollFailure | None, ended: Moment) -> None:
        """Say when a failure starts, changes and ends; not at every poll."""
        before = self._status
        if failure is None:
            if before.failing_since is not None:
                log.info(
                    "poll succeeded again",
                    server=self._server.name,
                    failed_for_seconds=round(ended.monotonic - before.failing_since, 1),
                )
            elif before.up is None:
                log.info("first poll succeeded", server=self._server.name, version=before.version)
        elif failure.is_news_after(self._failed_before):
            log.warning(
                "poll failed, what is not confirmed stays until it is stale",
                server=self._server.name,
                reason=failure.reason,
                error=failure.message,
                stale_after_seconds=self._server.stale_after,
            )
        self._failed_before = failure

    def _overran(self, seconds: float) -> None:
        self._observer.overran()
        if self._is_new_oddity("overrun"):
            log.warning(
                "poll took longer than the poll interval, the next one follows it",
                server=self._server.name,
                took_seconds=round(seconds, 1),
                poll_interval_seconds=self._server.poll_interval,
            )

    def _failed(self, error: Vb365Error) -> None:
        self._fail(error.reason, str(error))

    def _fail(self, reason: Reason, message: str, *, of_one_session: bool = False) -> None:
        self._failures.append(
            PollFailure(reason=reason, message=message, of_one_session=of_one_session)
        )

    def _is_new_oddity(self, *oddity: str) -> bool:
        if oddity in self._logged_oddities or len(self._logged_oddities) >= _LOGGED_ODDITIES:
            return False
        self._logged_oddities.add(oddity)
        return True

    def _beat(self) -> None:
        self._heartbeat = self._clock.monotonic()
