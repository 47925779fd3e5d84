"""The life of an access token: logged in once, refreshed before it expires, renewed when it is refused.

`current` gives the token for a request; `renew` takes one that the server refused with a 401 and gives another. One
thread renews at a time, and those that wait get what it got, be it a token or an error.
"""

from __future__ import annotations

import math
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from exporter.config.secrets import SecretUnavailableError
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ForbiddenError,
    NotFoundError,
    ServerError,
    Vb365Error,
)
from exporter.vb365.grants import Bearer, TokenPair, is_sendable, parse_token_response
from exporter.vb365.login import lockout_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from exporter.config.secrets import SecretSource
    from exporter.vb365.login import LoginThrottle

__all__ = ["PasswordTokens", "StaticTokens", "Tokens"]

log = structlog.get_logger()

OPERATION: Final = "token"


class Tokens(Protocol):
    """Where requests get their token from. Shared by threads."""

    def current(self) -> Bearer:
        """The token to use now, got if need be. Raises Vb365Error when there is none to be had."""

    def renew(self, refused: Bearer) -> Bearer:
        """Another token, after the server refused this one. Raises Vb365Error when there is none to be had."""

    def reread(self) -> None:
        """Read a token that comes from outside again, for the next request."""

    def accepted(self, bearer: Bearer) -> None:
        """The server took this token."""

    def for_logout(self) -> Bearer | None:
        """The token to log out with; None when nobody is logged in, or logging out is not ours to do."""


class StaticTokens:
    """A bearer token that somebody else renews; a refused one is looked up again."""

    def __init__(self, secret: SecretSource) -> None:
        self._secret = secret
        self._lock = threading.Lock()
        self._bearer: Bearer | None = None
        self._generation = 0

    def current(self) -> Bearer:
        """The token that was read last."""
        with self._lock:
            return self._bearer or self._take(_read(self._secret))

    def renew(self, refused: Bearer) -> Bearer:
        """The token read again.

        Raises:
            AuthError: it is still the refused one.
        """
        with self._lock:
            if self._bearer is not None and self._bearer.generation != refused.generation:
                return self._bearer
            value = _read(self._secret)
            if value == refused.value:
                raise AuthError(
                    "the token is refused, and no new one has been put in its place",
                    operation=OPERATION,
                )
            return self._take(value)

    def reread(self) -> None:
        """Read the token again for the next request."""
        with self._lock:
            self._bearer = None

    def accepted(self, bearer: Bearer) -> None:
        """Nothing to note."""

    def for_logout(self) -> None:
        """Never: the token belongs to somebody else."""

    def _take(self, value: str) -> Bearer:
        self._generation += 1
        self._bearer = Bearer(value=value, generation=self._generation)
        return self._bearer


def _read(secret: SecretSource) -> str:
    try:
        value = secret.read()
    except SecretUnavailableError as unavailable:
        why = str(unavailable)
    else:
        if is_sendable(value):
            return value
        why = "it holds characters that no bearer token has"
    raise AuthError(f"there is no token to send: {why}", operation=OPERATION)


class PasswordTokens:
    """Tokens for a user name and a password.

    A refused password is not tried again for a minute, then two, and so on up to a quarter of an hour, unless the
    secret changes: a wrong password must not lock the account. Nor does a server that gives tokens, but refuses each
    of them, see a login at every poll: renewals in vain keep the same distances.
    """

    def __init__(
        self,
        *,
        username: str,
        secret: SecretSource,
        post: Callable[[Mapping[str, str]], object],
        memory: LoginThrottle,
        clock: Callable[[], float],
        server: str,
    ) -> None:
        """Take what a login needs.

        Args:
            username: the account.
            secret: its password, read anew for each login.
            post: sends a form to the token endpoint and returns the decoded answer, or raises Vb365Error.
            memory: what is remembered of earlier logins at this server.
            clock: the monotonic clock.
            server: the server's name, for the log.
        """
        self._username = username
        self._secret = secret
        self._post = post
        self._memory = memory
        self._clock = clock
        self._server = server
        self._lock = threading.Lock()
        self._grant: TokenPair | None = None
        self._generation = 0
        self._accepted = 0
        self._turns = 0
        self._failure: Vb365Error | None = None

    def current(self) -> Bearer:
        """The token to use now; got by refreshing or logging in when there is none, or when it soon expires."""
        grant = self._grant
        if grant is not None and self._clock() < grant.refresh_at:
            return grant.bearer
        with self._single_flight():
            grant = self._grant
            if grant is None or self._clock() >= grant.refresh_at:
                grant = self._obtain()
            return grant.bearer

    def renew(self, refused: Bearer) -> Bearer:
        """Another token than the refused one.

        Raises:
            AuthError: also when the refused one is itself fresh from a renewal: logging in does not help then.
        """
        with self._single_flight():
            grant = self._grant
            if grant is not None and grant.bearer.generation != refused.generation:
                return grant.bearer
            now = self._clock()
            if grant is not None and grant.renewed_at is not None:
                in_vain = grant.bearer.generation - self._accepted
                left = grant.renewed_at + lockout_seconds(max(1, in_vain - 1)) - now
                if left > 0:
                    raise AuthError(
                        f"the token is refused although it was renewed; the next renewal is in {math.ceil(left)} s",
                        operation=OPERATION,
                        status=401,
                    )
            return self._obtain(renewed_at=now).bearer

    def reread(self) -> None:
        """Nothing: each login reads the password, and the token got with the one before stays good."""

    def accepted(self, bearer: Bearer) -> None:
        """Note that renewing was not in vain."""
        self._accepted = max(self._accepted, bearer.generation)

    def for_logout(self) -> Bearer | None:
        """The token of the login, as long as it is valid."""
        grant = self._grant
        return grant.bearer if grant is not None and self._clock() < grant.expires_at else None

    @contextmanager
    def _single_flight(self) -> Iterator[None]:
        """Wait for the thread that is getting a token. When it fails, all that waited for it fail the same way."""
        turns = self._turns
        with self._lock:
            if self._turns != turns and self._failure is not None:
                raise self._failure.copy()
            try:
                yield
            except Vb365Error as error:
                self._failure = error.copy()
                self._turns += 1
                raise
            else:
                self._failure = None

    def _obtain(self, *, renewed_at: float | None = None) -> TokenPair:
        grant = self._grant
        if grant is not None and grant.refresh_token is not None:
            form = {"grant_type": "refresh_token", "refresh_token": grant.refresh_token}
            try:
                return self._request(form, renewed_at)
            except (
                AuthError,
                ForbiddenError,
                BadResponseError,
                NotFoundError,
                ServerError,
            ) as error:
                # The server answered, but with no token. How long a refresh token lives is documented nowhere.
                log.info(
                    "refresh refused, logging in again",
                    server=self._server,
                    reason=error.reason,
                    status=error.status,
                )
        self._grant = None
        return self._log_in(renewed_at)

    def _log_in(self, renewed_at: float | None) -> TokenPair:
        password = self._password()
        remaining_lockout = self._memory.remaining_lockout(self._username, password)
        if remaining_lockout > 0:
            raise AuthError(
                f"the login was refused; the next try is in {math.ceil(remaining_lockout)} s, or when the secret changes",
                operation=OPERATION,
            )
        form = {"grant_type": "password", "username": self._username, "password": password}
        try:
            grant = self._request(form, renewed_at)
        except (AuthError, ForbiddenError) as error:
            refusal = error
        else:
            if self._memory.record_success(self._username):
                log.info("login accepted again", server=self._server)
            return grant
        remaining_lockout, first_time = self._memory.record_refusal(self._username, password)
        if first_time:
            log.warning(
                "login refused",
                server=self._server,
                reason=refusal.reason,
                status=refusal.status,
                error=refusal.message,
                next_try_seconds=remaining_lockout,
            )
        raise type(refusal)(
            f"{refusal.message}; the next try is in {math.ceil(remaining_lockout)} s, or when the secret changes",
            operation=OPERATION,
            status=refusal.status,
        )

    def _password(self) -> str:
        try:
            password = self._secret.read()
            password.encode()
        except SecretUnavailableError as unavailable:
            why = str(unavailable)
        except UnicodeError:
            why = "it is no valid Unicode text"
        else:
            return password
        raise AuthError(f"there is no password to log in with: {why}", operation=OPERATION)

    def _request(self, form: Mapping[str, str], renewed_at: float | None) -> TokenPair:
        asked_at = self._clock()
        answer = self._post(form)
        self._generation += 1
        self._grant = parse_token_response(
            answer, asked_at=asked_at, generation=self._generation, renewed_at=renewed_at
        )
        return self._grant
