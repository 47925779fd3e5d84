"""Logging in with a password, without flooding the token endpoint or getting the account locked."""

from __future__ import annotations

import hashlib
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from exporter.config.secrets import SecretSource, SecretUnavailableError
from exporter.vb365.errors import AuthError, ForbiddenError

log = structlog.get_logger()

T = TypeVar("T")

# The token endpoint accepts 1 request per second and 5 per minute from one address (and 1500 per hour, never reached).
# The margins allow for requests that arrive closer together than they were sent.
_MIN_GAP_SECONDS = 1.05
_WINDOW_SECONDS = 61.0
_MAX_IN_WINDOW = 5

_LOCKOUTS_SECONDS = (60.0, 120.0, 240.0, 480.0, 900.0)
# More than the token requests within the longest lockout, so that only a lockout that is over is dropped.
_MAX_REFUSALS = 100


def lockout_seconds(refusals: int) -> float:
    """Return the seconds to wait after this many consecutive refusals: 60 at first, then doubled, at most 900."""
    return _LOCKOUTS_SECONDS[min(refusals, len(_LOCKOUTS_SECONDS)) - 1]


def read_secret(secret: SecretSource) -> str:
    """Return a password or token.

    Raises:
        AuthError: it cannot be read, or no request can carry it.
    """
    try:
        return secret.read()
    except SecretUnavailableError as unavailable:
        why = str(unavailable)
    raise AuthError(f"the secret is unavailable: {why}", operation="token")


@dataclass(slots=True)
class _Refusal:
    message: str = ""
    count: int = 0
    locked_until: float = -math.inf


class LoginThrottle:
    """Limits the token requests to one server, and remembers the passwords it refused. Shared by threads.

    It belongs to the server, not to a client: a reload creates new clients, but the server keeps counting.

    Args:
        clock: the monotonic clock.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: deque[float] = deque(maxlen=_MAX_IN_WINDOW)
        self._refusals: dict[tuple[str, bytes], _Refusal] = {}  # by user name and fingerprint
        self._salt = os.urandom(16)

    def acquire(self) -> float:
        """Take a slot for a token request and return 0; if none is free, return the seconds until one is."""
        with self._lock:
            now = self._clock()
            free_at = now
            if self._sent:
                free_at = self._sent[-1] + _MIN_GAP_SECONDS
            if len(self._sent) == _MAX_IN_WINDOW:
                free_at = max(free_at, self._sent[0] + _WINDOW_SECONDS)
            if free_at > now:
                return free_at - now
            self._sent.append(now)
            return 0.0

    def release(self, *, sent: bool) -> None:
        """Record that the last request has ended. It may have reached the server as late as now, or not at all."""
        with self._lock:
            if self._sent:
                self._sent.pop()
            if sent:
                self._sent.append(self._clock())

    def record_refusal(self, username: str, password: str, message: str) -> tuple[float, bool]:
        """Lock out a password, refused as `message` says; return for how many seconds, and whether for the first time."""
        key = self._key(username, password)
        with self._lock:
            if key not in self._refusals and len(self._refusals) == _MAX_REFUSALS:
                del self._refusals[min(self._refusals, key=self._locked_until)]
            refusal = self._refusals.setdefault(key, _Refusal())
            refusal.message = message
            refusal.count += 1
            seconds = lockout_seconds(refusal.count)
            refusal.locked_until = self._clock() + seconds
            return seconds, refusal.count == 1

    def record_success(self, username: str, password: str) -> None:
        """Forget the refusals of an account's password, but not those of another: it is still wrong."""
        with self._lock:
            self._refusals.pop(self._key(username, password), None)

    def remaining_lockout(self, username: str, password: str) -> tuple[float, str]:
        """Return the seconds until this password may be tried again, 0 for now, and why it was last refused."""
        with self._lock:
            refusal = self._refusals.get(self._key(username, password))
            if refusal is None:
                return 0.0, ""
            return max(refusal.locked_until - self._clock(), 0.0), refusal.message

    def check(self, form: Mapping[str, str]) -> None:
        """Check the form of a token request.

        Raises:
            AuthError: its password was refused too recently.
        """
        if "password" not in form:
            return
        left, reason = self.remaining_lockout(form["username"], form["password"])
        if left > 0:
            error = AuthError(reason, operation="token", next_try=_next_try(left))
            error.sent = False
            raise error

    def _locked_until(self, key: tuple[str, bytes]) -> float:
        return self._refusals[key].locked_until

    def _key(self, username: str, password: str) -> tuple[str, bytes]:
        # Enough to recognize the password, too little to recover it.
        digest = hashlib.blake2b(password.encode(errors="surrogatepass"), salt=self._salt).digest()
        return username.casefold(), digest  # Windows ignores the case


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordLogin:
    """Logs in with a user name and a password.

    A refused password is not tried again for 1 minute, then 2, 4, 8 and at most 15, so that the account is not locked.
    A changed secret is tried immediately.
    """

    username: str
    secret: SecretSource
    """The password, read again for each login."""
    throttle: LoginThrottle
    """Remembers the passwords that the server refused."""
    server: str
    """The server's name, for the log."""
    refused: threading.Event = field(default_factory=threading.Event)
    """Set after a refusal."""

    def log_in(self, request: Callable[[Mapping[str, str]], T]) -> T:
        """Call `request` with the login form and return its result.

        Raises:
            AuthError: the password is unavailable, refused, or was refused too recently.
            ForbiddenError: the account may not log in.
            Vb365Error: `request` failed for another reason.
        """
        password = read_secret(self.secret)
        form = {"grant_type": "password", "username": self.username, "password": password}
        self.throttle.check(form)
        try:
            result = request(form)
        except (AuthError, ForbiddenError) as error:
            if not error.sent:
                raise
            refusal = error
        else:
            self.throttle.record_success(self.username, password)
            if self.refused.is_set():
                self.refused.clear()
                log.info("login accepted again", server=self.server)
            return result
        self.refused.set()
        left, is_first = self.throttle.record_refusal(self.username, password, refusal.message)
        if is_first:
            log.warning(
                "login refused",
                server=self.server,
                reason=refusal.reason,
                status=refusal.status,
                error=refusal.message,
                next_try_seconds=left,
            )
        raise type(refusal)(
            refusal.message,
            operation="token",
            status=refusal.status,
            next_try=_next_try(left),
        )


def _next_try(seconds: float) -> str:
    return f"next try in {math.ceil(seconds)} s, or when the secret changes"


_throttles: weakref.WeakValueDictionary[str, LoginThrottle] = weakref.WeakValueDictionary()
_throttles_lock = threading.Lock()


def login_throttle_for(
    netloc: str, *, clock: Callable[[], float] = time.monotonic
) -> LoginThrottle:
    """Return the throttle that all clients of a server share while one of them exists; `clock` is for a new throttle."""
    with _throttles_lock:
        return _throttles.setdefault(netloc, LoginThrottle(clock=clock))
