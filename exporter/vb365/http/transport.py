"""One HTTP request to one server: TLS, proxies, connections, time limits and sizes; no meaning of statuses."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import urlsplit

import requests
import structlog
from requests.cookies import get_cookie_header
from urllib3.util import Timeout

from exporter import __version__
from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    RequestTimeoutError,
    StoppedError,
    TlsError,
    Vb365Error,
)
from exporter.vb365.http.body import BadBodyError, read_body
from exporter.vb365.http.connections import Prepared, UnusableProxyError, new_session
from exporter.vb365.http.deadlines import AbortReason, Cancellation, Watchdog
from exporter.vb365.http.exceptions import LIBRARY_ERRORS, map_exception
from exporter.vb365.http.tls import UnusableFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from exporter.config.model import ServerConfig

__all__ = ["MAX_BODY_BYTES", "Request", "RequestObserver", "Response", "Transport"]

log = structlog.get_logger()

MAX_BODY_BYTES: Final = 16 << 20
_WHOLE_REQUEST_TIMEOUTS: Final = 6
"""A whole request takes at most so many times the timeout of connecting and of each read."""


class RequestObserver(Protocol):
    """Who counts requests; the exporter's own metrics. Called from many threads."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """A request was made; `code` is its HTTP status, or `error` when there was no answer."""

    def retry(self, operation: str) -> None:
        """A request is made once more, because of a failure that may have passed."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Request:
    """What to ask. `target` is path and query, percent-encoded; headers and body may hold secrets."""

    operation: str
    target: str
    method: str = "GET"
    authorization: str | None = None
    form: bytes | None = None
    deadline_seconds: float | None = None
    """Bounds the whole request closer than usual."""
    long_poll_seconds: float = 0.0
    """How long the server may wait for something to tell before it answers (long poll)."""
    allow_after_stop: bool = False
    """True for what is said after the client was stopped."""

    def __repr__(self) -> str:
        return f"<{self.method} {self.target}>"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Response:
    """What was answered, whatever the status."""

    status: int
    reason: str
    """The reason phrase, as untrusted as the body."""
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<HTTP {self.status}, {len(self.body)} bytes>"


class Transport:
    """Makes requests to one server; shared by threads.

    Bounds what a server can take: time as a whole, bytes before and after decompression, requests at once.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        cancellation: Cancellation,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self._server = server
        self._observer = observer
        self._cancellation = cancellation
        self._max_body_bytes = max_body_bytes
        parts = urlsplit(server.url)
        self._origin = f"https://{parts.netloc}"
        self._peer = parts.netloc
        self._deadline_seconds = _WHOLE_REQUEST_TIMEOUTS * server.timeout
        self._slots = threading.BoundedSemaphore(server.max_concurrent_requests)
        self._watchdog = Watchdog(cancellation, name=f"watchdog-{server.name}")
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._has_cookies = False
        self.certificate_not_after: datetime | None = None
        """When the certificate expires that the server showed last; None before it showed one."""
        self.reachable = False
        """True when the last request was answered."""

    def exchange(self, request: Request) -> Response:
        """Make one request and read the whole answer, whatever its status.

        Raises:
            Vb365Error: there was no answer, or one that cannot be read.
        """
        # What is said at the end must not wait for what is being cut, and what waits by itself must not take a place.
        with (
            nullcontext() if request.allow_after_stop or request.long_poll_seconds else self._slots
        ):
            if self._cancellation.cancelled and not request.allow_after_stop:
                raise StoppedError("not asked, the client is stopped", operation=request.operation)
            begun = time.perf_counter()
            outcome = self._outcome(request)
            seconds = time.perf_counter() - begun
        status = outcome.status
        code = "error" if status is None else str(status)
        self._observer.request(request.operation, code, seconds)
        if logging.getLogger().isEnabledFor(
            logging.DEBUG
        ):  # an event costs much, also when dropped
            log.debug(
                "request",
                server=self._server.name,
                operation=request.operation,
                method=request.method,
                path=request.target,
                code=code,
                seconds=round(seconds, 6),
            )
        if isinstance(outcome, Vb365Error):
            raise outcome
        return outcome

    def stop_requests(self) -> None:
        """End all requests under way, now; the cancellation must be over."""
        self._watchdog.enforce_now()

    def reread_files(self) -> None:
        """Read the TLS files again for the next request; those under way end on the connections they have."""
        with self._lock:
            self._session = None

    def close(self) -> None:
        """Close all connections."""
        self._watchdog.close()
        self._forget_session()

    def _outcome(self, request: Request) -> Response | Vb365Error:
        """The answer, or the error: returned, so that no foreign exception hangs on it."""
        deadline_seconds = request.long_poll_seconds + min(
            self._deadline_seconds, request.deadline_seconds or self._deadline_seconds
        )
        exchange = self._watchdog.begin(deadline_seconds, allow_after_stop=request.allow_after_stop)
        outcome: Response | Vb365Error
        try:
            outcome = self._answer(request, self._ready_session(request.operation))
        except Vb365Error as error:
            outcome = error
        except LIBRARY_ERRORS as foreign:
            outcome = map_exception(foreign, operation=request.operation, peer=self._peer)
        finally:
            ending = self._watchdog.finish(exchange)
        if exchange.certificate_not_after is not None:
            self.certificate_not_after = exchange.certificate_not_after
        # What was cut failed somehow, or even seems complete: a body that has no length ends where it is cut.
        if ending is AbortReason.STOPPED:
            outcome = StoppedError("given up, the client is stopped", operation=request.operation)
        elif ending is AbortReason.DEADLINE:
            outcome = RequestTimeoutError(
                f"the whole request to {self._peer} took longer than {deadline_seconds:g} s",
                operation=request.operation,
            )
        if not isinstance(outcome, StoppedError):
            self.reachable = isinstance(outcome, Response)
        if isinstance(outcome, Vb365Error):
            outcome.sent = exchange.sent
            if isinstance(outcome, TlsError):
                self._forget_session()  # the files are read again for the next request: they may be mended by then
        return outcome

    def _answer(self, request: Request, session: requests.Session) -> Response:
        prepared = self._prepared(request, session)
        seconds = self._server.timeout
        # The timeout is one of urllib3's; requests takes it, its type stubs do not say so.
        response = session.send(
            prepared,
            stream=True,
            timeout=Timeout(connect=seconds, read=seconds + request.long_poll_seconds),  # type: ignore[arg-type]
            verify=True,
            cert=None,
            proxies={},
        )
        complete = False
        try:
            status = response.status_code
            if not 100 <= status <= 599:
                raise BadResponseError(
                    f"HTTP status {status} does not exist", operation=request.operation
                )
            body = read_body(response.raw, limit=self._max_body_bytes)
            complete = True
        except BadBodyError as bad:
            error = BadResponseError(str(bad), operation=request.operation, status=status)
        finally:
            if not complete:
                response.raw.close()  # what is left of the answer must not be taken for the next one
            response.raw.release_conn()
        if not complete:
            raise error
        if "Set-Cookie" in response.headers:
            self._has_cookies = True
        return Response(
            status=status,
            reason=response.reason or "",
            headers=response.headers,
            body=body,
        )

    def _prepared(self, request: Request, session: requests.Session) -> Prepared:
        headers = dict(_HEADERS)
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        if request.form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if request.method != "GET":
            headers["Content-Length"] = str(len(request.form or b""))
        prepared = Prepared(
            request.method, self._origin, request.target, headers, body=request.form
        )
        if self._has_cookies:
            # The stubs do not have this function's types.
            cookies = get_cookie_header(session.cookies, prepared)  # type: ignore[no-untyped-call]
            if cookies:
                headers["Cookie"] = cookies
        return prepared

    def _ready_session(self, operation: str) -> requests.Session:
        """The session, made anew when there is none: the TLS files are read then."""
        error: Vb365Error
        with self._lock:
            if self._session is not None:
                return self._session
            try:
                self._session = new_session(self._server, self._origin)
            except UnusableFileError as unusable:
                error = TlsError(str(unusable), operation=operation)
            except UnusableProxyError as unusable:
                error = ConnectError(str(unusable), operation=operation)
            else:
                return self._session
        raise error

    def _forget_session(self) -> None:
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()


_HEADERS: Final = {
    "User-Agent": f"vb365-restore-exporter/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
}
