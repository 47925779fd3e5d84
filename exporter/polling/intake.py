"""Takes sessions into the ledger, from lists and one by one, dated by the server's own time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from exporter.config import ServerConfig
from exporter.polling.anomalies import Anomalies
from exporter.polling.clock import Clock, Moment
from exporter.polling.health import Heartbeat
from exporter.polling.interfaces import Api
from exporter.polling.plan import ListRequest, max_listed_sessions
from exporter.polling.resync import ListLoss
from exporter.polling.server_state import ServerState
from exporter.polling.server_time import agree, is_ahead
from exporter.vb365.lists import ListedIds
from exporter.vb365.paging import MAX_LIST_SECONDS, check_list_time, reread_if_moved
from exporter.vb365.records.restore_session import Page, RestoreSession

log = structlog.get_logger()

# No time zone explains a larger difference.
_MAX_CLOCK_DIFFERENCE = timedelta(days=1)


class Intake:
    """Reads lists, takes sessions into a ledger, and records their anomalies.

    Args:
        server: the server's configuration.
        api: its API, which knows the server's time.
        state: its ledger takes the sessions.
        clock: the process's clocks.
        anomalies: counts and logs anomalies.
        heartbeat: beats with every page of a list.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        state: ServerState,
        clock: Clock,
        anomalies: Anomalies,
        heartbeat: Heartbeat,
    ) -> None:
        self._server = server
        self._api = api
        self._state = state
        self._ledger = state.ledger
        self._clock = clock
        self._anomalies = anomalies
        self._heartbeat = heartbeat
        self._repeated: set[str] = set()  # ids on two pages of the last list with such ids
        self._max_sessions = max_listed_sessions(server.sessions.max_sessions)

    def now(self) -> Moment:
        """Return the present moment, with the server's own time if the server sends it, or sent it before a reload.

        What to request and keep thus follows the clock that dates the sessions, not this machine's, which may have been
        wrong at startup.
        """
        moment = self._clock.now()
        server_time = self._api.server_time
        if server_time is None:
            return replace(moment, wall=moment.wall + self._state.clock_ahead)
        self._state.clock_ahead = server_time - moment.wall
        own_time = datetime.fromtimestamp(self._clock.timestamp(), UTC)
        return replace(moment, wall=server_time, is_confirmed=agree(own_time, server_time))

    def check_times(self) -> None:
        """Log once if the server treats times in a way that may hide sessions.

        If its clock is ahead of this machine's, perhaps only in the `Date` that a proxy sends, sessions seem past their
        lookback.
        """
        server_ahead = self.now().wall - self._clock.now().wall
        if abs(server_ahead) > _MAX_CLOCK_DIFFERENCE:
            self._anomalies.clocks_differ(server_ahead)
        if self._ledger.resync.late_lists.are_late:
            self._anomalies.filter_is_late()

    def accept(self, sessions: Sequence[RestoreSession]) -> None:
        """Take the sessions of a response that was just received."""
        moment = self.now()
        for session in sessions:
            if is_ahead(session.creation_time, moment.wall):
                self._anomalies.created_ahead(session, moment.wall)
            if session.unknown_values:
                self._anomalies.unknown_values(session.unknown_values, session.id)
        self._ledger.observe(sessions, moment)

    # Lists

    def read_list(self, request: ListRequest) -> None:
        """Read a list as far as requested.

        Raises:
            RecordsMovedError: sessions moved between its pages at every attempt; some may be missing.
            BadResponseError: all attempts together took longer than half an hour.
            Vb365Error: a page could not be fetched.
        """
        end_at = self.now().monotonic + MAX_LIST_SECONDS
        reread_if_moved(
            lambda page_size: self._read_once(request, page_size, end_at),
            on_moved=self._log_moved,
        )

    def _log_moved(self) -> None:
        log.info(
            "sessions moved while they were listed, reading the list again",
            server=self._server.name,
        )

    def _read_once(self, request: ListRequest, page_size: int, end_at: float) -> None:
        resync = self._ledger.resync
        self._ledger.begin_list(request)
        listed = self._read_pages(request, page_size, end_at)
        if self._ledger.sessions_listed is None and not listed and not resync.is_incomplete:
            # A server that is starting may list nothing at first, and what the first list lacks would count as new.
            listed = self._read_pages(request, page_size, end_at)
        loss = self._ledger.end_list(request, self.now())
        if loss is not None:
            self._log_loss(loss)
        if request.is_full:
            if loss is None or not loss.is_most:
                self._log_fewer(listed)
            self._ledger.sessions_listed = listed

    def _log_loss(self, loss: ListLoss) -> None:
        share = "more than half" if loss.is_most else "many"
        missing = f"full list is missing {share} of the known sessions"
        if loss.believed:
            event = f"{missing} again, accepting it"
        else:
            event = f"{missing}, listing again in the next poll"
        write = log.warning if loss.is_most else log.info
        write(event, server=self._server.name, sessions=loss.stored, missing=loss.lost)

    def _log_fewer(self, listed: int) -> None:
        """Log a list with less than half of the previous one; the ledger does not notice missing sessions past their lookback."""
        before = self._ledger.sessions_listed or 0
        if 2 * listed < before:
            log.warning(
                "full list has less than half of the sessions of the previous list",
                server=self._server.name,
                before=before,
                listed=listed,
            )

    def _read_pages(self, request: ListRequest, page_size: int, end_at: float) -> int:
        """Read the pages; return how many sessions are listed.

        Raises:
            RecordsMovedError: a session is on two pages, so that others may be missing. If the server lists it twice at the
                next attempt, too, it always does.
        """
        read = 0
        listed = ListedIds()
        pages = self._api.list_sessions(created_since=request.created_since, page_size=page_size)
        for number, page in enumerate(pages, start=1):
            self._heartbeat.beat()
            if read >= self._max_sessions:
                self._ledger.resync.cut_list()
                self._anomalies.list_cut(read)
                break
            # If this ends the list, the poll fetches by id what the list has not confirmed.
            check_list_time(self.now().monotonic, end_at)
            self._take(page)
            read += len(page.sessions) + len(page.rejections)
            listed.add(page.ids)
            if request.max_pages is not None and (
                number >= request.max_pages or not self._ledger.unconfirmed()
            ):
                break
        if listed.check(self._repeated, "list"):
            self._anomalies.listed_twice()
        return len(listed.ids)

    def _take(self, page: Page) -> None:
        for rejection in page.rejections:
            self._ledger.resync.add_unreadable(rejection.session_id)
            self._anomalies.rejected(rejection)
        self.accept(page.sessions)
