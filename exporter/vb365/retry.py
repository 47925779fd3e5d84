"""Retries of failed requests, and the pauses that servers request.

Transient failures are retried with exponential back-off and full jitter. A server's `Retry-After` replaces the back-off
and holds back the requests that it concerns. No retry starts after the deadline.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception

from exporter.vb365.errors import ServerError, StoppedError, ThrottledError, Vb365Error
from exporter.vb365.server_clock import parse_http_date

T = TypeVar("T")

NO_RETRY = -math.inf
"""A deadline that allows one attempt."""

_MAX_ATTEMPTS = 5
_MAX_ATTEMPTS_OF_INDEPENDENT = {
    "token": 3,  # fewer than the five requests that the server accepts in a minute
    "organizations": 1,
    "statistics": 1,
    "events": 1,
    "change_feed": 1,
}
"""For the operations whose `Retry-After` holds back only themselves: others succeed without them, or with a valid token."""

_ALL = "all"
_INITIAL_BACKOFF_SECONDS = 0.5
_MAX_RETRY_AFTER_SECONDS = 900.0


class Pauses:
    """Until when a server accepts no requests, by its `Retry-After`. Shared by threads.

    The `Retry-After` of an independent operation holds back only that operation, any other all requests.

    They belong to an account on a server, not to a client: a reload creates a new client, but the server's pause goes on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}  # by independent operation, or _ALL

    def until(self, operation: str) -> float:
        """Return until when an operation is held back, on the monotonic clock."""
        return max(self._until.get(_ALL, -math.inf), self._until.get(operation, -math.inf))

    def extend(self, operation: str, until: float) -> None:
        """Hold back what the `Retry-After` of an operation concerns; a longer pause stays."""
        scope = operation if operation in _MAX_ATTEMPTS_OF_INDEPENDENT else _ALL
        with self._lock:
            self._until[scope] = max(until, self._until.get(scope, -math.inf))


class Retrier:
    """Retries requests, and holds back requests during a server's `Retry-After`.

    Args:
        pauses: those that the server has requested.
        clock: the monotonic clock.
        wait: sleeps for a number of seconds; returns True as soon as the client is stopped.
        random: returns a number in [0, 1).
        on_retry: called with the operation at the start of each retry.
    """

    def __init__(
        self,
        *,
        pauses: Pauses,
        clock: Callable[[], float],
        wait: Callable[[float], bool],
        random: Callable[[], float],
        on_retry: Callable[[str], None],
    ) -> None:
        self._pauses = pauses
        self._clock = clock
        self._wait = wait
        self._random = random
        self._on_retry = on_retry

    def call(self, attempt: Callable[[], T], *, operation: str, deadline: float) -> T:
        """Call `attempt` until it succeeds, fails permanently, or no attempts or time are left.

        Args:
            attempt: makes the request once.
            operation: named in errors; it decides how many attempts are made at most.
            deadline: no retry starts after this moment of the monotonic clock.

        Raises:
            StoppedError: the client was stopped during a wait.
            ThrottledError: a `Retry-After` lasts beyond the deadline.
            Vb365Error: the error of the last attempt.
        """
        max_attempts = _MAX_ATTEMPTS_OF_INDEPENDENT.get(operation, _MAX_ATTEMPTS)

        def seconds_to_wait(state: RetryCallState) -> float:
            error = state.outcome and state.outcome.exception()
            requested = error.retry_after_seconds if isinstance(error, Vb365Error) else None
            backoff = _INITIAL_BACKOFF_SECONDS * 2.0 ** (state.attempt_number - 1)
            return requested or self._random() * backoff

        def is_last(state: RetryCallState) -> bool:
            return (
                state.attempt_number >= max_attempts
                or self._clock() + state.upcoming_sleep > deadline
            )

        def wait_for_retry(seconds: float) -> None:
            self.pause(seconds, operation=operation)
            self._on_retry(operation)

        retrying = Retrying(
            retry=retry_if_exception(_is_retryable),
            wait=seconds_to_wait,
            stop=is_last,
            sleep=wait_for_retry,
            reraise=True,
        )
        result: T = retrying(self._attempt_after_pause, attempt, operation, deadline)
        return result

    def pause(self, seconds: float, *, operation: str) -> None:
        """Sleep until the time is over or the client is stopped.

        Raises:
            StoppedError: the client was stopped.
        """
        if self._wait(seconds):
            raise StoppedError("not sent, the client is stopped", operation=operation)

    def await_pause_end(self, operation: str, deadline: float = NO_RETRY) -> None:
        """Wait until no pause holds back the operation.

        Raises:
            StoppedError: the client was stopped.
            ThrottledError: a pause ends after the deadline.
        """
        while (left := (until := self._pauses.until(operation)) - self._clock()) > 0:
            if until > deadline:
                raise ThrottledError(
                    f"the server accepts no requests for another {left:.0f} s (Retry-After)",
                    operation=operation,
                    retry_after_seconds=left,
                )
            self.pause(left, operation=operation)

    def _attempt_after_pause(self, attempt: Callable[[], T], operation: str, deadline: float) -> T:
        self.await_pause_end(operation, deadline)
        try:
            return attempt()
        except Vb365Error as error:
            failure = self._honour_retry_after(error, operation, deadline)
        # Frames of this package and of tenacity refer to the error. With its traceback, they would form cycles that keep the
        # response in memory.
        raise failure.with_traceback(None)

    def _honour_retry_after(self, error: Vb365Error, operation: str, deadline: float) -> Vb365Error:
        """Hold back requests for the response's `Retry-After`; return the error to raise."""
        seconds = error.retry_after_seconds
        if not isinstance(error, ThrottledError | ServerError) or not seconds:
            return error
        if error.status is None:  # the limit is one of this client
            return error
        until = self._clock() + seconds
        self._pauses.extend(operation, until)
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
        headers: the response's headers.
        now: the wall clock, used if the header is a date and the response has no valid `Date`.
    """
    text = headers.get("Retry-After", "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        until = parse_http_date(text)
        if until is None:
            return None
        # Relative to the server's clock: the local one may differ by more than the wait.
        sent_at = parse_http_date(headers.get("Date", ""))
        seconds = until.timestamp() - (sent_at.timestamp() if sent_at else now())
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_SECONDS)
