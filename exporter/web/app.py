"""The routes: what each path answers, and what the service behind them has to give."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import structlog
from aiohttp import web

from exporter.web.listeners import WebServerError
from exporter.web.negotiation import accepts_gzip, choose_format
from exporter.web.reply import Reply, error_reply, send, text_reply
from exporter.web.status import STYLE_SOURCE, StatusPageCache

if TYPE_CHECKING:
    from exporter.metrics.text_format import Format
    from exporter.web.status import StatusPage

log = structlog.get_logger()

Action: TypeAlias = Callable[[web.BaseRequest], Awaitable[Reply]]
Guard: TypeAlias = Callable[[web.BaseRequest], Awaitable[Reply | None]]
Reload: TypeAlias = Callable[[], Sequence[str]]
Headers: TypeAlias = tuple[tuple[str, str], ...]
T = TypeVar("T")

DEFAULT_MAX_REQUESTS = 40
SEND_TIMEOUT_SECONDS = 10.0
RETRY_AFTER_SECONDS = 5

_CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src {STYLE_SOURCE}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_COMMON_HEADERS = (
    ("Server", "vb365-restore-exporter"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Content-Security-Policy", _CONTENT_SECURITY_POLICY),
)


class MetricsBody(Protocol):
    """A prepared body of `/metrics` in one format; immutable, shared by all scrapes."""

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of one body
        """Return how many bytes `chunks` gives in this form."""

    def chunks(self, gzip: bool) -> Iterable[bytes]:  # noqa: FBT001 - two forms of one body
        """Give the body in blocks of any size; in the gzip form they are one gzip member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether a check passes, and lines for a person that say why not."""

    ok: bool
    reasons: tuple[str, ...] = ()


class WebBackend(Protocol):
    """What the service shows; every call returns at once and never waits for VB365."""

    def exposition(self, wanted: Format) -> MetricsBody:
        """Return the newest body of `/metrics`."""

    def healthy(self) -> Health:
        """Tell whether every poller is alive."""

    def ready(self) -> Health:
        """Tell whether every server has been polled once."""

    def config_text(self) -> str:
        """Return the configuration in force as YAML, secrets masked."""

    def status(self) -> StatusPage:
        """Return what the status page shows; called in a thread of its own."""


class WebApp:
    """Answers requests for a site; the handler of a `WebServer`.

    Args:
        site: what is shown.
        telemetry_path: where the metrics are; `/` replaces the status page.
        max_requests: scrapes in flight; further ones get 503 with `Retry-After`.
        guards: asked in order before anything else; the first answer is the answer (authentication,
            rate limits).
        extra_headers: gives further headers of every answer, which replace those of the same name.
        reload: reloads the configuration and returns what is wrong with it, in lines; None: there is no such path.
        send_timeout_seconds: how long a client may take for each 512 KiB of an answer.

    Raises:
        WebServerError: the telemetry path does not begin with `/` or is that of another page.
    """

    def __init__(
        self,
        site: WebBackend,
        *,
        telemetry_path: str = "/metrics",
        max_requests: int = DEFAULT_MAX_REQUESTS,
        guards: Sequence[Guard] = (),
        extra_headers: Callable[[], Headers] = tuple,
        reload: Reload | None = None,
        send_timeout_seconds: float = SEND_TIMEOUT_SECONDS,
    ) -> None:
        self._site = site
        self._telemetry_path = telemetry_path
        self._max_requests = max_requests
        self._guards = tuple(guards)
        self._extra_headers = extra_headers
        self._send_timeout_seconds = send_timeout_seconds
        self._scrapes_in_flight = 0
        self._status_view = StatusPageCache(site.status, telemetry_path=telemetry_path)
        self._routes = self._make_routes(reload)

    def _make_routes(self, reload: Reload | None) -> Mapping[str, Mapping[str, Action]]:
        routes: dict[str, Mapping[str, Action]] = {
            "/": {"GET": self._status},
            "/-/healthy": {"GET": self._healthy},
            "/-/ready": {"GET": self._ready},
            "/config": {"GET": self._config},
        }
        if reload is not None:
            routes["/-/reload"] = {"POST": _reload_action(reload)}
        path = self._telemetry_path
        if not path.startswith("/") or (path in routes and path != "/"):
            raise WebServerError(
                f"cannot serve metrics at {path!r}: the path must begin with / and must not be "
                "that of another page"
            )
        routes[path] = {"GET": self._metrics}
        return routes

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request.

        Raises:
            ConnectionResetError: the client has gone or was cut off.
        """
        refusal = await self._safely(self._refusal, request)
        if refusal is not None:
            return await self._send(request, refusal)
        if request.path != self._telemetry_path:
            return await self._send(request, await self._safely(self._reply, request))
        if self._scrapes_in_flight >= self._max_requests:
            log.debug("scrape refused, too many in flight", max_requests=self._max_requests)
            retry = (("Retry-After", str(RETRY_AFTER_SECONDS)),)
            return await self._send(request, error_reply(503, headers=retry))
        self._scrapes_in_flight += 1
        try:
            return await self._send(request, await self._safely(self._reply, request))
        finally:
            self._scrapes_in_flight -= 1

    def error_response(self, status: int) -> web.Response:
        """Make the answer to a request that could not even be read (for `WebServer`)."""
        reply = error_reply(status)
        headers = (*self._headers(), ("Content-Type", reply.content_type))
        return web.Response(status=status, headers=headers, body=b"".join(reply.body))

    async def _send(self, request: web.BaseRequest, reply: Reply) -> web.StreamResponse:
        return await send(
            request,
            reply,
            common_headers=self._headers(),
            send_timeout_seconds=self._send_timeout_seconds,
        )

    def _headers(self) -> Headers:
        return tuple((dict(_COMMON_HEADERS) | dict(self._extra_headers())).items())

    async def _safely(
        self, step: Callable[[web.BaseRequest], Awaitable[T]], request: web.BaseRequest
    ) -> T | Reply:
        try:
            return await step(request)
        except Exception as error:
            log.exception("request failed", path=request.path, error=type(error).__name__)
            return error_reply(500)

    async def _refusal(self, request: web.BaseRequest) -> Reply | None:
        for guard in self._guards:
            reply = await guard(request)
            if reply is not None:
                return reply
        return None

    async def _reply(self, request: web.BaseRequest) -> Reply:
        actions = self._routes.get(request.path)
        if actions is None:
            return error_reply(404)
        method = "GET" if request.method == "HEAD" else request.method
        action = actions.get(method)
        if action is None:
            allowed = sorted({*actions, *(("HEAD",) if "GET" in actions else ())})
            return error_reply(405, headers=(("Allow", ", ".join(allowed)),))
        return await action(request)

    async def _metrics(self, request: web.BaseRequest) -> Reply:
        wanted = choose_format(_header(request, "Accept"))
        gzip = accepts_gzip(_header(request, "Accept-Encoding"))
        exposition = self._site.exposition(wanted)
        encoding = (("Content-Encoding", "gzip"),) if gzip else ()
        return Reply(
            content_type=wanted.content_type,
            body=exposition.chunks(gzip),
            length=exposition.content_length(gzip),
            headers=(("Vary", "Accept, Accept-Encoding"), *encoding),
        )

    async def _status(self, request: web.BaseRequest) -> Reply:
        html = await self._status_view.html(paused="pause" in request.query)
        return text_reply(html, content_type="text/html; charset=utf-8")

    async def _healthy(self, _request: web.BaseRequest) -> Reply:
        return _health_reply(self._site.healthy(), "healthy", "not healthy")

    async def _ready(self, _request: web.BaseRequest) -> Reply:
        return _health_reply(self._site.ready(), "ready", "not ready")

    async def _config(self, _request: web.BaseRequest) -> Reply:
        return text_reply(self._site.config_text())


def _reload_action(reload: Reload) -> Action:
    async def action(_request: web.BaseRequest) -> Reply:
        # It reads files: scrapes must not wait for it.
        problems = await asyncio.to_thread(reload)
        if not problems:
            return text_reply("configuration reloaded\n")
        lines = ("configuration cannot be used, the old one stays in force", *problems)
        return text_reply("\n".join(lines) + "\n", status=500)

    return action


def _health_reply(health: Health, good: str, bad: str) -> Reply:
    lines = (good if health.ok else bad, *health.reasons)
    return text_reply("\n".join(lines) + "\n", status=200 if health.ok else 503)


def _header(request: web.BaseRequest, name: str) -> str | None:
    """Return a list header as one text, however many lines it came in."""
    values = request.headers.getall(name, ())
    return ",".join(values) if values else None
