"""Access tokens: obtained by login, refreshed before they expire, renewed when the server refuses them."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

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
class Token:
    """An access token, compared by identity: a server may issue the same value twice."""

    value: str
    refresh_token: str | None = None
    refresh_at: float = math.inf
    """On the monotonic clock, like `expires_at`."""
    expires_at: float = math.inf


def _parse_token_response(document: object, *, requested_at: float) -> Token:
    """Parse the token endpoint's response, any JSON value; the token's lifetime counts from `requested_at`.

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
    return Token(
        access_token,
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


class Tokens:
    """Provides the access token for requests. Shared by threads."""

    def current(self) -> Token:
        """Return the token to send, obtaining one if necessary. Raises Vb365Error when that fails."""
        raise NotImplementedError

    def renew(self, refused: Token) -> Token:
        """Return a replacement for a token the server refused. Raises Vb365Error when that fails."""
        raise NotImplementedError

    def mark_accepted(self, token: Token) -> None:
        """Record that the server accepted this token."""

    def reread(self) -> None:
        """Reread an externally renewed token before the next request; a password is read at each login anyway."""

    def logout_token(self) -> Token | None:
        """Return the token to log out with; None if this client did not log in."""
        return None


class StaticTokens(Tokens):
    """A bearer token renewed externally; reread when the server refuses it."""

    def __init__(self, secret: SecretSource) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._token: Token | None = None

    def current(self) -> Token:
        """Return the token, reading it if necessary."""
        with self._lock:
            if self._token is None:
                self._token = Token(read_secret(self._secret))
            return self._token

    def renew(self, refused: Token) -> Token:
        """Reread the token, unless another thread has.

        Raises:
            AuthError: it has not changed, or cannot be read.
        """
        with self._lock:
            if self._token is None or self._token is refused:
                value = read_secret(self._secret)
                if value == refused.value:
                    raise AuthError(
                        "the token is refused and its source still has the same one",
                        operation=_OPERATION,
                    )
                self._token = Token(value)
            return self._token

    def reread(self) -> None:
        """Reread the token before the next request."""
        with self._lock:
            self._token = None


class PasswordTokens(Tokens):
    """Tokens obtained with a password.

    Only one thread at a time obtains a token; waiting threads get its token or its error. If the server refuses even
    new tokens, renewals are spaced like retries of a refused password.

    Args:
        login: logs in.
        post: sends a form to the token endpoint and returns the decoded response, or raises Vb365Error.
        clock: the monotonic clock.
        lock: held while a token is obtained.
    """

    def __init__(
        self,
        *,
        login: PasswordLogin,
        post: Callable[[Mapping[str, str]], object],
        clock: Callable[[], float],
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._login = login
        self._post = post
        self._clock = clock
        self._lock = lock or threading.Lock()
        self._token: Token | None = None
        self._failure: Vb365Error | None = None
        self._renewed_at = -math.inf
        self._renewals_since_accepted = 0

    def current(self) -> Token:
        """Return the token; if there is none or it is due for refresh, refresh it or log in."""
        token = self._not_due_for_refresh()
        if token is None:
            with self._exclusive_renewal():
                token = self._not_due_for_refresh() or self._obtain()
        return token

    def renew(self, refused: Token) -> Token:
        """Return a different token.

        Raises:
            AuthError: the login is refused, the secret is unavailable, or the last renewal was too recent.
            Vb365Error: there was no response, or an unusable one.
        """
        with self._exclusive_renewal():
            if self._token is not None and self._token is not refused:
                return self._token
            now = self._clock()
            left = self._renewed_at + lockout_seconds(max(1, self._renewals_since_accepted)) - now
            if left > 0:
                raise AuthError(
                    f"the renewed token is refused as well; next renewal in {math.ceil(left)} s",
                    operation=_OPERATION,
                    status=401,
                )
            token = self._obtain()
            self._renewed_at = now
            self._renewals_since_accepted += 1
            return token

    def mark_accepted(self, token: Token) -> None:
        """Record that the server accepted this token: the spacing of renewals starts over."""
        if token is self._token:
            self._renewals_since_accepted = 0

    def logout_token(self) -> Token | None:
        """Return the token; None if there is none or it has expired."""
        token = self._token
        return token if token is not None and self._clock() < token.expires_at else None

    def _not_due_for_refresh(self) -> Token | None:
        token = self._token
        return token if token is not None and self._clock() < token.refresh_at else None

    @contextmanager
    def _exclusive_renewal(self) -> Iterator[None]:
        """Run one renewal at a time. If the renewal waited for failed, raise a copy of its error."""
        failure_before = self._failure
        with self._lock:
            if self._failure is not None and self._failure is not failure_before:
                raise self._failure.copy()
            yield

    def _obtain(self) -> Token:
        refresh_token = self._token.refresh_token if self._token is not None else None
        try:
            self._token = self._refresh(refresh_token) if refresh_token is not None else None
            if self._token is None:
                self._token = self._login.log_in(self._request)
        except Vb365Error as error:
            self._failure = error.copy()  # a copy, because the traceback refers to the password
            raise
        self._failure = None
        return self._token

    def _refresh(self, refresh_token: str) -> Token | None:
        try:
            return self._request({"grant_type": "refresh_token", "refresh_token": refresh_token})
        except (AuthError, ForbiddenError, BadResponseError, NotFoundError, ServerError) as error:
            # The lifetime of refresh tokens is undocumented, so any response without a token counts as a refusal.
            log.info(
                "refresh refused, logging in again",
                server=self._login.server,
                reason=error.reason,
                status=error.status,
            )
            return None

    def _request(self, form: Mapping[str, str]) -> Token:
        requested_at = self._clock()
        return _parse_token_response(self._post(form), requested_at=requested_at)
