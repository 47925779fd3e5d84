"""The routes: the response of each path, and the interface to the data behind it."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

import structlog
from aiohttp import web

from exporter.metrics.text_format import Format
from exporter.web.blocking import run_in_daemon_thread
from exporter.web.listeners import WebServerError
from exporter.web.negotiation import accepts_gzip, choose_format, prefers_json
from exporter.web.reply import (
    STALL_SECONDS,
    NoPlaceError,
    Place,
    Places,
    error_response,
    no_place_response,
    stream,
    text_response,
)
from exporter.web.status.page import StatusPage
from exporter.web.status.rendering import STYLE_SOURCE, StatusPageCache

log = structlog.get_logger()

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Guard: TypeAlias = Callable[[web.Request], Awaitable[web.Response | None]]
Reload: TypeAlias = Callable[[], Sequence[str]]
Headers: TypeAlias = tuple[tuple[str, str], ...]

# The status page and the configuration can be large, too; nobody reads many of them at the same time.
_MAX_PAGES = 40
_MAX_RELOADS = 4

_CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {STYLE_SOURCE}; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_COMMON_HEADERS = {
    "Server": "vb365-restore-exporter",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
}


class MetricsBody(Protocol):
    """A prepared body of `/metrics` in one format: immutable, shared by all scrapes."""

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of one body
        """Return the number of bytes that `chunks` yields in this form."""

    def chunks(self, gzip: bool) -> Iterable[bytes]:  # noqa: FBT001 - two forms of one body
        """Return the body in blocks of any size; the compressed form is one gzip member."""


class WebBackend(Protocol):
    """The data behind the pages. No call waits for VB365."""

    def exposition(self, wanted: Format) -> MetricsBody:
        """Return the newest body of `/metrics`."""

    def health_problems(self) -> Sequence[str]:
        """Return a line for each part that is stuck or has ended."""

    def readiness_problems(self) -> Sequence[str]:
        """Return a line for each server that has not been polled yet."""

    def config_text(self) -> str:
        """Return the active configuration as YAML, secrets masked; called in a worker thread."""

    def status(self) -> StatusPage:
        """Return the data of the status page; called in a worker thread."""


class WebApp:
    """The routes of the exporter, served by a `WebServer`.

    Args:
        backend: the data behind the pages.
        telemetry_path: the path of the metrics; `/` replaces the status page.
        max_requests: the maximum number of scrapes in flight; others get 503 with `Retry-After`, or the place of a
            client that does not read.
        guard: called before every request, whatever its path; a response that it returns is sent
            instead of the page (authentication, rate limit). None: every request is allowed.
        extra_headers: returns headers for every response; they replace those of the same name.
        reload: reloads the configuration and returns its problems, a line each; None: the app has no
            `/-/reload`.
        stall_seconds: how long a client may leave a write unread while others wait for its place.
        monotonic: the clock of the status page's cache, in seconds.

    Raises:
        WebServerError: the metrics cannot be served at the telemetry path.
    """

    def __init__(
        self,
        backend: WebBackend,
        *,
        telemetry_path: str = "/metrics",
        max_requests: int = 40,
        guard: Guard | None = None,
        extra_headers: Callable[[], Headers] = tuple,
        reload: Reload | None = None,
        stall_seconds: float = STALL_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._scrapes = Places(max_requests, stall_seconds=stall_seconds)
        self._pages = Places(_MAX_PAGES, stall_seconds=stall_seconds)
        self._rendering_config = asyncio.Lock()
        self._guard = guard
        self._extra_headers = extra_headers
        self._status_page = StatusPageCache(
            backend.status, telemetry_path=telemetry_path, monotonic=monotonic
        )
        self.application = web.Application(middlewares=[self._respond])
        self.application.on_response_prepare.append(self._add_headers)
        self._add_routes(self.application.router, telemetry_path, reload)

    def _add_routes(
        self, router: web.UrlDispatcher, telemetry_path: str, reload: Reload | None
    ) -> None:
        pages: dict[str, Handler] = {
            "/-/healthy": self._healthy,
            "/-/ready": self._ready,
            "/config": self._config,
        }
        unusable = {*pages, "/-/reload"}
        if not re.fullmatch(r"/[^{}]*", telemetry_path) or telemetry_path in unusable:
            raise WebServerError(
                f"cannot serve metrics at {telemetry_path!r}: the path must begin with /, have no "
                "braces and not be the path of another page"
            )
        for path, page in ({"/": self._status} | pages | {telemetry_path: self._metrics}).items():
            router.add_get(path, page)
        if reload is not None:
            router.add_post("/-/reload", _reload_handler(reload))

    def error_response(self, status: int) -> web.Response:
        """Return the response to a request that could not be parsed (for `WebServer`)."""
        response = error_response(status)
        response.headers.update(self._headers())
        return response

    def _headers(self) -> dict[str, str]:
        return _COMMON_HEADERS | dict(self._extra_headers())

    async def _add_headers(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers())

    @web.middleware
    async def _respond(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if self._guard is not None and (rejection := await self._guard(request)) is not None:
                return rejection
            return await handler(request)
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return error_response(405, headers={"Allow": allowed})
        except web.HTTPException as error:
            return error_response(error.status)
        except NoPlaceError:
            log.debug("request rejected, too many in flight", path=request.path)
            return no_place_response()
        except Exception as error:
            log.exception("request failed", path=request.path, error=type(error).__name__)
            return error_response(500)

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        with self._scrapes.hold(request) as place:
            wanted = choose_format(_list_header(request, "Accept"))
            gzip = accepts_gzip(_list_header(request, "Accept-Encoding"))
            body = self._backend.exposition(wanted)
            headers = {"Content-Type": wanted.content_type, "Vary": "Accept, Accept-Encoding"}
            if gzip:
                headers["Content-Encoding"] = "gzip"
            length = body.content_length(gzip)
            return await stream(place, body.chunks(gzip), length=length, headers=headers)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        with self._pages.hold(request) as place:
            if _wants_json(request):
                text, content_type = await self._status_page.json(), "application/json"
            else:
                text = await self._status_page.html(paused="pause" in request.query)
                content_type = "text/html; charset=utf-8"
            return await _page(place, text, content_type, vary="Accept")

    async def _healthy(self, _request: web.Request) -> web.Response:
        return _check_response("healthy", self._backend.health_problems())

    async def _ready(self, _request: web.Request) -> web.Response:
        return _check_response("ready", self._backend.readiness_problems())

    async def _config(self, request: web.Request) -> web.StreamResponse:
        with self._pages.hold(request) as place:
            async with self._rendering_config:
                text = await run_in_daemon_thread(self._backend.config_text)
            return await _page(place, text, "text/plain; charset=utf-8")


def _reload_handler(reload: Reload) -> Handler:
    places = asyncio.Semaphore(_MAX_RELOADS)

    async def handler(_request: web.Request) -> web.Response:
        if places.locked():
            return no_place_response()
        async with places:
            # In a thread: it reads files, and scrapes must not wait for that.
            problems = await run_in_daemon_thread(reload)
        if not problems:
            return _lines_response(200, "configuration reloaded")
        return _lines_response(500, "configuration cannot be used, keeping the old one", *problems)

    return handler


def _wants_json(request: web.Request) -> bool:
    """Return whether a request for the status page wants JSON: by `?format=json`, or by `Accept`."""
    if "format" in request.query:
        return request.query["format"] == "json"
    return prefers_json(_list_header(request, "Accept"))


async def _page(
    place: Place, text: str, content_type: str, *, vary: str | None = None
) -> web.StreamResponse:
    """Send a page in writes of bounded size; what UTF-8 cannot encode (lone surrogates) is sent as `?`."""
    body = text.encode("utf-8", "replace")
    headers = {"Content-Type": content_type} | ({"Vary": vary} if vary else {})
    return await stream(place, [body], length=len(body), headers=headers)


def _check_response(good: str, problems: Sequence[str]) -> web.Response:
    if problems:
        return _lines_response(503, f"not {good}", *problems)
    return _lines_response(200, good)


def _lines_response(status: int, *lines: str) -> web.Response:
    return text_response("\n".join(lines) + "\n", status=status)


def _list_header(request: web.Request, name: str) -> str | None:
    """Return all lines of a list-valued header as one value; None: there are none."""
    values = request.headers.getall(name, ())
    return ",".join(values) if values else None
