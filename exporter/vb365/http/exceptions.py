"""Maps exceptions of requests, urllib3 and the standard library to `Vb365Error`.

The exceptions of requests and urllib3 contain whole requests with their credentials. Only text that is known to be
harmless is quoted from them.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import zlib
from collections.abc import Iterator, Mapping

import requests.exceptions
import urllib3.exceptions
import urllib3.util.ssl_match_hostname

from exporter.text import one_line
from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    InternalError,
    RequestTimeoutError,
    TlsError,
    Vb365Error,
)

__all__ = ["LIBRARY_ERRORS", "map_exception"]

LIBRARY_ERRORS = (
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,  # and with it requests.RequestException
    ValueError,
    RecursionError,
    zlib.error,
)
"""What a request can raise besides `Vb365Error`. Anything else is a bug in the exporter and keeps its traceback."""

# The innermost exception decides, by its class or the nearest base class listed here. Any other is an InternalError.
_ERROR_TYPES: Mapping[type[BaseException], type[Vb365Error]] = {
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
    urllib3.exceptions.TimeoutError: RequestTimeoutError,
    urllib3.exceptions.NewConnectionError: ConnectError,
    urllib3.exceptions.ProxyError: ConnectError,
    urllib3.exceptions.ProxySchemeUnknown: ConnectError,
    urllib3.exceptions.ProxySchemeUnsupported: ConnectError,
    urllib3.exceptions.ProtocolError: ConnectError,
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
    # requests
    requests.exceptions.RequestException: InternalError,
    requests.exceptions.ConnectionError: ConnectError,
    requests.exceptions.ChunkedEncodingError: ConnectError,
    requests.exceptions.Timeout: RequestTimeoutError,
    requests.exceptions.ConnectTimeout: RequestTimeoutError,
    requests.exceptions.SSLError: TlsError,
    requests.exceptions.InvalidProxyURL: ConnectError,
    requests.exceptions.HTTPError: BadResponseError,
    requests.exceptions.InvalidJSONError: BadResponseError,
    requests.exceptions.ContentDecodingError: BadResponseError,
    requests.exceptions.TooManyRedirects: BadResponseError,
}
_MAX_WRAPPERS = 10


def map_exception(error: BaseException, *, operation: str, peer: str) -> Vb365Error:
    """Return the `Vb365Error` for another library's exception.

    Raise it outside the `except` block, so that it does not keep the original and the request in it alive.

    Args:
        error: the caught exception.
        operation: the API operation that failed.
        peer: host and port of the server, for the message.
    """
    *_, innermost = _unwrapped(error)
    return _error_type(innermost)(_describe(innermost, peer), operation=operation)


def _error_type(error: BaseException) -> type[Vb365Error]:
    bases = type(error).__mro__
    return next((_ERROR_TYPES[base] for base in bases if base in _ERROR_TYPES), InternalError)


def _unwrapped(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, then the one it wraps, and so on. requests and urllib3 wrap in four different ways."""
    inner: BaseException | None = error
    for _ in range(_MAX_WRAPPERS):
        if inner is None:
            return
        yield inner
        candidates = (
            getattr(inner, "reason", None),
            getattr(inner, "original_error", None),
            *inner.args,
            inner.__cause__,
        )
        inner = next((each for each in candidates if isinstance(each, BaseException)), None)


_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")


def _describe(error: BaseException, peer: str) -> str:  # noqa: PLR0911 - one line for each kind
    """Describe a failure in one line that contains nothing from the request."""
    match error:
        case ssl.SSLCertVerificationError():
            problem = one_line(getattr(error, "verify_message", ""))
            return f"the certificate of {peer} is not trusted: {problem}"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return f"{peer} closed the TLS connection unexpectedly"
        case ssl.SSLError():
            return f"TLS with {peer} failed: {_os_message(error)}"
        case TimeoutError() | urllib3.exceptions.TimeoutError() if (
            _error_type(error) is RequestTimeoutError
        ):
            return f"{peer} did not respond in time"
        case socket.gaierror():
            return f"the host name of {peer} cannot be resolved: {_os_message(error)}"
        case http.client.IncompleteRead() | http.client.RemoteDisconnected():
            return f"{peer} closed the connection before the response was complete"
        case OSError(args=[str(text)]) if tunnel := _TUNNEL.match(text):
            return f"the proxy refused to connect to {peer} (HTTP {tunnel[1]})"
        case OSError() if error.strerror:
            return f"the connection to {peer} failed: {_os_message(error)}"
    return f"the request to {peer} failed: {type(error).__name__}"


def _os_message(error: OSError) -> str:
    """Return the operating system's or OpenSSL's text for an error number."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return one_line(reason.replace("_", " ").lower())
    return one_line(error.strerror) if isinstance(error.strerror, str) else type(error).__name__
