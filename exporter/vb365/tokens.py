"""Access tokens: obtained by a login, refreshed before they expire, renewed when the server refuses one."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
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
_MIN_LIFETIME_SECONDS = 1.0
_MAX_LIFETIME_SECONDS = 30 * 86400.0
_MAX_REFRESH_MARGIN_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bearer:
    """An access token. Two of them are the same only if they are one object: a server may issue equal ones."""

    value: str


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TokenPair:
    """An access token with its refresh token and its times on the monotonic clock."""

    bearer: Bearer
    refresh_token: str | None
    refresh_at: float
    expires_at: float


def parse_token_response(document: object, *, requested_at: float) -> TokenPair:
    """Read the token endpoint's response.

    Args:
        document: any value a JSON decoder can produce.
        requested_at: the moment of the monotonic clock from which the lifetime counts.

    Raises:
        BadResponseError: it has no access token that can be sent in a header.
    """
    if not isinstance(document, Mapping):
        raise BadResponseError("the response is not a JSON object", operation=_OPERATION)
    access_token = document.get("access_token")
    if not isinstance(access_token, str) or not _VISIBLE_ASCII.fullmatch(access_token):
        raise BadResponseError("the response has no usable access token", operation=_OPERATION)
    refresh_token = document.get("refresh_token")
    if not isinstance(refresh_token, str) or not _PRINTABLE_ASCII.fullmatch(refresh_token):
        refresh_token = None  # no form can hold it (RFC 6749, A.17)
    lifetime_seconds = _lifetime_seconds(document.get("expires_in"))
    margin_seconds = min(_MAX_REFRESH_MARGIN_SECONDS, lifetime_seconds / 10)
    return TokenPair(
        bearer=Bearer(access_token),
        refresh_token=refresh_token,
        refresh_at=requested_at + lifetime_seconds - margin_seconds,
        expires_at=requested_at + lifetime_seconds,
    )


def _lifetime_seconds(expires_in: object) -> float:
    """Return `expires_in`, which some servers send as a string, within bounds; without a number, the default hour.

    `.expires` is ignored: its format differs between versions, and it is a time of the server's clock.
    """
    seconds = math.nan
    if isinstance(expires_in, int | float | str) and not isinstance(expires_in, bool):
        try:
            seconds = float(expires_in)
        except (ValueError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds):
        return _DEFAULT_LIFETIME_SECONDS
    return min(max(seconds, _MIN_LIFETIME_SECONDS), _MAX_LIFETIME_SECONDS)


class Tokens(Protocol):
    """The source of the token that requests carry. Shared by threads."""

    def current(self) -> Bearer:
        """Return a valid token, obtaining one if necessary. Raises Vb365Error when that fails."""

    def renew(self, refused: Bearer) -> Bearer:
        """Return another token after the server refused this one. Raises Vb365Error when that fails."""

    def accepted(self, bearer: Bearer) -> None:
        """Record that the server accepted this token."""

    def reread(self) -> None:
        """Read a token that someone else renews again for the next request."""

    def for_logout(self) -> Bearer | None:
        """Return the token to log out with; None without a login of our own."""


class StaticTokens:
    """A bearer token that someone else renews. When the server refuses it, it is read again."""

    def __init__(self, secret: SecretSource) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._bearer: Bearer | None = None

    def current(self) -> Bearer:
        """Return the token read last."""
        with self._lock:
            if self._bearer is None:
                self._bearer = Bearer(read_secret(self._secret))
            return self._bearer

    def renew(self, refused: Bearer) -> Bearer:
        """Read the token again.

        Raises:
            AuthError: it is still the refused one.
        """
        with self._lock:
            if self._bearer is None or self._bearer is refused:
                value = read_secret(self._secret)
                if value == refused.value:
                    raise AuthError(
                        "the token is refused and has not been replaced", operation=_OPERATION
                    )
                self._bearer = Bearer(value)
            return self._bearer

    def accepted(self, bearer: Bearer) -> None:
        """Do nothing."""

    def reread(self) -> None:
        """Read the token again for the next request."""
        with self._lock:
            self._bearer = None

    def for_logout(self) -> None:
        """Return None: the token belongs to someone else."""


class PasswordTokens:
    """Tokens obtained with a password.

    One thread at a time obtains a token; those that wait for it get the same token or the same error. While a server
    refuses every token it issues, renewals are as far apart as tries of a refused password.

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
        self._futile_renewals = 0

    def current(self) -> Bearer:
        """Return the token; refresh it, or log in, when there is none or it is about to expire."""
        pair = self._unexpired()
        if pair is None:
            with self._single_flight():
                pair = self._unexpired() or self._obtain()
        return pair.bearer

    def renew(self, refused: Bearer) -> Bearer:
        """Return another token than the refused one.

        Raises:
            AuthError: also when the last renewal is too recent: another one would not help.
        """
        with self._single_flight():
            if self._pair is not None and self._pair.bearer is not refused:
                return self._pair.bearer
            now = self._clock()
            left = self._renewed_at + lockout_seconds(max(1, self._futile_renewals)) - now
            if left > 0:
                raise AuthError(
                    f"the token is refused although it was renewed; next renewal in {math.ceil(left)} s",
                    operation=_OPERATION,
                    status=401,
                )
            pair = self._obtain()
            self._renewed_at = now
            self._futile_renewals += 1
            return pair.bearer

    def accepted(self, bearer: Bearer) -> None:
        """Record that the last renewal helped."""
        pair = self._pair
        if pair is not None and pair.bearer is bearer:
            self._futile_renewals = 0

    def reread(self) -> None:
        """Do nothing: each login reads the password again, and the token stays valid."""

    def for_logout(self) -> Bearer | None:
        """Return the token while it is valid."""
        pair = self._pair
        return pair.bearer if pair is not None and self._clock() < pair.expires_at else None

    def _unexpired(self) -> TokenPair | None:
        pair = self._pair
        return pair if pair is not None and self._clock() < pair.refresh_at else None

    @contextmanager
    def _single_flight(self) -> Iterator[None]:
        """Wait for the thread that obtains a token. If it fails meanwhile, fail with a copy of its error."""
        earlier = self._failure
        with self._lock:
            if self._failure is not None and self._failure is not earlier:
                raise self._failure.copy()
            try:
                yield
            except Vb365Error as error:
                self._failure = error.copy()
                raise
            self._failure = None

    def _obtain(self) -> TokenPair:
        refresh_token = self._pair.refresh_token if self._pair is not None else None
        self._pair = self._refresh(refresh_token) if refresh_token is not None else None
        if self._pair is None:
            self._pair = self._login.log_in(self._request)
        return self._pair

    def _refresh(self, refresh_token: str) -> TokenPair | None:
        try:
            return self._request({"grant_type": "refresh_token", "refresh_token": refresh_token})
        except (AuthError, ForbiddenError, BadResponseError, NotFoundError, ServerError) as error:
            # How long a refresh token lives is not documented: any response but a token is a refusal.
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
