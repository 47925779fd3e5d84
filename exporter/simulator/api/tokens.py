"""Who may ask: access and refresh tokens, and how often the token endpoint may be asked.

Time here is real: the world's clock may run faster, tokens and throttles do not.
"""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import RLock
from typing import Literal

DEFAULT_LIFETIME_SECONDS = 3600.0

Style = Literal["owin", "core"]


@dataclass(slots=True, kw_only=True)
class Grant:
    """An access token and what belongs to it; times are seconds of the office's clock.

    `antiforgery` is the value of the cookie that has to come with the token, None when none is needed. `uses_left` ends
    a token before its time, None does not.
    """

    access_token: str
    refresh_token: str
    expires_at: float
    antiforgery: str | None
    uses_left: int | None = None


class TokenOffice:
    """Issues tokens for one account. An access token is good for its lifetime, a refresh token for one use.

    Args:
        username: The account's name.
        password: Its password.
        lifetime_seconds: How long an access token is accepted.
        mark: Text that is in every token, so that a test can find out where they get to.
        clock: Monotonic seconds.
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
        self._mark = mark
        self._clock = clock
        self._lock = RLock()
        self._by_access: dict[str, Grant] = {}
        self._by_refresh: dict[str, Grant] = {}

    def log_in(
        self, username: str, password: str, *, style: Style, antiforgery: bool
    ) -> Grant | None:
        """Tokens for the right name (in any case, as Windows has it) and password, otherwise None."""
        if username.lower() != self.username.lower() or password != self.password:
            return None
        return self._issue(style, antiforgery=antiforgery)

    def refresh(
        self, refresh_token: str, *, style: Style, antiforgery: bool, cookie: str | None
    ) -> Grant | None:
        """New tokens for an unused refresh token; the old access token stays good. Otherwise None."""
        with self._lock:
            old = self._by_refresh.get(refresh_token)
            if old is None or (antiforgery and old.antiforgery not in (None, cookie)):
                return None
            del self._by_refresh[refresh_token]
            return self._issue(style, antiforgery=antiforgery)

    def accepts(self, access_token: str, cookie: str | None) -> bool:
        """Whether the token is good now; uses it once."""
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
        """End an access token, and with it the refresh token issued with it if `refresh_too`."""
        with self._lock:
            grant = self._by_access.pop(access_token, None)
            if grant is not None and refresh_too:
                self._by_refresh.pop(grant.refresh_token, None)

    def revoke_all(self, *, refresh_too: bool = False) -> None:
        """End every access token, and every refresh token if `refresh_too`, as a restarted server does."""
        with self._lock:
            self._by_access.clear()
            if refresh_too:
                self._by_refresh.clear()

    def _issue(self, style: Style, *, antiforgery: bool) -> Grant:
        # A token of the older servers is a DPAPI ticket, which always begins like this.
        prefix = ("AQAAANCMnd8BFdERjHoAwE_Cl-sBAAAA" if style == "owin" else "") + self._mark
        grant = Grant(
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
    """The limits that VB365's token endpoint has for each client: 1 a second, 5 a minute, 1500 an hour.

    The windows begin with the first request in them. A request that one limit refuses is not counted by the longer
    ones (WebApiThrottle, which the servers use, asks them in this order).

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits = (
            _Limit(1, 1, "Second"),
            _Limit(5, 60, "Minute"),
            _Limit(1500, 3600, "Hour"),
        )

    def count(self, client: str) -> None:
        """Count a request of `client`.

        Raises:
            ThrottledError: It is one too many.
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
