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
from exporter.vb365.http.deadlines import Step


class UnusableFileError(ValueError):
    """A TLS file cannot be used; the message names it and gives the reason."""


class UnusableProxyError(ValueError):
    """The configured proxy, or that of the environment, cannot be used; the message does not repeat its URL."""


class BadHeadError(http.client.HTTPException):
    """An unusable head of a response; the message gives the reason and quotes nothing from the head."""


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
    UnusableFileError: TlsError,
    UnusableProxyError: ConnectError,
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


def map_exception(
    error: BaseException,
    *,
    operation: str,
    peer: str,
    step: Step = Step.REQUEST,
    proxy: str = "",
) -> Vb365Error:
    """Return the `Vb365Error` for another library's exception, and separate that from its frames and other exceptions.

    Raise it outside the `except` block, so that it does not keep the original and the request in it alive.

    Args:
        error: the caught exception.
        operation: the API operation that failed.
        peer: host and port of the server, for the message.
        step: what the request was doing.
        proxy: host and port of the proxy, for the message; empty without one.
    """
    *_, innermost = _unwrapped(error)
    error_type = _error_type(innermost)
    if step is Step.TUNNEL and error_type is BadResponseError:
        error_type = ConnectError  # a response of the proxy, not of the server
    if isinstance(innermost, UnusableFileError | UnusableProxyError):
        message = str(innermost)
    else:
        message = _describe(innermost, step, peer, proxy)
    mapped = error_type(message, operation=operation)
    if isinstance(mapped, TlsError):
        mapped.openssl_reason = str(getattr(innermost, "reason", None) or "")
        mapped.verify_code = int(getattr(innermost, "verify_code", 0))
    _break_cycles(error)
    return mapped


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
        inner = next(_wrapped(inner), None)


def _wrapped(error: BaseException) -> Iterator[BaseException]:
    candidates = (
        getattr(error, "reason", None),
        getattr(error, "original_error", None),
        *error.args,
        error.__cause__,
    )
    return (each for each in candidates if isinstance(each, BaseException))


def _break_cycles(error: BaseException) -> None:
    """Remove the traceback, cause and context of an exception and of all that it refers to.

    Frames of urllib3 and http.client refer to exceptions in whose tracebacks they are. Until a garbage collection, which may
    be minutes away, these cycles would keep the response and the TLS context in memory.
    """
    found = [error]
    for each in found:  # grows meanwhile
        linked = [*_wrapped(each), *filter(None, [each.__context__])]
        found += [other for other in linked if not any(other is known for known in found)]
        each.__traceback__ = each.__context__ = each.__cause__ = None


_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
_PROXY_AUTHENTICATION_REQUIRED = "407"
_PLAINTEXT_REASONS = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}
)
"""How OpenSSL, depending on its version, names a response that is not TLS."""


def _describe(error: BaseException, step: Step, peer: str, proxy: str) -> str:
    """Describe in one line what failed and at whom. It contains nothing from the request."""
    where = peer
    if proxy:
        on_the_way = step not in {Step.HANDSHAKE, Step.REQUEST}
        where = f"the proxy {proxy}" if on_the_way else f"{peer} through the proxy {proxy}"
    match error:
        case ssl.SSLCertVerificationError():
            problem = one_line(getattr(error, "verify_message", ""))
            return f"the certificate of {where} is not trusted: {problem}"
        case ssl.SSLError() if getattr(error, "reason", None) in _PLAINTEXT_REASONS:
            return f"{where} does not speak TLS; is it a port for plain HTTP?"
        case socket.gaierror():
            return f"the host name of {where} cannot be resolved: {_os_message(error)}"
        case OSError(args=[str(text)]) if tunnel := _TUNNEL.match(text):
            return _describe_refused_tunnel(tunnel[1], peer, proxy)
    if step is Step.REQUEST:
        return _describe_request(error, where)
    action = {
        Step.RESOLVE: f"the {step} of {where}",
        Step.CONNECT: f"the connection to {where}",
        Step.TUNNEL: f"the connection through {where} to {peer}",
    }.get(step, f"the TLS handshake with {where}")
    return f"{action} failed: {describe_problem(error)}"


def _describe_refused_tunnel(status: str, peer: str, proxy: str) -> str:
    if status == _PROXY_AUTHENTICATION_REQUIRED:
        return f"the proxy {proxy} requires another user name or password (HTTP {status})"
    verb = "cannot" if status.startswith("5") else "refused to"
    return f"the proxy {proxy} {verb} connect to {peer} (HTTP {status})"


def describe_problem(error: BaseException) -> str:  # noqa: PLR0911 - one line for each kind
    """Describe what went wrong before the request was sent, without naming the host."""
    match error:
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            return "timed out"
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return "the connection was closed"
        case ConnectionResetError() | BrokenPipeError():  # RemoteDisconnected is the former
            return "the connection was closed"
        case BadHeadError():
            return str(error)
        case http.client.HTTPException():
            return "the response is not HTTP"
        case OSError() if error.strerror:
            return _os_message(error)
    return type(error).__name__


def _describe_request(error: BaseException, where: str) -> str:  # noqa: PLR0911 - one line for each kind
    match error:
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            return f"{where} closed the TLS connection unexpectedly"
        case ssl.SSLError():
            return f"TLS with {where} failed: {_os_message(error)}"
        case TimeoutError() | urllib3.exceptions.TimeoutError() if (
            _error_type(error) is RequestTimeoutError
        ):
            return f"{where} did not respond in time"
        case http.client.IncompleteRead() | http.client.RemoteDisconnected():
            return f"{where} closed the connection before the response was complete"
        case BadHeadError():
            return f"the request to {where} failed: {error}"
        case http.client.BadStatusLine():
            return f"the response of {where} is not HTTP"
        case OSError() if error.strerror:
            return f"the connection to {where} failed: {_os_message(error)}"
    return f"the request to {where} failed: {type(error).__name__}"


def _os_message(error: OSError) -> str:
    """Return the operating system's or OpenSSL's text for an error number."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, str):
        return one_line(reason.replace("_", " ").lower())
    return one_line(error.strerror) if isinstance(error.strerror, str) else type(error).__name__
