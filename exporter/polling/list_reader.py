"""Reads a list of sessions into the ledger, and rereads it if sessions moved between its pages."""

from __future__ import annotations

import structlog

from exporter.config import ServerConfig
from exporter.polling.anomalies import Anomalies
from exporter.polling.health import Heartbeat
from exporter.polling.intake import Intake
from exporter.polling.interfaces import Api
from exporter.polling.ledger import Ledger
from exporter.polling.plan import ListRequest, max_listed_sessions
from exporter.polling.resync import ListLoss
from exporter.vb365.errors import RecordsMovedError
from exporter.vb365.paging import MAX_LIST_SECONDS, check_list_time, reread_if_moved
from exporter.vb365.records.restore_session import Page

log = structlog.get_logger()


class ListReader:
    """Reads lists of one server's sessions.

    Args:
        server: the server's configuration.
        api: its API.
        ledger: its sessions.
        intake: takes the sessions into the ledger.
        anomalies: counts and logs anomalies.
        heartbeat: beats with every page.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        api: Api,
        ledger: Ledger,
        intake: Intake,
        anomalies: Anomalies,
        heartbeat: Heartbeat,
    ) -> None:
        self._server = server
        self._api = api
        self._ledger = ledger
        self._intake = intake
        self._anomalies = anomalies
        self._heartbeat = heartbeat
        self._repeated: set[str] = set()  # ids on two pages of the last list with such ids
        self._max_sessions = max_listed_sessions(server.sessions.max_sessions)

    def read(self, request: ListRequest) -> None:
        """Read a list as far as requested.

        Raises:
            RecordsMovedError: sessions moved between its pages at every attempt; some may be missing.
            BadResponseError: all attempts together took longer than half an hour.
            Vb365Error: a page could not be fetched.
        """
        end_at = self._intake.now().monotonic + MAX_LIST_SECONDS
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
        self._ledger.begin_list(request)
        listed = self._read_pages(request, page_size, end_at)
        loss = self._ledger.end_list(request, self._intake.now())
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
        listed = _ListedIds()
        pages = self._api.list_sessions(created_since=request.created_since, page_size=page_size)
        for number, page in enumerate(pages, start=1):
            self._heartbeat.beat()
            if read >= self._max_sessions:
                self._ledger.mark_incomplete(is_cut=True)
                self._anomalies.list_cut(read)
                break
            # After that time, the sessions that the list has not shown are fetched by id.
            check_list_time(self._intake.now().monotonic, end_at)
            self._take(page)
            read += len(page.sessions) + len(page.rejections)
            listed.add(page)
            if request.max_pages is not None and (
                number >= request.max_pages or not self._ledger.unconfirmed()
            ):
                break
        if listed.repeated - self._repeated:
            self._repeated = listed.repeated
            raise RecordsMovedError("sessions are on two pages of the list", operation="list")
        return len(listed.ids)

    def _take(self, page: Page) -> None:
        for rejection in page.rejections:
            self._ledger.mark_incomplete()
            self._anomalies.rejected(rejection)
        moment = self._intake.now()
        for session in page.sessions:
            self._intake.accept(session, moment)


class _ListedIds:
    """The ids on the pages of a list, and those on two pages. The first page may be repeated at the end of a list."""

    def __init__(self) -> None:
        self.ids: set[str] = set()
        self.repeated: set[str] = set()
        self._first_page: set[str] = set()

    def add(self, page: Page) -> None:
        ids = {one.id for one in page.sessions} | {one.session_id for one in page.rejections}
        ids.discard("")
        if 2 * len(ids & self._first_page) <= len(self._first_page):
            self.repeated |= ids & self.ids
        self.ids |= ids
        self._first_page = self._first_page or ids
