"""What the web configuration means to the web server: who may connect, who may ask, what answers carry."""

from __future__ import annotations

import base64
import binascii
import math
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog
from aiohttp import web

from exporter.web.reply import error_response
from exporter.web.webconfig.loader import RateLimit
from exporter.web.webconfig.passwords import Passwords, TooManyChecksError
from exporter.web.webconfig.reloader import WebConfigReloader

__all__ = ["AccessControl", "TokenBucket"]

log = structlog.get_logger()

_BUSY_SECONDS = 5


class AccessControl:
    """Answers for a web configuration file whose changes count from the next request on.

    Args:
        path: the file; None: everybody may do everything.

    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path | None) -> None:
        self._config = WebConfigReloader(path)
        self._passwords = Passwords()
        self._bucket: TokenBucket | None = None

    def reload(self) -> None:
        """Read the file now; see `WebConfigReloader.reload`."""
        self._config.reload()

    @property
    def enabled(self) -> frozenset[str]:
        """What keeps strangers out, in words."""
        return self._config.current.protections

    async def tls(self) -> ssl.SSLContext | None:
        """Return the TLS of a new connection (a `TLSSource`)."""
        return (await self._config.newest()).tls

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return what every answer carries."""
        return self._config.current.headers

    async def authorize(self, request: web.Request) -> web.Response | None:
        """Refuse who asks too often or is not known (a `Guard`)."""
        config = await self._config.newest()
        if config.rate_limit is not None and not self._limited_by(config.rate_limit).take():
            wait = str(math.ceil(config.rate_limit.interval_seconds))
            return error_response(429, headers={"Retry-After": wait})
        if not config.users:
            return None
        try:
            if await self._knows(request.headers.get("Authorization", ""), config.users):
                return None
        except TooManyChecksError:
            log.debug("request refused, too many passwords to check", remote=request.remote)
            return error_response(503, headers={"Retry-After": str(_BUSY_SECONDS)})
        return error_response(401, headers={"WWW-Authenticate": "Basic"})

    async def _knows(self, authorization: str, users: Mapping[bytes, bytes]) -> bool:
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        return await self._passwords.match(user, password, users)

    def _limited_by(self, limit: RateLimit) -> TokenBucket:
        if self._bucket is None or self._bucket.limit != limit:
            self._bucket = TokenBucket(limit)
        return self._bucket


def _credentials(authorization: str) -> tuple[bytes, bytes] | None:
    """User and password of a header of the Basic scheme (RFC 7617)."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


class TokenBucket:
    """Lets through a burst, and then one request per interval."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._tokens = float(limit.burst)
        self._filled_at = clock()

    def take(self) -> bool:
        """Tell whether one more may be let through now, and count it if so."""
        now = self._clock()
        gained = (now - self._filled_at) / self.limit.interval_seconds
        self._tokens, self._filled_at = min(self.limit.burst, self._tokens + gained), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
