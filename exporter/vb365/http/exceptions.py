"""The one place that makes our errors of other libraries' exceptions.

Of a foreign exception only what is known to be harmless is taken over: requests and urllib3 put whole requests, with
their credentials, into theirs.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import zlib
from typing import TYPE_CHECKING, Final

import requests.exceptions
import urllib3.exceptions
import urllib3.util.ssl_match_hostname

from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    InternalError,
    RequestTimeoutError,
    TlsError,
    Vb365Error,
    one_line,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["LIBRARY_ERRORS", "map_exception"]

LIBRARY_ERRORS: Final = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
    RecursionError,
    zlib.error,
)
"""What a request can raise that is not ours. Anything else is a mistake in the exporter and keeps its traceback."""

# The nearest ancestor of the innermost exception decides; what only wraps another one is the last resort.
_ERROR_TYPES: Final[Mapping[type[BaseException], type[Vb365Error]]] = {
    # the standard library
    OSError: ConnectError,
    TimeoutError: RequestTimeoutError,
    ssl.SSLError: TlsError,
    ssl.SSLEOFError: ConnectError,
    ssl.SSLZeroReturnError: ConnectError,
    ssl.SSLSyscallError: ConnectError,
    http.client.HTTPException: BadResponseError,
    http.client.IncompleteRead: ConnectError,
    ValueError: BadResponseError,
    RecursionError: BadResponseError,
    zlib.error: BadResponseError,
    # urllib3
    urllib3.exceptions.HTTPError: InternalError,
    urllib3.exceptions.TimeoutError: RequestTimeoutError,
    urllib3.exceptions.NewConnectionError: ConnectError,
    urllib3.exceptions.ProxyError: ConnectError,
    urllib3.exceptions.ProxySchemeUnknown: ConnectError,
    urllib3.exceptions.ProxySchemeUnsupported: ConnectError,
    urllib3.exceptions.ProtocolError: ConnectError,
    urllib3.exceptions.IncompleteRead: ConnectError,
    urllib3.exceptions.PoolError: ConnectError,
    urllib3.exceptions.LocationParseError: ConnectError,
    urllib3.exceptions.SSLError: TlsError,
    urllib3.util.ssl_match_hostname.CertificateError: TlsError,
    urllib3.exceptions.InvalidChunkLength: BadResponseError,
    urllib3.exceptions.ResponseNotChunked: BadResponseError,
    urllib3.exceptions.BodyNotHttplibCompatible: BadResponseError,
    urllib3.exceptions.InvalidHeader: BadResponseError,
    urllib3.exceptions.HeaderParsingError: BadResponseError,
    urllib3.exceptions.DecodeError: BadResponseError,
    urllib3.exceptions.ResponseError: BadResponseError,
    urllib3.exceptions.HostChangedError: InternalError,
    urllib3.exceptions.LocationValueError: InternalError,
    urllib3.exceptions.TimeoutStateError: InternalError,
    urllib3.exceptions.UnrewindableBodyError: InternalError,
    # requests
    requests.exceptions.RequestException: InternalError,
    requests.exceptions.ConnectionError: ConnectError,
    requests.exceptions.ChunkedEncodingError: ConnectError,
    requests.exceptions.ConnectTimeout: RequestTimeoutError,
    requests.exceptions.Timeout: RequestTimeoutError,
    requests.exceptions.SSLError: TlsError,
    requests.exceptions.InvalidProxyURL: ConnectError,
    requests.exceptions.HTTPError: BadResponseError,
    requests.exceptions.InvalidJSONError: BadResponseError,
    requests.exceptions.JSONDecodeError: BadResponseError,
    requests.exceptions.ContentDecodingError: BadResponseError,
    requests.exceptions.TooManyRedirects: BadResponseError,
    requests.exceptions.RetryError: InternalError,
    requests.exceptions.InvalidURL: InternalError,
    requests.exceptions.InvalidSchema: InternalError,
    requests.exceptions.MissingSchema: InternalError,
    requests.exceptions.URLRequired: InternalError,
    requests.exceptions.InvalidHeader: InternalError,
    requests.exceptions.StreamConsumedError: InternalError,
    requests.exceptions.UnrewindableBodyError: InternalError,
}
_WRAPPERS_DEEP: Final = 10


def map_exception(foreign: BaseException, *, operation: str, peer: str) -> Vb365Error:
    """Our error for someone else's exception.

    Raise it outside of the `except` block, so that the foreign exception and the request in it are let go.

    Args:
        foreign: what was caught.
        operation: what was asked for.
        peer: host and port of the server, for the message.
    """
    *_, innermost = _unwrapped(foreign)
    return _error_type(innermost)(_describe(innermost, peer), operation=operation)


def _error_type(foreign: BaseException) -> type[Vb365Error]:
    return next(
        (_ERROR_TYPES[a] for a in type(foreign).__mro__ if a in _ERROR_TYPES), InternalError
    )


def _unwrapped(foreign: BaseException) -> Iterator[BaseException]:
    """The exception, what it wraps, and so on. requests and urllib3 have four ways to hold the true one."""
    inner: BaseException | None = foreign
    for _ in range(_WRAPPERS_DEEP):
        if inner is None:
            return
        yield inner
        held = (
            getattr(inner, "reason", None),
            getattr(inner, "original_error", None),
            *inner.args,
            inner.__cause__,
        )
        inner = next((each for each in held if isinstance(each, BaseException)), None)


_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")


def _describe(foreign: BaseException, peer: str) -> str:  # noqa: PLR0911 - one line of text for one kind of trouble
    """What happened, in words that hold nothing of the request."""
    match foreign:
        case ssl.SSLCertVerificationError():
            why = one_line(getattr(foreign, "verify_message", ""))
            return f"the certificate of {peer} is not trusted: {why}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return f"{peer} broke the TLS connection off"
        case ssl.SSLError():
            return f"TLS with {peer} failed: {_os_message(foreign)}"
        case TimeoutError() | urllib3.exceptions.TimeoutError() if (
            _error_type(foreign) is RequestTimeoutError
        ):
            return f"{peer} did not answer in time"
        case socket.gaierror():
            return f"the name of {peer} cannot be resolved: {_os_message(foreign)}"
        case http.client.IncompleteRead() | http.client.RemoteDisconnected():
            return f"{peer} closed the connection before the answer was complete"
        case OSError(args=[str(said)]) if tunnel := _TUNNEL.match(said):
            return f"the proxy does not connect to {peer} (HTTP {tunnel[1]})"
        case OSError() if foreign.strerror:
            return f"no connection to {peer}: {_os_message(foreign)}"
    return f"talking to {peer} failed: {type(foreign).__name__}"


def _os_message(error: OSError) -> str:
    """The operating system's or OpenSSL's own words for an error number."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return one_line(reason.replace("_", " ").lower())
    return one_line(error.strerror) if isinstance(error.strerror, str) else type(error).__name__
