"""A requests session for one server, set up from its configuration and not implicitly from the environment."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from http.cookiejar import Cookie
from io import BufferedReader
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from exporter import __version__
from exporter.config.model import ServerConfig, TLSConfig
from exporter.vb365.http.deadlines import Step, current_exchange
from exporter.vb365.http.exceptions import BadHeadError, UnusableProxyError, describe_problem
from exporter.vb365.http.tls import not_after, proxy_context, server_context

_MAX_COOKIES = 50
_MAX_COOKIES_BYTES = 4096
"""Names and values together. Many servers refuse a request whose headers are longer than 8 KiB."""
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]*")
_MAX_HEAD_BYTES = 32 << 10
"""Status line and headers, those of interim responses included. http.client alone accepts 6 MiB and more."""
_MAX_INTERIM_RESPONSES = 16
_LONG_POLL_CONNECTIONS = 1
"""For the change feed, whose request is nearly always under way."""
_HEADERS = {
    "User-Agent": f"vb365-restore-exporter/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
}


def new_session(server: ServerConfig) -> requests.Session:
    """Read the TLS files and return a session that can keep a connection for each concurrent request.

    Raises:
        UnusableFileError: a TLS file cannot be used.
        UnusableProxyError: the proxy's URL cannot be used.
    """
    session = _Session()
    session.trust_env = False  # no .netrc, and no proxy or certificate bundle from a variable
    session.headers.clear()
    session.headers.update(_HEADERS)
    session.cookies = _Cookies()
    proxy = _proxy_url(server)
    if proxy is not None:
        session.proxies = {"https": proxy}
    connections = server.max_concurrent_requests + _LONG_POLL_CONNECTIONS
    session.mount("https://", _Adapter(server.tls_config, connections=connections, proxy=proxy))
    return session


def _proxy_url(server: ServerConfig) -> str | None:
    url: str | None = None
    if server.proxy_url is not None:
        url = server.proxy_url.reveal()
    elif server.proxy_from_environment:
        url = select_proxy(server.url, get_environ_proxies(server.url, no_proxy=None))
    if not url:
        return None
    try:
        url = prepend_scheme_if_needed(url, "http")  # type: ignore[no-untyped-call] # missing in the stubs
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in {"http", "https"}:
        raise UnusableProxyError(
            "the proxy cannot be used: its URL must start with http:// or https://"
        )
    return url


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: no response counts as a redirect.

        Even when told not to follow redirects, the requests library prepares the next request, and first reads the whole
        body, whatever its size.
        """


class _Cookies(RequestsCookieJar):
    """Cookies that fit into the headers of a request; the antiforgery check may need them. Shared by threads."""

    def __iter__(self) -> Iterator[Cookie]:  # type: ignore[override] # the stubs are those of a mapping
        # requests copies the cookies for each request, while another thread may add one.
        with self._cookies_lock:  # type: ignore[attr-defined] # missing in the stubs
            return iter([*super().__iter__()])

    def set_cookie(self, cookie: Cookie, *args: Any, **kwargs: Any) -> None:
        """Keep a cookie, unless it or all together are larger than a request can carry."""
        kept = {_identity(each): each for each in self} | {_identity(cookie): cookie}
        texts = [text for each in kept.values() for text in (each.name, each.value or "")]
        if (
            len(kept) <= _MAX_COOKIES
            and sum(map(len, texts)) <= _MAX_COOKIES_BYTES
            and all(map(_VISIBLE_ASCII.fullmatch, texts))
        ):
            super().set_cookie(cookie, *args, **kwargs)


def _identity(cookie: Cookie) -> tuple[str, str, str]:
    return cookie.domain, cookie.path, cookie.name


class _Reader(BufferedReader):
    """Reads a response, and limits the lines of its head to `_MAX_HEAD_BYTES` in total."""

    is_head = True
    _bytes_left = _MAX_HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        if not self.is_head:
            return super().readline(size)
        line = super().readline(self._bytes_left + 1)
        self._bytes_left -= len(line)
        if self._bytes_left < 0:
            raise BadHeadError(f"the head of the response is larger than {_MAX_HEAD_BYTES} bytes")
        # The email package would take a bare CR for the end of a header, so that there could be thousands of them.
        return line[:-2].replace(b"\r", b" ") + line[-2:]


class _Response(http.client.HTTPResponse):
    """A response whose head is limited, also if it is a proxy's response to CONNECT."""

    fp: _Reader

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp = _Reader(self.fp.detach())

    def begin(self) -> None:
        super().begin()
        self.fp.is_head = False
        # http.cookiejar takes quadratic time to parse these before it ignores them.
        del self.msg["Set-Cookie2"]

    def _read_status(self) -> tuple[str, int, str]:
        """Read the status line of the response after skipping interim ones, such as 103 (RFC 9110, 15.2).

        http.client skips only 100, however many there are. 101 ends HTTP on this connection.
        """
        for _ in range(_MAX_INTERIM_RESPONSES + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc] # missing in the stubs
            if not 100 <= status <= 199 or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise BadHeadError("too many interim responses")


class _Connection(HTTPSConnection):
    """A connection that the watchdog can shut down from before it connects until the response is read.

    urllib3 limits the time to connect and the time of each read, but not the whole request, and cannot cancel one.
    """

    response_class = _Response

    @property
    def is_connected(self) -> bool:
        """Whether another request can be sent: bytes after a response would be taken for the next one."""
        # The ssl module has read whole records, so that the socket may show nothing of them.
        pending = getattr(self.sock, "pending", None)
        return super().is_connected and not (pending and pending())

    def _new_conn(self) -> socket.socket:
        """Connect as urllib3 does, but let the watchdog watch the socket meanwhile."""
        trace = current_exchange().trace
        trace.step = Step.RESOLVE
        trace.host = self.host
        if self.proxy_is_tunneling:
            trace.proxy = f"{self.host}:{self.port}"
        try:
            # In a URL the zone of an IPv6 address follows %25 (RFC 6874); urllib3 leaves that undecoded.
            host = self._dns_host.strip("[]").replace("%25", "%")
            addresses = socket.getaddrinfo(host, self.port, socket.AF_UNSPEC, socket.SOCK_STREAM)
        except UnicodeError:
            raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from None
        trace.step = Step.CONNECT
        trace.addresses = tuple(dict.fromkeys(str(address[0]) for *_, address in addresses))
        for number, (family, kind, protocol, _, address) in enumerate(addresses, 1):
            try:
                sock = self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                trace.failures[str(address[0])] = describe_problem(error)
                if number == len(addresses):
                    raise
            else:
                trace.address = str(address[0])
                trace.step = Step.PROXY_HANDSHAKE if self.proxy_is_tunneling else Step.HANDSHAKE
                return sock
        raise OSError("the name has no address")

    def _tunnel(self) -> None:
        trace = current_exchange().trace
        trace.step = Step.TUNNEL
        super()._tunnel()
        trace.step = Step.HANDSHAKE

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        try:
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(self.timeout)
            current_exchange().watch(sock)
            sock.connect(address)
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        super().connect()
        trace = current_exchange().trace
        # urllib3 declares a plain socket; by now it is a TLS socket, or TLS inside the TLS to a proxy.
        tls_socket: Any = self.sock
        trace.tls_version = tls_socket.version() or ""
        trace.certificate = tls_socket.getpeercert(binary_form=True) or b""
        trace.certificate_not_after = not_after(tls_socket)
        # Prevents urllib3's warning about each request. That a server is unverified is logged once and is a metric.
        self.is_verified = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        exchange = current_exchange()
        exchange.watch(self.sock)
        exchange.trace.step = Step.REQUEST
        exchange.sent = True
        super().request(*args, **kwargs)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """An adapter that uses the TLS context of one server, both directly and through a proxy."""

    def __init__(self, tls: TLSConfig, *, connections: int, proxy: str | None) -> None:
        self._tls: dict[str, Any] = {
            "ssl_context": server_context(tls),
            "server_hostname": tls.server_name,
        }
        super().__init__(pool_connections=1, pool_maxsize=connections)
        if proxy is not None:
            self.proxy_manager_for(proxy)  # before threads can compete for it

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = False,  # noqa: FBT001, FBT002 - requests' signature
        **pool_kwargs: Any,
    ) -> None:
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs, **self._tls)
        self.poolmanager.pool_classes_by_scheme = {"https": _Pool}

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy not in self.proxy_manager:
            context = proxy_context() if proxy.startswith("https:") else None
            manager = super().proxy_manager_for(
                proxy, **kwargs, **self._tls, proxy_ssl_context=context
            )
            manager.pool_classes_by_scheme = {"https": _Pool}
        return self.proxy_manager[proxy]

    def build_connection_pool_key_attributes(self, *args: Any, **kwargs: Any) -> Any:
        """Return scheme, host and port of the request, and no TLS settings: those of the pool manager apply."""
        host, _ = super().build_connection_pool_key_attributes(*args, **kwargs)
        return host, {}

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: requests would add its own bundle of authorities to the TLS context."""
