"""What this process remembers of its logins at a server, so that it neither floods it nor locks an account.

The memory belongs to the server, not to a client: a reload makes new clients, and the server still counts.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoginThrottle", "lockout_seconds", "login_throttle_for"]

# The token endpoint takes 1 request a second and 5 a minute from one address (and 1500 an hour, which these imply).
# A little is added because what counts is when requests arrive.
_LEAST_GAP_SECONDS: Final = 1.05
_WINDOW_SECONDS: Final = 61.0
_MOST_IN_WINDOW: Final = 5

_HOLDS_SECONDS: Final = (60.0, 120.0, 240.0, 480.0, 900.0)


def lockout_seconds(times: int) -> float:
    """For how long not to try again what was refused so many times in a row: a minute at first, at most 15."""
    return _HOLDS_SECONDS[min(times, len(_HOLDS_SECONDS)) - 1]


@dataclass(slots=True, kw_only=True)
class _Refusal:
    fingerprint: bytes
    times: int
    until: float


class LoginThrottle:
    """The pace of token requests to one server, and the passwords it has refused."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: deque[float] = deque(maxlen=_MOST_IN_WINDOW)
        self._refusals: dict[str, _Refusal] = {}
        self._salt = os.urandom(16)

    def acquire(self) -> float:
        """Ask to send a token request now: 0 means yes, and that it counts; else in how many seconds to ask again."""
        with self._lock:
            now = self._clock()
            free_at = now
            if self._sent:
                free_at = self._sent[-1] + _LEAST_GAP_SECONDS
            if len(self._sent) == _MOST_IN_WINDOW:
                free_at = max(free_at, self._sent[0] + _WINDOW_SECONDS)
            if free_at > now:
                return free_at - now
            self._sent.append(now)
            return 0.0

    def sent(self) -> None:
        """The request admitted last has ended: it may have reached the server as late as this."""
        with self._lock:
            if self._sent:
                self._sent[-1] = self._clock()

    def not_sent(self) -> None:
        """The request admitted last did not reach the server, so it does not count."""
        with self._lock:
            if self._sent:
                self._sent.pop()

    def record_refusal(self, username: str, password: str) -> tuple[float, bool]:
        """Note a refused password; returns for how many seconds to hold off, and whether it is refused the first time.

        A minute at first, doubled with every further refusal of the same password, at most 15 minutes.
        """
        fingerprint = self._fingerprint(password)
        with self._lock:
            before = self._refusals.get(username)
            again = before is not None and before.fingerprint == fingerprint
            times = before.times + 1 if before is not None and again else 1
            seconds = lockout_seconds(times)
            self._refusals[username] = _Refusal(
                fingerprint=fingerprint, times=times, until=self._clock() + seconds
            )
            return seconds, not again

    def record_success(self, username: str) -> bool:
        """Forget the refusals of this account; returns whether there were any."""
        with self._lock:
            return self._refusals.pop(username, None) is not None

    def remaining_lockout(self, username: str, password: str) -> float:
        """For how long not to try this password again; 0 when it has not been refused, or long enough ago."""
        with self._lock:
            refusal = self._refusals.get(username)
            if refusal is None or refusal.fingerprint != self._fingerprint(password):
                return 0.0
            return max(refusal.until - self._clock(), 0.0)

    def _fingerprint(self, password: str) -> bytes:
        # Enough to see that it is the same, useless to find out what it is.
        return hashlib.blake2b(password.encode(errors="surrogatepass"), salt=self._salt).digest()


_memories: weakref.WeakValueDictionary[str, LoginThrottle] = weakref.WeakValueDictionary()
_memories_lock = threading.Lock()


def login_throttle_for(
    origin: str, *, clock: Callable[[], float] = time.monotonic
) -> LoginThrottle:
    """The memory that all clients of one server share, as long as there is one; it keeps the first one's clock."""
    with _memories_lock:
        memory = _memories.get(origin)
        if memory is None:
            memory = _memories[origin] = LoginThrottle(clock=clock)
        return memory
