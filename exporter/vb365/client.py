"""Asking a VB365 server: the operations, with token, repetition, paging and API version taken care of."""

from __future__ import annotations

import random as random_numbers
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from exporter.vb365.access import Access
from exporter.vb365.calls import Calls
from exporter.vb365.errors import BadResponseError, NotFoundError
from exporter.vb365.http.deadlines import Cancellation
from exporter.vb365.http.transport import MAX_BODY_BYTES, RequestObserver, Transport
from exporter.vb365.instance import ServiceInstance, parse_service_instance
from exporter.vb365.login import LoginThrottle, login_throttle_for
from exporter.vb365.paging import MAX_PAGES, BaseUrl, iter_pages
from exporter.vb365.records.changes import Changes, parse_changes
from exporter.vb365.records.extras import EventSummary, EventTally, Statistics, parse_statistics
from exporter.vb365.records.restore_session import (
    Page,
    Rejection,
    RejectionReason,
    RestoreSession,
    parse_page,
    parse_session,
)
from exporter.vb365.retry import NO_RETRY, Retrier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from exporter.config.model import ServerConfig

__all__ = ["Client", "RequestObserver"]

_PAGE_EVENTS: Final = 500
"""About 0.4 MB of events: while they are decoded, nothing else in the process goes on, scrapes neither."""
_FEED_PAGE_CHANGES: Final = 1000


class Client:
    """One server's API. All methods may be called by several threads at once.

    Inside of `poll` failed requests are repeated until its deadline; outside of it they are not.

    Every operation raises Vb365Error when it does not get what it asks for, and StoppedError, at once, when the client
    is closed or `stop` is set.
    """

    def __init__(  # noqa: PLR0913 - the seams for tests have defaults
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        wait: Callable[[float], bool] | None = None,
        random: Callable[[], float] = random_numbers.random,
        login_throttle: LoginThrottle | None = None,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_pages: int = MAX_PAGES,
    ) -> None:
        """Make a client; nothing is asked, and no file read, before the first request.

        Args:
            server: whom to talk to, and how.
            observer: told of every request and repetition.
            stop: ends waits and requests under way, within a tenth of a second.
            clock: the monotonic clock.
            wall_clock: seconds since 1970, for a `Retry-After` with a date.
            wait: sleeps for so many seconds; True when the client was stopped meanwhile.
            random: a number from 0 up to 1.
            login_throttle: what is remembered of logins; that of all clients of this server by default.
            max_body_bytes: the largest answer, before and after decompression.
            max_pages: the most pages of one list.
        """
        self._max_pages = max_pages
        self._place = BaseUrl.of(server.url)
        self._cancellation = Cancellation(stop)
        self._transport = Transport(
            server,
            observer=observer,
            cancellation=self._cancellation,
            max_body_bytes=max_body_bytes,
        )
        self._retrier = Retrier(clock=clock, wait=wait or self._cancellation.wait, random=random)
        memory = login_throttle or login_throttle_for(self._place.origin, clock=clock)
        self._calls = Calls(
            self._transport,
            retrier=self._retrier,
            observer=observer,
            login_throttle=memory,
            clock=clock,
            wall_clock=wall_clock,
        )
        self._access = Access(
            server, place=self._place, calls=self._calls, login_throttle=memory, clock=clock
        )
        self._product_version: str | None = None
        self._closing = threading.Lock()
        self._closed = False

    # What is known without asking

    @property
    def api_version(self) -> str | None:
        """The version in the paths (`v6`, `v7`, `v8`); None before one was chosen, else the one chosen last."""
        return self._access.versions.chosen

    @property
    def has_change_feed(self) -> bool:
        """Whether the version that is used has `change_feed`."""
        return self._access.versions.have_feed_and_statistics

    @property
    def has_statistics(self) -> bool:
        """Whether the version that is used has `statistics`."""
        return self._access.versions.have_feed_and_statistics

    @property
    def certificate_not_after(self) -> datetime | None:
        """When the certificate expires that the server showed last; None before it showed one."""
        return self._transport.certificate_not_after

    # Life

    def reread_files(self) -> None:
        """Read the TLS files, and a token that somebody else renews, again for the next request.

        A password is read again by each login anyway, and the token it gave stays good.
        """
        self._transport.reread_files()
        self._access.reread()

    @contextmanager
    def poll(self, deadline: float) -> Iterator[None]:
        """Within this, failed requests are repeated until the deadline, a moment of the monotonic clock."""
        self._calls.deadline = deadline
        try:
            yield
        finally:
            self._calls.deadline = NO_RETRY

    def close(self) -> None:
        """End what is under way, log out where the API has a logout (2 s at most), close all connections."""
        with self._closing:
            if self._closed:
                return
            self._cancellation.cancel()
            self._transport.stop_requests()
            if self._transport.reachable:
                self._access.log_out()
            self._transport.close()
            self._closed = True

    # Operations

    def service_instance(self) -> ServiceInstance:
        """Ask which server this is: `GET /{v}/ServiceInstance`.

        The API's version is chosen anew when the server does not know it any more, or has become another one.
        """
        chosen = self._access.versions.current()
        try:
            answer = self._get("service_instance", "ServiceInstance")
        except NotFoundError:
            self.forget_api_version()
            if self._access.versions.current() == chosen:
                raise
            answer = self._get("service_instance", "ServiceInstance")
        instance = parse_service_instance(answer)
        if self._product_version not in {None, instance.version}:
            self.forget_api_version()  # from the next request on: an update may serve a newer one
        self._product_version = instance.version
        return instance

    def list_sessions(
        self, *, created_since: datetime | None, page_size: int = 1000
    ) -> Iterator[Page]:
        """Walk the restore sessions: `GET /{v}/RestoreSessions`, page by page.

        Args:
            created_since: only sessions created after it (`startTimeFrom`), an aware datetime; None for all.
            page_size: how many to ask for at a time; the server may give fewer.

        Raises:
            BadResponseError: also when the list has ended, and there were records, but none that can be read.
        """
        read = unread = 0
        try:
            for results in iter_pages(
                lambda target: self._access.get("list", target),
                base_url=self._place,
                path=f"{self._access.versions.current()}/RestoreSessions",
                query={} if created_since is None else {"startTimeFrom": _instant(created_since)},
                page_size=page_size,
                operation="list",
                max_pages=self._max_pages,
            ):
                page = parse_page(results)
                read += len(page.sessions)
                unread += len(page.rejections)
                yield page
        except NotFoundError:
            self.forget_api_version()
            raise
        if unread and not read:
            # A bad record is its own trouble; a list of nothing else has told nothing.
            raise BadResponseError(f"none of the {unread} records can be read", operation="list")

    def get_session(self, session_id: str) -> RestoreSession | Rejection:
        """Ask for one restore session: `GET /{v}/RestoreSessions/{id}`.

        A record that is no session, or another one, comes back as a rejection.

        Raises:
            NotFoundError: the server does not know it, or not the API: a poll that believes it has asked otherwise.
        """
        session = parse_session(self._get("get", f"RestoreSessions/{quote(session_id, safe='')}"))
        if isinstance(session, Rejection) or session.id == session_id.lower():
            return session
        return Rejection(
            reason=RejectionReason.OTHER_SESSION, field="id", session_id=session_id.lower()
        )

    def statistics(self, session_id: str) -> Statistics:
        """Ask how many items a session restored: `GET /v8/RestoreSessions/{id}/Statistics`. Never repeated."""
        path = f"RestoreSessions/{quote(session_id, safe='')}/Statistics"
        statistics = parse_statistics(
            self._access.get("statistics", self._access.target(path), retry=False)
        )
        if statistics is None:
            raise BadResponseError("the answer holds no counts", operation="statistics")
        return statistics

    def events(self, session_id: str) -> EventSummary:
        """Walk what happened in a session: `GET /{v}/RestoreSessions/{id}/Events`. Never repeated.

        Events are summed up page by page: however many there are, they take the memory of one page.
        """
        tally = EventTally()
        for page in iter_pages(
            lambda target: self._access.get("events", target, retry=False),
            base_url=self._place,
            path=f"{self._access.versions.current()}/RestoreSessions/{quote(session_id, safe='')}/Events",
            query={},
            page_size=_PAGE_EVENTS,
            operation="events",
            max_pages=self._max_pages,
        ):
            tally.add(page)
        return tally.summary()

    def change_feed(self, change_token: str, *, long_poll_seconds: float) -> Changes:
        """Ask what has changed since a position of the feed: `GET /v8/Events`. Never repeated.

        Args:
            change_token: `nextChangeToken` of the last response, or `changes.LATEST`.
            long_poll_seconds: how long the server is to wait when nothing has (`timeoutSeconds`), in whole seconds.
        """
        query = {
            "from": change_token,
            "limit": _FEED_PAGE_CHANGES,
            "timeoutSeconds": int(long_poll_seconds),
        }
        return parse_changes(
            self._access.get(
                "change_feed",
                self._access.target("Events", query),
                retry=False,
                long_poll_seconds=long_poll_seconds,
            )
        )

    def forget_api_version(self) -> None:
        """Choose the API's version anew for the next request, if it is chosen automatically."""
        self._access.versions.redetect()

    def _get(self, operation: str, path: str) -> object:
        return self._access.get(operation, self._access.target(path))


def _instant(moment: datetime) -> str:
    """As the API's filters want it: `2022-03-12T15:55:20.855741Z`."""
    utc = moment.astimezone(UTC).replace(tzinfo=None)
    return f"{utc.isoformat(timespec='microseconds')}Z"
