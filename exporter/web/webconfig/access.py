"""Access control by the web configuration: TLS, authentication, the rate limit and response headers."""

from __future__ import annotations

import base64
import binascii
import math
import ssl
import time

import structlog
from aiohttp import web

from exporter.token_bucket import TokenBucket
from exporter.web.reply import error_response
from exporter.web.webconfig.model import RateLimitBlock
from exporter.web.webconfig.passwords import Passwords, TooManyChecksError
from exporter.web.webconfig.reloader import WebConfigReloader

log = structlog.get_logger()

_BUSY_SECONDS = 5


class AccessControl:
    """Applies a web configuration; changes of its files take effect with the next request.

    Args:
        config: the web configuration.
        passwords: checks the passwords of requests; None: a checker with the default limits.
    """

    def __init__(self, config: WebConfigReloader, *, passwords: Passwords | None = None) -> None:
        self._config = config
        self._passwords = passwords or Passwords()
        self._limit: RateLimitBlock | None = None
        self._bucket: TokenBucket

    async def tls(self) -> ssl.SSLContext | None:
        """Return the TLS context of a new connection (a `TLSSource`)."""
        return (await self._config.newest()).tls

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers of every response."""
        return self._config.current.headers

    async def authorize(self, request: web.Request) -> web.Response | None:
        """Return the error response to a request that is not allowed; None: it is allowed (a `Guard`)."""
        config = await self._config.newest()
        if config.rate_limit is not None and not self._is_within(config.rate_limit):
            wait = str(math.ceil(config.rate_limit.interval))
            return error_response(429, headers={"Retry-After": wait})
        if not config.users:
            return None
        credentials = _credentials(request.headers.get("Authorization", ""))
        try:
            if credentials and await self._passwords.match(
                *credentials, config.users, client=request.remote or ""
            ):
                return None
        except TooManyChecksError:
            log.debug("request rejected, too many passwords to check", remote=request.remote)
            return error_response(503, headers={"Retry-After": str(_BUSY_SECONDS)})
        return error_response(401, headers={"WWW-Authenticate": "Basic"})

    def _is_within(self, limit: RateLimitBlock) -> bool:
        if limit != self._limit:
            self._limit = limit
            self._bucket = TokenBucket(limit.burst, per_second=1 / limit.interval)
        return self._bucket.try_take(time.monotonic())


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """Return user and password of an `Authorization` header with the Basic scheme (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None
