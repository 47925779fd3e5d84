"""When a failed request is repeated, how long is waited before, and when the server is to be left alone.

Transient failures are repeated with exponential back-off and full jitter. What the server asks for (`Retry-After`)
wins. The poll's deadline bounds it all, but every request is tried at least once.
"""

from __future__ import annotations

import math
import re
import threading
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from exporter.vb365.errors import ServerError, StoppedError, ThrottledError, Vb365Error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "MAX_RETRY_AFTER_SECONDS",
    "NO_RETRY",
    "Retrier",
    "RetryPolicy",
    "retry_after_seconds",
]

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS: Final = 900.0
"""However long a server wants to be left alone, it is asked again after this."""

NO_RETRY: Final = -math.inf
"""As a deadline: try once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How stubborn to be. The waits are the bounds of a random one (full jitter)."""

    attempts: int = 5
    initial_backoff_seconds: float = 0.5
    max_backoff_seconds: float = 30.0

    def max_backoff(self, attempt: int) -> float:
        """The longest back-off before the first, second, ... repetition."""
        return min(self.max_backoff_seconds, self.initial_backoff_seconds * 2.0 ** (attempt - 1))


class Retrier:
    """Makes attempts; remembers for the whole client until when the server is to be left alone."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
        random: Callable[[], float],
    ) -> None:
        """Take what tells the time and lets it pass.

        Args:
            clock: the monotonic clock.
            wait: sleeps for so many seconds; ends early with True when the client is stopped.
            random: a number from 0 up to 1.
        """
        self._clock = clock
        self._wait = wait
        self._random = random
        self._lock = threading.Lock()
        self._blocked_until = -math.inf

    @property
    def blocked_until(self) -> float:
        """No request goes out before this moment of the monotonic clock."""
        return self._blocked_until

    def call(
        self,
        attempt: Callable[[], T],
        *,
        operation: str,
        deadline: float,
        on_retry: Callable[[], None],
        policy: RetryPolicy,
    ) -> T:
        """Make an attempt, and repeat it as long as that can help.

        Args:
            attempt: makes the request once.
            operation: what is asked for.
            deadline: the moment of the monotonic clock after which nothing is repeated.
            on_retry: called before each repetition.
            policy: how often, and how long to wait.

        Raises:
            Vb365Error: the last attempt's failure.
        """
        try:
            return self._once(attempt, operation, deadline)
        except Vb365Error as error:
            if not error.retryable:
                raise
            first_failure: Vb365Error | None = error

        def seconds_before_next(state: RetryCallState) -> float:
            error = state.outcome and state.outcome.exception()
            asked_for = error.retry_after_seconds if isinstance(error, Vb365Error) else None
            if asked_for:
                return asked_for
            return self._random() * policy.max_backoff(state.attempt_number)

        def enough(state: RetryCallState) -> bool:
            return (
                state.attempt_number >= policy.attempts
                or self._clock() + state.upcoming_sleep > deadline
            )

        def attempt_or_known_outcome() -> T:
            nonlocal first_failure
            if first_failure is not None:
                known, first_failure = first_failure, None
                raise known
            on_retry()
            return self._once(attempt, operation, deadline)

        retrying = Retrying(
            retry=retry_if_exception(_is_retryable),
            wait=seconds_before_next,
            stop=enough,
            sleep=lambda seconds: self.pause(seconds, operation=operation),
            reraise=True,
        )
        # The first attempt is already made: nearly all succeed, and need none of this machinery.
        outcome: T = retrying(attempt_or_known_outcome)
        return outcome

    def pause(self, seconds: float, *, operation: str) -> None:
        """Let time pass.

        Raises:
            StoppedError: the client was stopped meanwhile.
        """
        if self._wait(seconds):
            raise StoppedError("not asked again, the client is stopped", operation=operation)

    def _once(self, attempt: Callable[[], T], operation: str, deadline: float) -> T:
        while (left := self._blocked_until - self._clock()) > 0:
            if self._blocked_until > deadline:
                raise ThrottledError(
                    f"the server wants to be left alone for another {left:.0f} s",
                    operation=operation,
                    retry_after_seconds=left,
                )
            self.pause(left, operation=operation)
        try:
            return attempt()
        except (ThrottledError, ServerError) as error:
            failure = self._honour_retry_after(error, deadline)
        raise failure

    def _honour_retry_after(self, error: Vb365Error, deadline: float) -> Vb365Error:
        """The error, after everybody was told to leave the server alone for as long as it asks."""
        seconds = error.retry_after_seconds
        if not seconds or error.status is None:  # without a status it is not the server that asks
            return error
        until = self._clock() + seconds
        with self._lock:
            self._blocked_until = max(self._blocked_until, until)
        if until <= deadline or isinstance(error, ThrottledError):
            return error
        return ThrottledError(
            f"the server wants to be left alone for {seconds:.0f} s (HTTP {error.status})",
            operation=error.operation,
            status=error.status,
            retry_after_seconds=seconds,
        )


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, Vb365Error) and error.retryable


_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")


def retry_after_seconds(headers: Mapping[str, str], *, now: Callable[[], float]) -> float | None:
    """The seconds of a `Retry-After` header (RFC 9110, 10.2.3), at most 15 minutes; None when there is none to heed.

    Args:
        headers: the answer's.
        now: the wall clock, for a date in an answer that does not say when it was made.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        until = _timestamp(text)
        if until is None:
            return None
        # Relative to the server's own clock: ours may differ by more than the wait.
        made = _timestamp(headers.get("Date", ""))
        seconds = until - (now() if made is None else made)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
