from __future__ import annotations

import errno
import http.client
import inspect
import json
import socket
import ssl
import zlib
from types import ModuleType
from typing import Any

import pytest
import requests.exceptions
import urllib3.exceptions
import urllib3.util.ssl_match_hostname

from exporter.vb365.errors import Reason
from exporter.vb365.http.deadlines import Step
from exporter.vb365.http.exceptions import LIBRARY_ERRORS, map_exception

SECRET = "hunter2"


def exceptions_in(module: ModuleType) -> list[type[Exception]]:
    return [
        each
        for _, each in inspect.getmembers(module, inspect.isclass)
        if issubclass(each, Exception)
        and not issubclass(each, Warning)
        and each.__module__ == module.__name__
    ]


LIBRARY_EXCEPTIONS = [*exceptions_in(requests.exceptions), *exceptions_in(urllib3.exceptions)]

# Raised when a request could not be made: a bug in the exporter, not a failure of the server.
BUGS = {
    requests.exceptions.RequestException,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.RetryError,
    requests.exceptions.StreamConsumedError,
    requests.exceptions.URLRequired,
    requests.exceptions.UnrewindableBodyError,
    urllib3.exceptions.HTTPError,
    urllib3.exceptions.HostChangedError,
    urllib3.exceptions.LocationValueError,
    urllib3.exceptions.TimeoutStateError,
    urllib3.exceptions.URLSchemeUnknown,
    urllib3.exceptions.UnrewindableBodyError,
}


def reason_of(foreign: BaseException) -> Reason:
    return map_exception(foreign, operation="get", peer="hq:4443").reason


def bare(error: type[Exception]) -> Exception:
    """Return an instance, whatever arguments its constructor requires."""
    return error.__new__(error)


@pytest.mark.parametrize(
    "error", LIBRARY_EXCEPTIONS, ids=lambda error: f"{error.__module__}.{error.__name__}"
)
def test_every_exception_of_requests_and_urllib3_is_caught_and_mapped(
    error: type[Exception],
) -> None:
    assert issubclass(error, LIBRARY_ERRORS)
    assert (reason_of(bare(error)) is Reason.INTERNAL) == (error in BUGS)


def certificate_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    return error


def wrapped(inner: Exception) -> Exception:
    """Return an exception wrapped as requests does it."""
    pool: Any = None
    return requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(pool, "/", inner))


def caused(outer: Exception, inner: Exception) -> Exception:
    outer.__cause__ = inner
    return outer


CONNECTION: Any = "hq"


@pytest.mark.parametrize(
    ("foreign", "reason", "text"),
    [
        (
            wrapped(
                caused(
                    urllib3.exceptions.NewConnectionError(CONNECTION, "x"),
                    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
                )
            ),
            Reason.CONNECT,
            "the connection to hq:4443 failed: Connection refused",
        ),
        (
            wrapped(
                caused(
                    urllib3.exceptions.NameResolutionError("hq", CONNECTION, socket.gaierror()),
                    socket.gaierror(-2, "Name or service not known"),
                )
            ),
            Reason.CONNECT,
            "the host name of hq:4443 cannot be resolved: Name or service not known",
        ),
        (
            wrapped(caused(urllib3.exceptions.ConnectTimeoutError("x"), TimeoutError("timed out"))),
            Reason.TIMEOUT,
            "hq:4443 did not respond in time",
        ),
        (
            requests.exceptions.ReadTimeout(
                urllib3.exceptions.ReadTimeoutError(CONNECTION, "/", "x")
            ),
            Reason.TIMEOUT,
            "hq:4443 did not respond in time",
        ),
        (
            requests.exceptions.SSLError(urllib3.exceptions.SSLError(certificate_error())),
            Reason.TLS,
            "the certificate of hq:4443 is not trusted: certificate has expired",
        ),
        (
            urllib3.util.ssl_match_hostname.CertificateError("hostname mismatch"),
            Reason.TLS,
            "CertificateError",
        ),
        (ssl.SSLError(1, "[SSL: X] y"), Reason.TLS, "TLS with hq:4443 failed"),
        (ssl.SSLEOFError(8, "EOF occurred"), Reason.CONNECT, "closed the TLS connection"),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.ProtocolError(
                    "Connection aborted.", http.client.RemoteDisconnected("closed")
                )
            ),
            Reason.CONNECT,
            "closed the connection",
        ),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.ProtocolError(
                    "Connection aborted.", http.client.BadStatusLine("garbage")
                )
            ),
            Reason.BAD_RESPONSE,
            "the response of hq:4443 is not HTTP",
        ),
        (
            urllib3.exceptions.ProtocolError("x", urllib3.exceptions.IncompleteRead(1, 2)),
            Reason.CONNECT,
            "before the response was complete",
        ),
        (
            ConnectionResetError(errno.ECONNRESET, "reset"),
            Reason.CONNECT,
            "the connection to hq:4443 failed: reset",
        ),
        (http.client.LineTooLong("header line"), Reason.BAD_RESPONSE, "LineTooLong"),
        (json.JSONDecodeError("x", SECRET, 0), Reason.BAD_RESPONSE, "JSONDecodeError"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, "x"), Reason.BAD_RESPONSE, "Unicode"),
        (RecursionError(), Reason.BAD_RESPONSE, "RecursionError"),
        (zlib.error("x"), Reason.BAD_RESPONSE, "error"),
        (MemoryError(), Reason.INTERNAL, "MemoryError"),
    ],
)
def test_the_innermost_exception_decides(foreign: Exception, reason: Reason, text: str) -> None:
    with pytest.raises(Exception, match=text) as caught:
        raise map_exception(foreign, operation="get", peer="hq:4443")
    assert reason_of(foreign) is reason
    assert str(caught.value).isprintable()
    assert SECRET not in str(caught.value)


def refused_tunnel(status: int) -> Exception:
    refusal = OSError(f"Tunnel connection failed: {status} hunter2 wanted")
    return requests.exceptions.ProxyError(
        wrapped(urllib3.exceptions.ProxyError("Unable to connect to proxy", refusal))
    )


def tls_error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] hunter2")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("foreign", "step", "proxy", "reason", "text"),
    [
        (
            socket.gaierror(-2, "Name or service not known"),
            Step.RESOLVE,
            "proxy:3128",
            Reason.CONNECT,
            "the host name of the proxy proxy:3128 cannot be resolved: Name or service not known",
        ),
        (
            ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
            Step.CONNECT,
            "proxy:3128",
            Reason.CONNECT,
            "the connection to the proxy proxy:3128 failed: Connection refused",
        ),
        (
            TimeoutError("timed out"),
            Step.CONNECT,
            "",
            Reason.TIMEOUT,
            "the connection to hq:4443 failed: timed out",
        ),
        (
            OSError("the name has no address"),
            Step.CONNECT,
            "",
            Reason.CONNECT,
            "the connection to hq:4443 failed: OSError",
        ),
        (
            certificate_error(),
            Step.PROXY_HANDSHAKE,
            "proxy:3128",
            Reason.TLS,
            "the certificate of the proxy proxy:3128 is not trusted: certificate has expired",
        ),
        (
            refused_tunnel(407),
            Step.TUNNEL,
            "proxy:3128",
            Reason.CONNECT,
            "the proxy proxy:3128 requires another user name or password (HTTP 407)",
        ),
        (
            refused_tunnel(403),
            Step.TUNNEL,
            "proxy:3128",
            Reason.CONNECT,
            "the proxy proxy:3128 refused to connect to hq:4443 (HTTP 403)",
        ),
        (
            refused_tunnel(502),
            Step.TUNNEL,
            "proxy:3128",
            Reason.CONNECT,
            "the proxy proxy:3128 cannot connect to hq:4443 (HTTP 502)",
        ),
        (
            http.client.BadStatusLine("SSH-2.0 hunter2"),
            Step.TUNNEL,
            "proxy:3128",
            Reason.CONNECT,
            "the connection through the proxy proxy:3128 to hq:4443 failed: the response is not HTTP",
        ),
        (
            certificate_error(),
            Step.HANDSHAKE,
            "proxy:3128",
            Reason.TLS,
            "the certificate of hq:4443 through the proxy proxy:3128 is not trusted: certificate has expired",
        ),
        (
            tls_error("WRONG_VERSION_NUMBER"),
            Step.HANDSHAKE,
            "",
            Reason.TLS,
            "hq:4443 does not speak TLS; is it a port for plain HTTP?",
        ),
        (
            tls_error("TLSV1_ALERT_PROTOCOL_VERSION"),
            Step.HANDSHAKE,
            "",
            Reason.TLS,
            "the TLS handshake with hq:4443 failed: tlsv1 alert protocol version",
        ),
        (
            ssl.SSLEOFError(8, "EOF occurred"),
            Step.HANDSHAKE,
            "",
            Reason.CONNECT,
            "the TLS handshake with hq:4443 failed: the connection was closed",
        ),
        (
            TimeoutError("timed out"),
            Step.HANDSHAKE,
            "",
            Reason.TIMEOUT,
            "the TLS handshake with hq:4443 failed: timed out",
        ),
    ],
)
def test_the_message_names_the_step_and_whose_failure_it_was(
    foreign: Exception, step: Step, proxy: str, reason: Reason, text: str
) -> None:
    error = map_exception(foreign, operation="get", peer="hq:4443", step=step, proxy=proxy)
    assert (error.reason, error.message) == (reason, text)


def test_exceptions_that_contain_each_other_are_mapped() -> None:
    error = OSError("x")
    error.args = (error,)
    assert reason_of(error) is Reason.CONNECT


@pytest.mark.parametrize("error", LIBRARY_EXCEPTIONS, ids=lambda error: error.__name__)
def test_the_text_of_a_library_exception_is_not_quoted(error: type[Exception]) -> None:
    foreign = bare(error)
    foreign.args = (f"https://user:{SECRET}@proxy/ {SECRET}",)
    for step in Step:
        mapped = map_exception(foreign, operation="get", peer="hq:4443", step=step, proxy="p:1")
        assert SECRET not in str(mapped)
