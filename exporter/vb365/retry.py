"""Retries: which failures are retried, the waits before them, and the pauses that a server requests.

Transient failures are retried with exponential back-off and full jitter. A server's `Retry-After` takes precedence
and holds for all requests of a client. The deadline bounds everything, but each request is tried at least once.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from exporter.vb365.errors import ServerError, StoppedError, ThrottledError, Vb365Error

__all__ = [
    "MAX_RETRY_AFTER_SECONDS",
    "NO_RETRY",
    "Retrier",
    "RetryPolicy",
    "retry_after_seconds",
]

T = TypeVar("T")

MAX_RETRY_AFTER_SECONDS = 900.0
"""The longest pause that a server can request."""

NO_RETRY = -math.inf
"""As a deadline: one attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The number of attempts, and the bounds of the random waits between them."""

    attempts: int = 5
    initial_backoff_seconds: float = 0.5
    max_backoff_seconds: float = 30.0

    def max_backoff(self, attempt: int) -> float:
        """Return the longest back-off in seconds after the first, second, ... attempt."""
        return min(self.max_backoff_seconds, self.initial_backoff_seconds * 2.0 ** (attempt - 1))


class Retrier:
    """Retries requests; holds back all requests of a client while a server's `Retry-After` lasts.

    Args:
        clock: the monotonic clock.
        wait: sleeps for a number of seconds; returns True early when the client is stopped.
        random: returns a number from 0 up to 1.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
        random: Callable[[], float],
    ) -> None:
        self._clock = clock
        self._wait = wait
        self._random = random
        self._lock = threading.Lock()
        self._blocked_until = -math.inf

    def call(
        self,
        attempt: Callable[[], T],
        *,
        operation: str,
        deadline: float,
        on_retry: Callable[[], None],
        policy: RetryPolicy,
    ) -> T:
        """Call `attempt` until it succeeds, fails permanently, or attempts or time are used up.

        Args:
            attempt: makes the request once.
            operation: named in errors.
            deadline: no retry starts after this moment of the monotonic clock.
            on_retry: called at the start of each retry.
            policy: the number of attempts and their back-off.

        Raises:
            Vb365Error: the failure of the last attempt.
            StoppedError: the client was stopped during a wait.
        """

        def seconds_to_wait(state: RetryCallState) -> float:
            error = state.outcome and state.outcome.exception()
            requested = error.retry_after_seconds if isinstance(error, Vb365Error) else None
            return requested or self._random() * policy.max_backoff(state.attempt_number)

        def is_last(state: RetryCallState) -> bool:
            return (
                state.attempt_number >= policy.attempts
                or self._clock() + state.upcoming_sleep > deadline
            )

        def count_retry(state: RetryCallState) -> None:
            if state.attempt_number > 1:
                on_retry()

        retrying = Retrying(
            retry=retry_if_exception(_is_retryable),
            wait=seconds_to_wait,
            stop=is_last,
            before=count_retry,
            sleep=lambda seconds: self.pause(seconds, operation=operation),
            reraise=True,
        )
        result: T = retrying(self._attempt_unblocked, attempt, operation, deadline)
        return result

    def pause(self, seconds: float, *, operation: str) -> None:
        """Sleep.

        Raises:
            StoppedError: the client was stopped meanwhile.
        """
        if self._wait(seconds):
            raise StoppedError("not retried, the client is stopped", operation=operation)

    def _attempt_unblocked(self, attempt: Callable[[], T], operation: str, deadline: float) -> T:
        while (left := self._blocked_until - self._clock()) > 0:
            if self._blocked_until > deadline:
                raise ThrottledError(
                    f"the server accepts no requests for another {left:.0f} s (Retry-After)",
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
        """Hold back all requests as long as the response requests; return the error to raise."""
        seconds = error.retry_after_seconds
        if not seconds or error.status is None:  # without a status the limit is our own
            return error
        until = self._clock() + seconds
        with self._lock:
            self._blocked_until = max(self._blocked_until, until)
        if until <= deadline or isinstance(error, ThrottledError):
            return error
        return ThrottledError(
            f"the server accepts no requests for {seconds:.0f} s (HTTP {error.status}, Retry-After)",
            operation=error.operation,
            status=error.status,
            retry_after_seconds=seconds,
        )


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, Vb365Error) and error.retryable


_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")


def retry_after_seconds(headers: Mapping[str, str], *, now: Callable[[], float]) -> float | None:
    """Return the seconds of a `Retry-After` header (RFC 9110, 10.2.3), at most 15 minutes; None without a valid one.

    Args:
        headers: the response's.
        now: the wall clock, for a date in a response that has no valid `Date`.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        until = _timestamp(text)
        if until is None:
            return None
        # Relative to the server's own clock: ours may differ by more than the wait.
        sent_at = _timestamp(headers.get("Date", ""))
        seconds = until - (now() if sent_at is None else sent_at)
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
