"""Access and refresh tokens, and the rate limits of the token endpoint.

They use real time, even if the clock of the world runs faster.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

DEFAULT_LIFETIME_SECONDS = 3600.0
LIMITS = ((1, 1, "Second"), (5, 60, "Minute"), (1500, 3600, "Hour"))

Style = Literal["owin", "core"]


@dataclass(slots=True, kw_only=True)
class TokenPair:
    """An access token and its refresh token; `expires_at` is in seconds of the store's clock.

    `antiforgery` is the value of the cookie that must accompany the token, or None. `uses_left`, unless None, expires the
    token early.
    """

    access_token: str
    refresh_token: str
    expires_at: float
    antiforgery: str | None
    uses_left: int | None = None


class TokenStore:
    """Issues tokens for one account. An access token is valid for its lifetime, a refresh token for one use.

    Args:
        username: name of the account.
        password: password of the account.
        lifetime_seconds: lifetime of access tokens.
        mark: text contained in every token, so that a test can find leaked ones.
        clock: monotonic clock, in seconds.

    Attributes:
        logins: number of successful logins.
    """

    def __init__(
        self,
        *,
        username: str,
        password: str,
        lifetime_seconds: float = DEFAULT_LIFETIME_SECONDS,
        mark: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.username = username
        self.password = password
        self.lifetime_seconds = lifetime_seconds
        self.logins = 0
        self._mark = mark
        self._clock = clock
        self._lock = RLock()
        self._by_access: dict[str, TokenPair] = {}
        self._by_refresh: dict[str, TokenPair] = {}

    def log_in(
        self, username: str, password: str, *, style: Style, antiforgery: bool
    ) -> TokenPair | None:
        """Return tokens for the correct name (case-insensitive, as on Windows) and password, otherwise None."""
        if username.lower() != self.username.lower() or password != self.password:
            return None
        with self._lock:
            self.logins += 1
            return self._issue(style, antiforgery=antiforgery)

    def refresh(
        self, refresh_token: str, *, style: Style, antiforgery: bool, cookie: str | None
    ) -> TokenPair | None:
        """Return new tokens for an unused refresh token, otherwise None; the old access token stays valid."""
        with self._lock:
            old = self._by_refresh.get(refresh_token)
            if old is None or (antiforgery and old.antiforgery not in (None, cookie)):
                return None
            del self._by_refresh[refresh_token]
            return self._issue(style, antiforgery=antiforgery)

    def accepts(self, access_token: str, cookie: str | None) -> bool:
        """Whether the token is valid; this counts as one use."""
        with self._lock:
            grant = self._by_access.get(access_token)
            if grant is None or grant.antiforgery not in (None, cookie):
                return False
            if grant.expires_at <= self._clock() or grant.uses_left == 0:
                del self._by_access[access_token]
                return False
            if grant.uses_left is not None:
                grant.uses_left -= 1
            return True

    def revoke(self, access_token: str, *, refresh_too: bool) -> None:
        """Revoke an access token and, if `refresh_too`, its refresh token."""
        with self._lock:
            grant = self._by_access.pop(access_token, None)
            if grant is not None and refresh_too:
                self._by_refresh.pop(grant.refresh_token, None)

    def revoke_all(self, *, refresh_too: bool = False) -> None:
        """Revoke all access tokens and, if `refresh_too`, all refresh tokens, as a restarted server does."""
        with self._lock:
            self._by_access.clear()
            if refresh_too:
                self._by_refresh.clear()

    def _issue(self, style: Style, *, antiforgery: bool) -> TokenPair:
        # Tokens of older servers are DPAPI tickets, which have this prefix.
        prefix = ("AQAAANCMnd8BFdERjHoAwE_Cl-sBAAAA" if style == "owin" else "") + self._mark
        grant = TokenPair(
            access_token=prefix + secrets.token_urlsafe(120),
            refresh_token=prefix + secrets.token_urlsafe(120),
            expires_at=self._clock() + self.lifetime_seconds,
            antiforgery=secrets.token_urlsafe(32) if antiforgery else None,
        )
        with self._lock:
            self._by_access[grant.access_token] = grant
            self._by_refresh[grant.refresh_token] = grant
        return grant


class ThrottledError(Exception):
    """Too many token requests; `phrase` is the reason phrase of the 429, `retry_after` its Retry-After in seconds."""

    def __init__(self, phrase: str, retry_after: int) -> None:
        super().__init__(phrase)
        self.phrase = phrase
        self.retry_after = retry_after


@dataclass(slots=True)
class _Window:
    started: float
    requests: int = 0


@dataclass(slots=True)
class _Limit:
    requests: int
    seconds: int
    unit: str
    windows: dict[str, _Window] = field(default_factory=dict)


class Throttle:
    """VB365's rate limits of the token endpoint for each client: 1 a second, 5 a minute, 1500 an hour.

    A window starts with its first request. A request refused by one limit is not counted by the longer ones, as in
    WebApiThrottle, which the servers use.

    Args:
        clock: monotonic clock, in seconds.
        limits: maximum requests, window in seconds, and the name of that unit.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        limits: Sequence[tuple[int, int, str]] = LIMITS,
    ) -> None:
        self._clock = clock
        self._limits = [_Limit(*limit) for limit in limits]

    def count(self, client: str) -> None:
        """Count a request of a client.

        Raises:
            ThrottledError: a limit is exceeded.
        """
        now = self._clock()
        for limit in self._limits:
            window = limit.windows.get(client)
            if window is None or now >= window.started + limit.seconds:
                window = limit.windows[client] = _Window(now)
            window.requests += 1
            if window.requests > limit.requests:
                left = window.started + limit.seconds - now
                raise ThrottledError(
                    f"API calls quota exceeded! maximum admitted {limit.requests} per {limit.unit}.",
                    max(1, math.ceil(left)),
                )
