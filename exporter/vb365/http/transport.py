"""One HTTP exchange with a VB365 server, bounded in time and size."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Mapping
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import urlsplit

import requests
import structlog

from exporter.config.model import ServerConfig
from exporter.threads import ThreadLimitError
from exporter.vb365.base_url import host_and_port
from exporter.vb365.errors import (
    BadResponseError,
    InternalError,
    RequestTimeoutError,
    StoppedError,
    TlsError,
    Vb365Error,
)
from exporter.vb365.http.body import MAX_BODY_BYTES, BadBodyError, limit_of, read_body
from exporter.vb365.http.deadlines import (
    AbortReason,
    Cancellation,
    ConnectionTrace,
    Watchdog,
    current_exchange,
)
from exporter.vb365.http.exceptions import LIBRARY_ERRORS, UnusableFileError, map_exception
from exporter.vb365.http.session import new_session

log = structlog.get_logger()

_watchdog = Watchdog()
"""Watches the exchanges of the process with all servers."""

_MAX_SESSION_SECONDS = 3600.0
"""How long connections and TLS files are used: a new certificate, or another machine of that name, has to be noticed."""
_DEADLINE_TIMEOUTS = 6
"""The deadline of a whole request, as a multiple of the timeout for connecting and for each read."""


class RequestObserver(Protocol):
    """Counts requests and retries. Called from many threads."""

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Count a request; `code` is its HTTP status, or `error` if there was no response."""

    def retry(self, operation: str) -> None:
        """Count a retry."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Request:
    """A request. `target` is path and query, percent-encoded; `bearer` and `form` are secret."""

    operation: str
    target: str
    method: str = "GET"
    bearer: str | None = None
    """The access token; None for a request without a login."""
    form: Mapping[str, str] | None = None
    """Sent URL-encoded as UTF-8."""
    deadline_seconds: float = math.inf
    """A deadline for the whole request, if shorter than the usual one."""
    long_poll_seconds: float = 0.0
    """How long the server may hold the request before it responds (long poll)."""
    allow_after_stop: bool = False
    """Whether the request is sent, and not aborted, after the client was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Response:
    """A complete response, whatever its status."""

    status: int
    reason: str
    """The reason phrase, as untrusted as the body."""
    headers: Mapping[str, str]
    body: bytes
    is_cut: bool = False
    """Whether the end of the body is missing, because it is too large."""

    @property
    def is_success(self) -> bool:
        """Whether the status is 2xx, but not 206 (Partial Content)."""
        return 200 <= self.status <= 299 and self.status != 206

    @property
    def may_blame_cookies(self) -> bool:
        """Whether it is a failure that the cookies of the request can cause, such as 400 because they are too long."""
        return self.status >= 300 and self.status not in {401, 404, 429}


class Transport:
    """HTTP exchanges with one server. Shared by threads.

    Limits the time of each request, the size of its response before and after decompression, and the number of
    concurrent requests, apart from long polls and logouts.

    Args:
        server: the configuration.
        observer: counts requests.
        stop: aborts requests under way, within a tenth of a second, and refuses new ones.
        max_body_bytes: the maximum size of a body, before and after decompression.
        watchdog: enforces the deadlines; by default the one for all servers.
    """

    def __init__(
        self,
        server: ServerConfig,
        *,
        observer: RequestObserver,
        stop: threading.Event,
        max_body_bytes: int = MAX_BODY_BYTES,
        watchdog: Watchdog = _watchdog,
    ) -> None:
        self._server = server
        self._watchdog = watchdog
        self._observer = observer
        self.cancellation = Cancellation(stop)
        """Whether the client is stopped, by the stop event or by `cancel`."""
        self._max_body_bytes = max_body_bytes
        self._peer = host_and_port(server.url)
        self._origin = f"https://{urlsplit(server.url).netloc}"
        self._deadline_seconds = _DEADLINE_TIMEOUTS * server.timeout
        self._slots = threading.BoundedSemaphore(server.max_concurrent_requests)
        self._lock = threading.Lock()
        self._session: requests.Session | None = None
        self._session_begun_at = 0.0
        self.certificate_not_after: datetime | None = None
        """When the server's certificate expires, as of the newest connection; None before the first one."""
        self.newest_connection: ConnectionTrace | None = None
        """How the newest connection was opened, or failed to; None before the first attempt."""
        self.reachable = False
        """Whether the last request got a response."""

    def exchange(self, request: Request) -> Response:
        """Send one request and read the whole response, whatever its status.

        Raises:
            Vb365Error: there was no response, or an unusable one.
        """
        # A logout must not wait for requests that are being aborted, and a long poll must not occupy a slot.
        unslotted = request.allow_after_stop or request.long_poll_seconds
        with nullcontext() if unslotted else self._slots:
            if self.cancellation.cancelled and not request.allow_after_stop:
                raise StoppedError("not sent, the client is stopped", operation=request.operation)
            begun = time.perf_counter()
            outcome = self._supervised(request)
            seconds = time.perf_counter() - begun
        code = "error" if outcome.status is None else str(outcome.status)
        self._observer.request(request.operation, code, seconds)
        if logging.getLogger().isEnabledFor(logging.DEBUG):  # even a dropped event is expensive
            log.debug(
                "request",
                server=self._server.name,
                operation=request.operation,
                method=request.method,
                path=request.target,
                code=code,
                seconds=round(seconds, 6),
            )
        try:
            if isinstance(outcome, Vb365Error):
                raise outcome
            return outcome
        finally:
            del outcome  # this frame is in the traceback of the error

    def cancel(self) -> None:
        """Abort requests under way immediately and refuse new ones, except those allowed after a stop."""
        self.cancellation.cancel()
        self._watchdog.enforce_now()

    def reread_files(self) -> None:
        """Read the TLS files again for the next request. Requests under way keep their connections."""
        with self._lock:
            self._session = None

    def close(self) -> None:
        """Close all connections; a later request reads the TLS files and connects again."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def _supervised(self, request: Request) -> Response | Vb365Error:
        """Send a request under the watchdog. Return an error, to be raised where no library exception chains to it."""
        deadline_seconds = request.long_poll_seconds + min(
            self._deadline_seconds, request.deadline_seconds
        )
        try:
            exchange = self._watchdog.begin(
                deadline_seconds,
                cancellation=None if request.allow_after_stop else self.cancellation,
            )
        except ThreadLimitError as error:
            return InternalError(str(error), operation=request.operation)
        outcome: Response | Vb365Error
        try:
            outcome = self._send(request)
        except LIBRARY_ERRORS as error:
            outcome = map_exception(
                error,
                operation=request.operation,
                peer=self._peer,
                step=exchange.trace.step,
                proxy=exchange.trace.proxy,
            )
        finally:
            abort_reason = self._watchdog.finish(exchange)
        if exchange.trace.host:
            self.newest_connection = exchange.trace
        if exchange.trace.certificate_not_after is not None:
            self.certificate_not_after = exchange.trace.certificate_not_after
        # An aborted exchange fails in some way, or looks complete: a body without a length ends with its connection.
        if abort_reason is AbortReason.CANCELLED:
            outcome = StoppedError("aborted, the client is stopped", operation=request.operation)
        elif abort_reason is AbortReason.DEADLINE:
            outcome = RequestTimeoutError(
                f"the whole request to {self._peer} took longer than {round(deadline_seconds, 2):g} s"
                f" and was aborted during the {exchange.trace.step}",
                operation=request.operation,
            )
        if isinstance(outcome, Vb365Error):
            outcome.sent = exchange.sent
        self._learn_from(outcome)
        return outcome

    def _learn_from(self, outcome: Response | Vb365Error) -> None:
        if not isinstance(outcome, StoppedError):
            self.reachable = isinstance(outcome, Response)
        if isinstance(outcome, TlsError):
            self.close()  # so that the next request reads the TLS files again
        elif isinstance(outcome, Vb365Error) or outcome.may_blame_cookies:
            self._discard_cookies()

    def _send(self, request: Request) -> Response | BadResponseError:
        timeout, bearer = self._server.timeout, request.bearer
        response = self._current_session().request(
            request.method,
            self._origin + request.target,
            headers={"Authorization": f"Bearer {bearer}"} if bearer else None,
            data=request.form,
            timeout=(timeout, timeout + request.long_poll_seconds),
            allow_redirects=False,
            stream=True,
        )
        # Closing a response before it is read to its end also closes its connection.
        with closing(response):
            operation, status = request.operation, response.status_code
            if not 100 <= status <= 599:
                return BadResponseError(f"HTTP status {status} does not exist", operation=operation)
            limit, may_cut = limit_of(operation, is_success=status < 300)
            limit = min(limit, self._max_body_bytes)
            try:
                body, is_cut = read_body(response.raw, limit=limit, may_cut=may_cut)
            except BadBodyError as bad:
                return BadResponseError(str(bad), operation=operation, status=status)
        return Response(
            status=status,
            reason=response.reason or "",
            headers=response.headers,
            body=body,
            is_cut=is_cut,
        )

    def _current_session(self) -> requests.Session:
        """Return the session; if there is none, or it is an hour old and the TLS files can be used, create it from them."""
        now = current_exchange().begun_at
        with self._lock:
            old = self._session
            if old is not None and now - self._session_begun_at < _MAX_SESSION_SECONDS:
                return old
            self._session_begun_at = now
            try:
                self._session = session = new_session(self._server)
            except UnusableFileError:
                if old is None:
                    raise
                return old
        if old is not None:
            old.close()  # does not affect requests under way
        return session

    def _discard_cookies(self) -> None:
        """Forget the cookies, so that those of one response cannot make all later requests fail."""
        with self._lock:
            if self._session is not None:
                self._session.cookies.clear()
