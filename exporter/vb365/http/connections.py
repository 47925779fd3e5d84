"""Connections to one server, made as the configuration says and in no way the environment may suggest."""

from __future__ import annotations

from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.cookies import extract_cookies_to_jar
from requests.utils import get_environ_proxies, prepend_scheme_if_needed, select_proxy
from urllib3 import HTTPSConnectionPool
from urllib3.connection import HTTPSConnection

from exporter.vb365.http.deadlines import current_exchange, dialled
from exporter.vb365.http.tls import not_after, proxy_context, server_context

if TYPE_CHECKING:
    import socket
    import ssl
    from http.cookiejar import Cookie
    from urllib.request import Request as UrllibRequest

    from requests.cookies import RequestsCookieJar
    from urllib3.connectionpool import HTTPConnectionPool

    from exporter.config.model import ServerConfig

__all__ = ["Prepared", "UnusableProxyError", "new_session"]

_MAX_COOKIES: Final = 50
_HELD_CONNECTIONS: Final = 1
"""The change feed's, which is nearly always under way."""


class UnusableProxyError(Exception):
    """The configured or the environment's proxy is none that can be used; the text does not repeat its URL."""


def new_session(server: ServerConfig, origin: str) -> requests.Session:
    """A session whose pool holds a connection for each request that may be under way.

    Args:
        server: the configuration; its TLS files are read now.
        origin: scheme, host and port of its URL.

    Raises:
        UnusableFileError: a TLS file cannot be used.
        UnusableProxyError: the proxy's URL cannot be used.
    """
    adapter = _Adapter(
        origin,
        connections=server.max_concurrent_requests + _HELD_CONNECTIONS,
        context=server_context(server.tls_config),
        server_name=server.tls_config.server_name,
        proxy=_proxy_url(server, origin),
    )
    session = _Session()
    session.trust_env = False  # no .netrc, no proxy and no certificate bundle from a variable
    session.cookies.set_policy(_BoundedCookiePolicy(session.cookies))
    session.mount("https://", adapter)
    return session


def _proxy_url(server: ServerConfig, origin: str) -> str | None:
    if server.proxy_url is not None:
        url = server.proxy_url.reveal()
    elif server.proxy_from_environment:
        chosen: str | None = select_proxy(origin, get_environ_proxies(origin, no_proxy=None))
        if not chosen:
            return None
        url = chosen
    else:
        return None
    try:
        # The stubs do not have this function's types.
        url = prepend_scheme_if_needed(url, "http")  # type: ignore[no-untyped-call]
        scheme = urlsplit(url).scheme
    except ValueError:
        scheme = ""
    if scheme not in {"http", "https"}:
        raise UnusableProxyError("the proxy cannot be used: its URL must start with http://")
    return url


class Prepared(requests.PreparedRequest):
    """A request that is ready to be sent, put together without requests' own preparation.

    That costs more than all else the client does for a request, and would bring in the environment.
    """

    def __init__(
        self, method: str, origin: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> None:
        super().__init__()
        self.method = method
        self.url = origin + target
        # requests wants a dict of its own here; a plain one does, and urllib3 copies it much faster.
        self.headers = headers  # type: ignore[assignment]
        self.body = body
        self._target = target

    @property
    def path_url(self) -> str:
        """Path and query, which are known here without taking the URL apart again."""
        return self._target


class _Connection(HTTPSConnection):
    """A connection that the watchdog can cut at any moment."""

    def _new_conn(self) -> socket.socket:
        return dialled(super()._new_conn)

    def connect(self) -> None:
        super().connect()
        if (exchange := current_exchange()) is not None:
            # What urllib3 declares as a plain socket is a TLS socket by now, or TLS inside of the TLS to a proxy.
            tls_socket: Any = self.sock
            exchange.certificate_not_after = not_after(tls_socket)
        # urllib3 warns at every request on a connection that is not. Where the configuration wants it unverified,
        # that is logged once and shown in a metric.
        self.is_verified = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        if (exchange := current_exchange()) is not None:
            # TLS inside of the TLS to a proxy hangs on the outer socket.
            exchange.watch_socket(getattr(self.sock, "socket", self.sock))
            exchange.sent = True
        super().request(*args, **kwargs)


class _Pool(HTTPSConnectionPool):
    ConnectionCls = _Connection


class _Adapter(HTTPAdapter):
    """requests' adapter, but with one pool, made from its arguments alone."""

    def __init__(
        self,
        origin: str,
        *,
        connections: int,
        context: ssl.SSLContext,
        server_name: str | None,
        proxy: str | None,
    ) -> None:
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=False)
        manager = self.poolmanager
        if proxy is not None:
            outer = proxy_context() if proxy.startswith("https:") else None
            manager = self.proxy_manager_for(proxy, proxy_ssl_context=outer)
        manager.connection_pool_kw |= {"ssl_context": context, "server_hostname": server_name}
        manager.pool_classes_by_scheme = {"https": _Pool}
        parts = urlsplit(origin)
        pool: HTTPConnectionPool = manager.connection_from_host(parts.hostname, parts.port, "https")
        self._pool = pool

    def get_connection_with_tls_context(self, *_args: Any, **_kwargs: Any) -> HTTPConnectionPool:
        """The one there is: looking it up by the request would cost more than the request."""
        return self._pool

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """Nothing: it is all in the pool's TLS context, and here a bundle of a package would get into it."""

    def request_url(self, request: requests.PreparedRequest, _proxies: Any) -> str:
        """Path and query: proxies are tunnelled through, always."""
        return request.path_url

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Only what is looked at here, in half the time; the session's cookies are taken elsewhere."""
        response = requests.Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.reason = resp.reason
        response.raw = resp
        response.request = req
        return response


class _Session(requests.Session):
    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Through the adapter, and nothing more.

        Without hooks and redirects: even when those are not followed, requests reads their body, without bound.
        Without a look for cookies where none are set, which costs more than what is left.
        """
        response = self.adapters["https://"].send(request, **kwargs)
        if "Set-Cookie" in response.headers:
            # The stubs do not have this function's types.
            extract_cookies_to_jar(self.cookies, request, response.raw)  # type: ignore[no-untyped-call]
        return response


class _BoundedCookiePolicy(DefaultCookiePolicy):
    """Takes cookies, as antiforgery may need them, but not without end."""

    def __init__(self, jar: RequestsCookieJar) -> None:
        super().__init__()
        self._jar = jar

    def set_ok(self, cookie: Cookie, request: UrllibRequest) -> bool:
        """Whether to take this one."""
        return len(self._jar) < _MAX_COOKIES and super().set_ok(cookie, request)
