"""Access tokens: obtained by login, refreshed before they expire, renewed when the server refuses them."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from exporter.config.secrets import SecretSource
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    Vb365Error,
)
from exporter.vb365.login import PasswordLogin, lockout_seconds, read_secret

__all__ = [
    "Bearer",
    "PasswordTokens",
    "StaticTokens",
    "TokenPair",
    "Tokens",
    "parse_token_response",
]

log = structlog.get_logger()

_OPERATION = "token"
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,32768}")
_PRINTABLE_ASCII = re.compile(r"[\x20-\x7e]{1,32768}")
_DEFAULT_LIFETIME_SECONDS = 3600.0
# The lifetime is configured in minutes, and a token request for each poll would exceed the endpoint's limits.
_MIN_LIFETIME_SECONDS = 60.0
_MAX_LIFETIME_SECONDS = 365 * 86400.0
_MAX_REFRESH_MARGIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bearer:
    """An access token, compared by identity: a server may issue the same value twice."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TokenPair:
    """An access token and its refresh token; times are on the monotonic clock."""

    bearer: Bearer
    refresh_token: str | None
    refresh_at: float
    expires_at: float


def parse_token_response(document: object, *, requested_at: float) -> TokenPair:
    """Parse the token endpoint's response.

    Args:
        document: any value a JSON decoder can produce.
        requested_at: when the token was requested, on the monotonic clock; its lifetime counts from here.

    Raises:
        BadResponseError: there is no access token that a header can carry.
    """
    if not isinstance(document, Mapping):
        raise BadResponseError("the response is not a JSON object", operation=_OPERATION)
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or not _VISIBLE_ASCII.fullmatch(access_token):
        raise BadResponseError("the response has no usable access token", operation=_OPERATION)
    refresh_token = document.get("refresh_token")
    if not isinstance(refresh_token, str) or not _PRINTABLE_ASCII.fullmatch(refresh_token):
        refresh_token = None  # not a valid refresh token (RFC 6749, A.17)
    lifetime_seconds = _lifetime_seconds(document.get("expires_in"))
    margin_seconds = min(_MAX_REFRESH_MARGIN_SECONDS, lifetime_seconds / 10)
    return TokenPair(
        bearer=Bearer(access_token),
        refresh_token=refresh_token,
        refresh_at=requested_at + lifetime_seconds - margin_seconds,
        expires_at=requested_at + lifetime_seconds,
    )


def _lifetime_seconds(expires_in: object) -> float:
    """Return `expires_in` (a string from some servers); one hour if it is not a number.

    A number that cannot be a lifetime (0, negative, below a minute, above a year) becomes infinity: the token is used
    until the server refuses it. `.expires` is ignored: its format differs between versions, and it depends on the server's clock.
    """
    seconds = math.nan
    if isinstance(expires_in, int | float | str) and not isinstance(expires_in, bool):
        with suppress(ValueError, OverflowError):
            seconds = float(expires_in)
    if not math.isfinite(seconds):
        return _DEFAULT_LIFETIME_SECONDS
    return seconds if _MIN_LIFETIME_SECONDS <= seconds <= _MAX_LIFETIME_SECONDS else math.inf


class Tokens(Protocol):
    """Provides the access token for requests. Shared by threads."""

    def current(self) -> Bearer:
        """Return the token to send, obtaining one if necessary. Raises Vb365Error when that fails."""

    def renew(self, refused: Bearer) -> Bearer:
        """Return a replacement for a token the server refused. Raises Vb365Error when that fails."""

    def mark_accepted(self, bearer: Bearer) -> None:
        """Record that the server accepted this token."""

    def reread(self) -> None:
        """Reread an externally renewed token before the next request."""

    def logout_token(self) -> Bearer | None:
        """Return the token to log out with; None if this client did not log in."""


class StaticTokens:
    """A bearer token renewed externally; reread when the server refuses it."""

    def __init__(self, secret: SecretSource) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._bearer: Bearer | None = None

    def current(self) -> Bearer:
        """Return the token, reading it if necessary."""
        with self._lock:
            if self._bearer is None:
                self._bearer = Bearer(read_secret(self._secret))
            return self._bearer

    def renew(self, refused: Bearer) -> Bearer:
        """Reread the token, unless another thread has.

        Raises:
            AuthError: it has not changed, or cannot be read.
        """
        with self._lock:
            if self._bearer is None or self._bearer is refused:
                value = read_secret(self._secret)
                if value == refused.value:
                    raise AuthError(
                        "the token is refused and its source still has the same one",
                        operation=_OPERATION,
                    )
                self._bearer = Bearer(value)
            return self._bearer

    def mark_accepted(self, bearer: Bearer) -> None:
        """Do nothing."""

    def reread(self) -> None:
        """Reread the token before the next request."""
        with self._lock:
            self._bearer = None

    def logout_token(self) -> None:
        """Return None: this client did not log in."""


class PasswordTokens:
    """Tokens obtained with a password.

    Only one thread at a time obtains a token; waiting threads get its token or its error. If the server refuses even
    new tokens, renewals are spaced like retries of a refused password.

    Args:
        login: logs in.
        post: sends a form to the token endpoint and returns the decoded response, or raises Vb365Error.
        clock: the monotonic clock.
        server: the server's name, for the log.
        lock: held while a token is obtained.
    """

    def __init__(
        self,
        *,
        login: PasswordLogin,
        post: Callable[[Mapping[str, str]], object],
        clock: Callable[[], float],
        server: str,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._login = login
        self._post = post
        self._clock = clock
        self._server = server
        self._lock = lock or threading.Lock()
        self._pair: TokenPair | None = None
        self._failure: Vb365Error | None = None
        self._renewed_at = -math.inf
        self._renewals_since_accepted = 0

    def current(self) -> Bearer:
        """Return the token; if there is none or it is due for refresh, refresh it or log in."""
        pair = self._not_due_for_refresh()
        if pair is None:
            with self._exclusive_renewal():
                pair = self._not_due_for_refresh() or self._obtain()
        return pair.bearer

    def renew(self, refused: Bearer) -> Bearer:
        """Return a different token.

        Raises:
            AuthError: the login is refused, the secret is unavailable, or the last renewal was too recent.
            Vb365Error: there was no response, or an unusable one.
        """
        with self._exclusive_renewal():
            if self._pair is not None and self._pair.bearer is not refused:
                return self._pair.bearer
            now = self._clock()
            left = self._renewed_at + lockout_seconds(max(1, self._renewals_since_accepted)) - now
            if left > 0:
                raise AuthError(
                    f"the renewed token is refused as well; next renewal in {math.ceil(left)} s",
                    operation=_OPERATION,
                    status=401,
                )
            pair = self._obtain()
            self._renewed_at = now
            self._renewals_since_accepted += 1
            return pair.bearer

    def mark_accepted(self, bearer: Bearer) -> None:
        """Record that the server accepted this token: the spacing of renewals starts over."""
        pair = self._pair
        if pair is not None and pair.bearer is bearer:
            self._renewals_since_accepted = 0

    def reread(self) -> None:
        """Do nothing: the password is read at each login, and a token stays valid when the password changes."""

    def logout_token(self) -> Bearer | None:
        """Return the token; None if there is none or it has expired."""
        pair = self._pair
        return pair.bearer if pair is not None and self._clock() < pair.expires_at else None

    def _not_due_for_refresh(self) -> TokenPair | None:
        pair = self._pair
        return pair if pair is not None and self._clock() < pair.refresh_at else None

    @contextmanager
    def _exclusive_renewal(self) -> Iterator[None]:
        """Run one renewal at a time. If the renewal waited for failed, raise a copy of its error."""
        failure_before = self._failure
        with self._lock:
            if self._failure is not None and self._failure is not failure_before:
                raise self._failure.copy()
            yield

    def _obtain(self) -> TokenPair:
        refresh_token = self._pair.refresh_token if self._pair is not None else None
        try:
            self._pair = self._refresh(refresh_token) if refresh_token is not None else None
            if self._pair is None:
                self._pair = self._login.log_in(self._request)
        except Vb365Error as error:
            self._failure = error.copy()  # a copy, because the traceback refers to the password
            raise
        self._failure = None
        return self._pair

    def _refresh(self, refresh_token: str) -> TokenPair | None:
        try:
            return self._request({"grant_type": "refresh_token", "refresh_token": refresh_token})
        except (AuthError, ForbiddenError, BadResponseError, NotFoundError, ServerError) as error:
            # The lifetime of refresh tokens is undocumented, so any response without a token counts as a refusal.
            log.info(
                "refresh refused, logging in again",
                server=self._server,
                reason=error.reason,
                status=error.status,
            )
            return None

    def _request(self, form: Mapping[str, str]) -> TokenPair:
        requested_at = self._clock()
        return parse_token_response(self._post(form), requested_at=requested_at)
