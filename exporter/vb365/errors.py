"""Errors of requests to VB365, each with its reason and whether a retry may help.

Vb365Error                    reason         retryable
├── ConnectError              connect        yes
├── RequestTimeoutError       timeout        yes
├── TlsError                  tls            no
├── AuthError                 auth           no
├── ForbiddenError            forbidden      no
├── ThrottledError            throttled      yes, after `retry_after_seconds`
├── ServerError               server_error   if the status is 500, 502, 503 or 504
├── BadResponseError          bad_response   no
│   └── RecordsMovedError     bad_response   no; the whole list is requested again
├── NotFoundError             not_found      no
└── InternalError             internal       no
    └── StoppedError          internal       no; the client was stopped, the server is not at fault

An error's text is one printable line and contains no secrets. `http.exceptions` maps the exceptions of other libraries
to these.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Why a poll failed; the values of `vb365_poll_failures_total{reason}`."""

    CONNECT = "connect"
    TIMEOUT = "timeout"
    TLS = "tls"
    AUTH = "auth"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
    NOT_FOUND = "not_found"
    INTERNAL = "internal"


class Vb365Error(Exception):
    """A failed request.

    Attributes:
        message: the text without the operation.
        operation: the operation that failed (`list`, `get`, `token`, ...).
        status: the HTTP status; None without a response.
        code: the API's `errorCode`; empty without one.
        retry_after_seconds: from the response's `Retry-After` or a limit of this client; None without either.
        next_try: when the next attempt may succeed. Not part of `message`: a command that runs once has no next attempt.
        sent: False if the request certainly did not reach the server.
    """

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self,
        message: str,
        *,
        operation: str,
        status: int | None = None,
        code: str = "",
        retry_after_seconds: float | None = None,
        next_try: str = "",
    ) -> None:
        super().__init__(f"{operation}: {message}" + (f"; {next_try}" if next_try else ""))
        self.message = message
        self.operation = operation
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.next_try = next_try
        self.sent = True

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed a little later."""
        return self.reason in _TRANSIENT_REASONS or self.status in _TRANSIENT_STATUSES

    def copy(self) -> Vb365Error:
        """Return an equal error, to be raised in a thread that waited for the same request."""
        copied = type(self)(self.message, operation=self.operation, next_try=self.next_try)
        vars(copied).update(vars(self))
        return copied


def is_server_wide(error: Vb365Error) -> bool:
    """Whether every other request would fail the same way: no connection, no token, or throttled.

    A timeout does not count, as it may be due to a single slow session. Use this where every request is needed, such as
    those for sessions by id in a poll; use `would_recur` where a timeout is a reason to stop, too.
    """
    return error.reason in _SERVER_WIDE_REASONS or error.operation == "token"


def would_recur(error: Vb365Error) -> bool:
    """Whether an error is server-wide or a timeout.

    Use this where what is left can wait, and each further timeout would cost seconds: other lists, other extras of the
    same kind, and sessions that the change feed reports.
    """
    return is_server_wide(error) or error.reason is Reason.TIMEOUT


class ConnectError(Vb365Error):
    """The connection failed or broke: name resolution, refused, reset, a proxy that does not connect."""

    reason = Reason.CONNECT


class RequestTimeoutError(Vb365Error):
    """Connecting, a read or the whole request took too long."""

    reason = Reason.TIMEOUT


class TlsError(Vb365Error):
    """The handshake failed, the certificate is not trusted, or the TLS files are unusable.

    Attributes:
        openssl_reason: OpenSSL's name of the failure, such as `CERTIFICATE_VERIFY_FAILED`; empty if it has none.
        verify_code: why the certificate is not trusted: one of OpenSSL's `X509_V_ERR_*`; else 0.
    """

    reason = Reason.TLS
    openssl_reason = ""
    verify_code = 0


class AuthError(Vb365Error):
    """The server refuses the login or the token, or the secret is unavailable."""

    reason = Reason.AUTH


class ForbiddenError(Vb365Error):
    """The account lacks a permission (403)."""

    reason = Reason.FORBIDDEN


class ThrottledError(Vb365Error):
    """Too many requests (429), or a request held back by a `Retry-After` or by a limit of this client."""

    reason = Reason.THROTTLED


class ServerError(Vb365Error):
    """The server failed (5xx)."""

    reason = Reason.SERVER_ERROR


class BadResponseError(Vb365Error):
    """An unusable response: not HTTP, an unexpected status, not JSON, of the wrong shape or too large."""

    reason = Reason.BAD_RESPONSE


class RecordsMovedError(BadResponseError):
    """Records moved between the pages of a list while it was read, so that some may be missing."""


class NotFoundError(Vb365Error):
    """The resource, or the whole API, does not exist (404)."""

    reason = Reason.NOT_FOUND


class InternalError(Vb365Error):
    """The request could not be made because of a bug in the exporter, or a limit of its process."""

    reason = Reason.INTERNAL


class StoppedError(InternalError):
    """The client was stopped before it had the complete response."""


def error_of_status(
    status: int,
    *,
    operation: str,
    before_login: bool = False,
    detail: str = "",
    code: str = "",
    retry_after_seconds: float | None = None,
) -> Vb365Error:
    """Return the error for an HTTP status that does not mean success.

    `before_login` is whether the request had no token, so that its account is not to blame. `detail` is the server's
    explanation, as one printable line; for the other arguments, see `Vb365Error`.
    """
    error: type[Vb365Error]
    if status == 403 and before_login:
        error, text = ForbiddenError, _FORBIDDEN_BEFORE_LOGIN
    elif status in _ERRORS_BY_STATUS:
        error, text = _ERRORS_BY_STATUS[status]
    elif 500 <= status <= 599:
        error, text = ServerError, "the server failed"
    elif 300 <= status <= 399:
        error, text = BadResponseError, "the server redirects, and redirects are not followed"
    else:
        error, text = BadResponseError, "the server did not accept the request"
    explanation = f", {detail}" if detail else ""
    return error(
        f"{text} (HTTP {status}{explanation})",
        operation=operation,
        status=status,
        code=code,
        retry_after_seconds=retry_after_seconds,
    )


_FORBIDDEN_BEFORE_LOGIN = (
    "access is forbidden before any login succeeded, perhaps by a reverse proxy or firewall"
)
_TRANSIENT_REASONS = {Reason.CONNECT, Reason.TIMEOUT, Reason.THROTTLED}
_SERVER_WIDE_REASONS = {Reason.CONNECT, Reason.TLS, Reason.AUTH, Reason.THROTTLED}
_TRANSIENT_STATUSES = {500, 502, 503, 504}
_ERRORS_BY_STATUS: Mapping[int, tuple[type[Vb365Error], str]] = {
    206: (BadResponseError, "the response is only a part of what was requested"),
    401: (AuthError, "the token is refused"),
    403: (ForbiddenError, "the account lacks the permission"),
    404: (NotFoundError, "not found"),
    429: (ThrottledError, "too many requests"),
}
