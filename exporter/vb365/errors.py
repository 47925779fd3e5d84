"""What can go wrong in talking to VB365: every error, with its reason and whether a repetition can help.

Vb365Error                    reason         a repetition can help
├── ConnectError              connect        yes
├── RequestTimeoutError       timeout        yes
├── TlsError                  tls            no
├── AuthError                 auth           no
├── ForbiddenError            forbidden      no
├── ThrottledError            throttled      yes, after `retry_after_seconds`
├── ServerError               server_error   when it is 500, 502, 503 or 504
├── BadResponseError          bad_response   no
├── NotFoundError             not_found      no
└── InternalError             internal       no
    └── StoppedError          internal       no; the client was stopped, which says nothing about the server

The text of an error is one printable line without a secret. `foreign` makes these of other libraries' exceptions.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AuthError",
    "BadResponseError",
    "ConnectError",
    "ForbiddenError",
    "InternalError",
    "NotFoundError",
    "Reason",
    "RequestTimeoutError",
    "ServerError",
    "StoppedError",
    "ThrottledError",
    "TlsError",
    "Vb365Error",
    "error_of_status",
]


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
    """A request that did not get what it asked for.

    Attributes:
        operation: what was asked for (`list`, `get`, `token`, ...).
        status: the HTTP status, None when there was none.
        code: the API's `errorCode`, empty when there was none.
        retry_after_seconds: how long the server wants to be left alone, None when it did not say.
        sent: False when the request has certainly not reached the server.
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
    ) -> None:
        super().__init__(f"{operation}: {message}")
        self.message = message
        self.operation = operation
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds
        self.sent = True

    @property
    def retryable(self) -> bool:
        """True when the same request can succeed if it is repeated a little later."""
        return False

    def copy(self) -> Vb365Error:
        """The same error for another thread that waited for the same outcome."""
        twin = type(self)(
            self.message,
            operation=self.operation,
            status=self.status,
            code=self.code,
            retry_after_seconds=self.retry_after_seconds,
        )
        twin.sent = self.sent
        return twin


class _TransientError(Vb365Error):
    """Passes by itself, as far as one can tell."""

    @property
    def retryable(self) -> bool:
        """True."""
        return True


class ConnectError(_TransientError):
    """No connection, or one that broke: name resolution, refused, reset, a proxy that does not connect."""

    reason = Reason.CONNECT


class RequestTimeoutError(_TransientError):
    """The server or the whole request took too long."""

    reason = Reason.TIMEOUT


class TlsError(Vb365Error):
    """The handshake failed, the certificate is not trusted, or the TLS files cannot be used."""

    reason = Reason.TLS


class AuthError(Vb365Error):
    """The login, or the token even after one renewal, is refused."""

    reason = Reason.AUTH


class ForbiddenError(Vb365Error):
    """The account may not do this (403)."""

    reason = Reason.FORBIDDEN


class ThrottledError(_TransientError):
    """Too many requests (429), or a `Retry-After` that has not passed yet."""

    reason = Reason.THROTTLED


class ServerError(Vb365Error):
    """The server failed (5xx)."""

    reason = Reason.SERVER_ERROR

    @property
    def retryable(self) -> bool:
        """True for the statuses that pass: 500, 502, 503 and 504."""
        return self.status in {500, 502, 503, 504}


class BadResponseError(Vb365Error):
    """An answer that is none: an unexpected status, not HTTP, not JSON, of the wrong shape or too large."""

    reason = Reason.BAD_RESPONSE


class NotFoundError(Vb365Error):
    """What was asked for, or the whole API, is not there (404)."""

    reason = Reason.NOT_FOUND


class InternalError(Vb365Error):
    """A request that could not even be made: a mistake in the exporter."""

    reason = Reason.INTERNAL


class StoppedError(InternalError):
    """The client was stopped before the answer came."""


def error_of_status(
    status: int,
    *,
    operation: str,
    detail: str = "",
    code: str = "",
    retry_after_seconds: float | None = None,
) -> Vb365Error:
    """The error that an HTTP status other than success stands for.

    Args:
        status: the HTTP status.
        operation: what was asked for.
        detail: what the server says about it, already one harmless line.
        code: the answer's `errorCode`.
        retry_after_seconds: the answer's `Retry-After`.
    """
    error, text = _ERRORS_OF_STATUS.get(status, (None, ""))
    if error is None and 500 <= status <= 599:
        error, text = ServerError, "the server failed"
    elif error is None and 300 <= status <= 399:
        error, text = BadResponseError, "the server redirects, which is not followed"
    elif error is None:
        error, text = BadResponseError, "the server did not accept the request"
    said = f", {detail}" if detail else ""
    return error(
        f"{text} (HTTP {status}{said})",
        operation=operation,
        status=status,
        code=code,
        retry_after_seconds=retry_after_seconds,
    )


_ERRORS_OF_STATUS: Final[Mapping[int, tuple[type[Vb365Error] | None, str]]] = {
    401: (AuthError, "the token is refused"),
    403: (ForbiddenError, "the account may not do this"),
    404: (NotFoundError, "not found"),
    429: (ThrottledError, "too many requests"),
}
