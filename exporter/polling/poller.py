"""One poll of one server, readable on one screen; and between polls, what the change feed names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import inf

import structlog

from exporter.config import ServerConfig
from exporter.polling.clock import Clock, Moment
from exporter.polling.completion import ExtrasFetcher
from exporter.polling.extras import ExtraRequest
from exporter.polling.failure import PollFailure, ends_poll, is_server_wide
from exporter.polling.interfaces import Api, PollObserver
from exporter.polling.ledger import RESYNC_SECONDS, Ledger
from exporter.polling.oddities import Anomalies
from exporter.polling.plan import PAGE_SIZE, ListRequest
from exporter.polling.snapshot import Snapshot
from exporter.polling.status import ServerHealth
from exporter.polling.workers import Workers
from exporter.vb365.errors import ForbiddenError, NotFoundError, Reason, Vb365Error
from exporter.vb365.records.changes import ChangeKind, SessionChange
from exporter.vb365.records.restore_session import Rejection, RestoreSession

__all__ = ["Poller"]

log = structlog.get_logger()

# Retries end inside the poll interval: a server that refuses must not look like one that is too slow.
_RETRY_SHARE = 0.9
# Three prefixes tried, a login, and the request itself: each may take 6 x timeout.
_REQUESTS_FOR_ONE_ANSWER = 5
_HEARTBEAT_MARGIN_SECONDS = 30.0

_MANY_CHANGES = 50
"""From so many sessions on that the change feed names, a poll may be cheaper for the server."""


class Poller:
    """Asks one server and publishes a snapshot of what it answered. The only writer of the server's ledger.

    Args:
        server: whom to poll, and how.
        api: its API.
        ledger: what is known of its sessions.
        clock: the process's clocks.
        observer: counts what polls come across.
        publish: takes every new snapshot.
        record: takes the sessions that began or ended, as they are known by the end of a poll.
        stop: abandons it.
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
        record: Callable[[tuple[RestoreSession, ...]], None] = lambda _sessions: None,
    ) -> None:
        self._server = server
        self._api = api
        self._ledger = ledger
        self._clock = clock
        self._observer = observer
        self._publish = publish
        self._stop = stop
        self._record = record
        self._workers = Workers(
            server.max_concurrent_requests, name=f"get-{server.name}", stop=stop
        )
        self._book = ServerHealth(server)
        self._oddities = Anomalies(server, observer)
        self._completion = ExtrasFetcher(
            api=api,
            extras=ledger.extras,
            workers=self._workers,
            clock=clock,
            oddities=self._oddities,
            beat=self.beat,
        )
        self._failures: list[PollFailure] = []
        self._identify_due_at = -inf
        self._heartbeat = clock.monotonic()
        self.polled_once = threading.Event()

    def beat(self) -> None:
        """Say that the poller's thread moves."""
        self._heartbeat = self._clock.monotonic()

    def healthy(self) -> bool:
        """False when the loop has not moved for longer than its own longest wait allows."""
        one_answer = _REQUESTS_FOR_ONE_ANSWER * 6 * self._server.timeout
        allowed = self._server.poll_interval + one_answer + _HEARTBEAT_MARGIN_SECONDS
        return self._clock.monotonic() - self._heartbeat < allowed

    def close(self) -> None:
        """End its threads."""
        self._workers.close()

    # One poll

    def poll(self, *, full_list: bool = False) -> None:
        """Ask for everything that can have changed and publish what was answered. Never raises.

        Args:
            full_list: ask also for what changes without a trace, as once an hour: whether finished sessions are still there.
        """
        begun = self._clock.now()
        self._failures = []
        reachable = False
        if full_list:
            self._ledger.request_resync()
        try:
            self._ledger.begin_poll(begun)
            with self._api.poll(begun.monotonic + _RETRY_SHARE * self._server.poll_interval):
                vouched, reachable = self._ask_server(begun)
                if reachable:
                    self._ask_ids(vouched=vouched)
        except Exception as error:
            defect = PollFailure(reason=Reason.INTERNAL, message=type(error).__name__)
            if self._book.is_news(defect) and not self._stop.is_set():
                log.exception("poll broke off", server=self._server.name)
            self._failures.append(defect)
        if self._stop.is_set():
            return  # an abandoned poll says nothing about the server
        ended = self._clock.now()
        self._ledger.end_poll(ended, complete=not self._failures)
        failure = self._failures[0] if self._failures else None
        self._book.concluded(failure, begun, ended, self._clock.timestamp())
        self._observer.polled(failure.reason if failure else None)
        self._tell()
        self.polled_once.set()
        self._complete(self._ledger.extras.due() if reachable else ())

    def overran(self, seconds: float) -> None:
        """A poll took so long, which is longer than the poll interval."""
        self._oddities.overran(seconds)

    def follow(self, changes: Iterable[SessionChange]) -> None:
        """Take in what the change feed tells between polls: ask for exactly the sessions it names. Never raises.

        What is not answered is left to the next poll, which also says why.
        """
        updated = []
        try:
            for change in changes:
                if change.kind is ChangeKind.DELETE:
                    self._ledger.missing(change.session_id, self._clock.now())
                elif self._ledger.is_news(change):
                    self._ledger.ask_again(change.session_id)
                    updated.append(change.session_id)
            if len(updated) >= _MANY_CHANGES:
                self.poll()
                return
            for _, answer in self._workers.ask_all(updated, self._api.get_session):
                self.beat()
                if isinstance(answer, RestoreSession):
                    self._take(answer, self._clock.now())
        except Exception:
            log.exception("change feed could not be followed", server=self._server.name)
        if not self._stop.is_set():
            self._tell()
            # One that runs may change with every item, and its events may be many: that is left to the polls.
            self._complete(self._ledger.extras.due_of_ended(updated))

    def _tell(self) -> None:
        """Publish what is known now."""
        status = replace(
            self._book.status,
            api_version=self._api.api_version,
            certificate_not_after=self._api.certificate_not_after,
        )
        self._publish(self._ledger.snapshot(status))

    def _complete(self, due: Iterable[ExtraRequest]) -> None:
        """Ask for extras once all else is told, as they may take long; then hand on what began or ended, with them."""
        try:
            if self._completion.ask(due):
                self._tell()
        except Exception:
            log.exception("extras broke off", server=self._server.name)
        news = self._ledger.take_changed()
        if news and not self._stop.is_set():
            self._record(news)

    # What to ask

    def _ask_server(self, begun: Moment) -> tuple[bool, bool]:
        """Ask for what the server has; returns whether it answered for itself, and whether it makes sense to go on."""
        lists = self._ledger.lists(begun)
        vouched = False
        try:
            if not lists:
                self._identify()
                self._ledger.vouch(self._clock.now())
                return True, True
            if self._book.status.version is None or begun.monotonic >= self._identify_due_at:
                self._identify_due_at = begun.monotonic + RESYNC_SECONDS
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
        for session_id, answer in self._workers.ask_all(wanted, self._api.get_session):
            self.beat()
            if isinstance(answer, RestoreSession):
                self._take(answer, self._clock.now())
            elif isinstance(answer, Rejection):
                self._oddities.rejected(answer)
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
        self._book.identified(self._api.service_instance().version)
        self.beat()

    def _identify_if_allowed(self) -> None:
        """The same where the answer is nice to have: sessions can be listed without it."""
        try:
            self._identify()
        except ForbiddenError:
            self._book.identified("")
        except Vb365Error as error:
            if ends_poll(error):
                raise
            self._failed(error)

    def _read_list(self, request: ListRequest) -> None:
        self._ledger.begin_list(request)
        pages = self._api.list_sessions(created_since=request.created_since, page_size=PAGE_SIZE)
        for number, page in enumerate(pages, start=1):
            self.beat()
            for rejection in page.rejections:
                self._ledger.unreadable()
                self._oddities.rejected(rejection)
            answered = self._clock.now()
            for session in page.sessions:
                self._take(session, answered)
            if request.most_pages is not None and (
                number >= request.most_pages or not self._ledger.unconfirmed()
            ):
                break
        self._ledger.end_list(request, self._clock.now())

    # What was answered

    def _take(self, session: RestoreSession, answered: Moment) -> None:
        self._oddities.unknown_values(session.unknown_values, session.id)
        self._ledger.observe(session, answered)

    def _failed(self, error: Vb365Error) -> None:
        self._fail(error.reason, str(error))

    def _fail(self, reason: Reason, message: str, *, of_one_session: bool = False) -> None:
        self._failures.append(
            PollFailure(reason=reason, message=message, of_one_session=of_one_session)
        )
