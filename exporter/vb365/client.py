"""The operations of a VB365 server's API that the exporter needs."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, urlsplit

from exporter.config.model import ServerConfig
from exporter.vb365.errors import BadResponseError, NotFoundError
from exporter.vb365.event_reader import MAX_EVENT_PAGES, EventReader
from exporter.vb365.http.transport import RequestObserver, Transport
from exporter.vb365.lists import iter_session_pages, read_organizations
from exporter.vb365.login import LoginThrottle, login_throttle_for
from exporter.vb365.paging import MAX_PAGES
from exporter.vb365.records.changes import Changes, parse_changes
from exporter.vb365.records.extras import Statistics, parse_statistics
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.organization import Organization, OrganizationRejection
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession, parse_session
from exporter.vb365.rest import RestApi
from exporter.vb365.retry import NO_RETRY, Pauses, Retrier
from exporter.vb365.versions import parse_product_version

_CHANGES_PER_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clocks, waiting and randomness, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    """Seconds since 1970, for a `Retry-After` date in a response without `Date`."""
    wait: Callable[[float], bool] | None = None
    """Sleeps for a number of seconds and returns whether the client was stopped meanwhile. None for real time."""
    random: Callable[[], float] = random.random
    """Returns a number from 0 up to 1."""


class Client:
    """One server's API. Shared by threads.

    Failed requests are retried only within `retrying_until`, until its deadline.

    Every operation raises Vb365Error if it fails, and StoppedError, within a tenth of a second, when the client is
    closed or `stop` is set. Only a name resolution in progress delays that, until the resolver returns. Operations with
    `until` abort their requests at that moment of the monotonic clock.

    Before the first operation, no request is made and no file is read.

    Args:
        server: the configuration.
        observer: counts requests and retries.
        stop: ends waits and requests in progress.
        timing: clocks, waiting and randomness.
        login_throttle: by default, the one that all clients of this server share.
        pauses: those that the server has requested from a previous client of the same account; None without one.
        transport: makes the HTTP exchanges; by default, one with the default size limit.
        max_pages: the maximum number of pages of one list.
        max_event_pages: the maximum number of pages of one session's events.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        stop: threading.Event,
        timing: Timing | None = None,
        login_throttle: LoginThrottle | None = None,
        pauses: Pauses | None = None,
        transport: Transport | None = None,
        max_pages: int = MAX_PAGES,
        max_event_pages: int = MAX_EVENT_PAGES,
    ) -> None:
        timing = timing or Timing()
        self._max_pages = max_pages
        self._max_event_pages = max_event_pages
        self._clock = timing.clock
        self.pauses = pauses or Pauses()
        self._transport = transport or Transport(server, observer=observer, stop=stop)
        self._api = RestApi(
            server,
            transport=self._transport,
            retrier=Retrier(
                pauses=self.pauses,
                clock=timing.clock,
                wait=timing.wait or self._transport.cancellation.wait,
                random=timing.random,
                on_retry=observer.retry,
            ),
            login_throttle=login_throttle
            or login_throttle_for(urlsplit(server.url).netloc, clock=timing.clock),
            clock=timing.clock,
            wall_clock=timing.wall_clock,
        )
        self._product_version: str | None = None
        self._closing = threading.Lock()
        self._closed = False

    @property
    def api_version(self) -> str | None:
        """The API version (`v6`, `v7`, `v8`) selected most recently; None before the first detection."""
        return self._api.versions.selected

    @property
    def has_change_feed(self) -> bool:
        """Whether the selected API version has `change_feed`."""
        return self._api.versions.have_feed_and_statistics

    @property
    def has_statistics(self) -> bool:
        """Whether the selected API version has `statistics`."""
        return self._api.versions.have_feed_and_statistics

    @property
    def server_time(self) -> datetime | None:
        """The server's own time, from the `Date` of its newest successful response; None if it sends none."""
        return self._api.server_clock.now()

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the server's certificate expires, as of the newest connection; None before the first one."""
        return self._transport.certificate_not_after

    def reread_files(self) -> None:
        """Read the TLS files and a configured token again for the next request.

        A password is not reread: every login reads it, and the current token stays valid.
        """
        self._transport.reread_files()
        self._api.tokens.reread()

    @contextmanager
    def retrying_until(self, deadline: float) -> Iterator[None]:
        """Within this context, retry failed requests until `deadline`, a monotonic time.

        A newer API version is selected only here, so that all requests of a poll use the same one.
        """
        self._api.versions.upgrade()
        self._api.deadline = deadline
        try:
            yield
        finally:
            self._api.deadline = NO_RETRY

    def close(self) -> None:
        """Abort requests in progress, log out and close all connections.

        The log-out takes at most 2 s. It is skipped if the API has no logout, or the last request got no response.
        """
        with self._closing:
            if self._closed:
                return
            self._transport.cancel()
            if self._transport.reachable:
                self._api.log_out()
            self._transport.close()
            self._closed = True

    def served_versions(self) -> tuple[str, ...]:
        """Return the API versions that the server has, the newest first; no login is necessary."""
        return self._api.versions.served()

    def product_version(self) -> str:
        """Return the version of the product, empty if the server does not report it: `GET /{v}/ServiceInstance`.

        The API version is detected again if the server no longer has it, or if the product was updated.
        """
        selected = self._api.versions.current()
        try:
            body = self._get("service_instance", "ServiceInstance")
        except NotFoundError:
            self._api.versions.redetect()
            if self._api.versions.current() == selected:
                raise
            body = self._get("service_instance", "ServiceInstance")
        version = parse_product_version(body)
        if self._product_version not in {None, version}:
            self._api.versions.redetect()  # the update may have brought a newer one
        self._product_version = version
        return version

    def list_sessions(
        self, *, created_since: datetime | None, page_size: int = 1000
    ) -> Iterator[Page]:
        """Yield the restore sessions page by page: `GET /{v}/RestoreSessions`.

        Args:
            created_since: only sessions created after this aware datetime (`startTimeFrom`); None for all.
            page_size: the number of sessions to request at a time; the server may return fewer.

        Raises:
            RecordsMovedError: sessions were deleted or reordered while the list was read, so that some may be missing.
            BadResponseError: also at the end of a list that has records, but none that is readable.
        """
        return iter_session_pages(
            self._api,
            created_since=created_since,
            page_size=page_size,
            max_pages=self._max_pages,
        )

    def organizations(
        self,
        *,
        until: float = math.inf,
        on_rejected: Callable[[OrganizationRejection], None] = lambda _rejection: None,
    ) -> tuple[Organization, ...]:
        """Return the organizations that the account can see: `GET /{v}/Organizations`. Never retried.

        Only the first 10,000 are returned.

        Args:
            until: when the request is aborted, on the monotonic clock.
            on_rejected: called with each record that cannot be read, again if the list is read again.

        Raises:
            ForbiddenError: the account may not see organizations.
            BadResponseError: also if there are records, but none that is readable.
        """
        return read_organizations(self._api, until=until, on_rejected=on_rejected)

    def get_session(
        self, session_id: str, *, until: float = math.inf
    ) -> RestoreSession | Rejection:
        """Return one restore session: `GET /{v}/RestoreSessions/{id}`.

        A record that is not a session, or is another session, is returned as a rejection.

        Raises:
            NotFoundError: the server has no such session, or does not serve the API at all.
        """
        path = f"RestoreSessions/{quote(session_id, safe='')}"
        session = parse_session(self._get("get", path, until=until))
        if isinstance(session, Rejection) or session.id == session_id.lower():
            return session
        return Rejection(
            reason=RejectionReason.OTHER_SESSION, field="id", session_id=session_id.lower()
        )

    def statistics(self, session_id: str, *, until: float = math.inf) -> Statistics:
        """Return a session's item counts: `GET /v8/RestoreSessions/{id}/Statistics`. Never retried."""
        path = f"RestoreSessions/{quote(session_id, safe='')}/Statistics"
        statistics = parse_statistics(self._get("statistics", path, until=until))
        if statistics is None:
            raise BadResponseError("the response has no counts", operation="statistics")
        return statistics

    def events(self, session_id: str) -> EventReader:
        """Return a reader of a session's events."""
        return EventReader(
            self._api, session_id, clock=self._clock, max_pages=self._max_event_pages
        )

    def change_feed(self, change_token: str, *, long_poll_seconds: float) -> Changes:
        """Return the changes since a point in the feed: `GET /v8/Events`. Never retried.

        Args:
            change_token: `nextChangeToken` of the previous response, or `changes.LATEST`.
            long_poll_seconds: how long the server waits for a change (`timeoutSeconds`, in whole seconds).
        """
        query = {
            "from": change_token,
            "limit": _CHANGES_PER_PAGE,
            "timeoutSeconds": int(long_poll_seconds),
        }
        return parse_changes(
            self._api.get(
                "change_feed",
                self._api.target("Events", query),
                long_poll_seconds=long_poll_seconds,
            )
        )

    def _get(self, operation: str, path: str, *, until: float = math.inf) -> object:
        return self._api.get(operation, self._api.target(path), until=until)
