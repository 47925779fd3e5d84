from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

from exporter.vb365 import errors
from exporter.vb365.errors import (
    AuthError,
    ConnectError,
    Reason,
    RequestTimeoutError,
    ServerError,
    StoppedError,
    ThrottledError,
    Vb365Error,
    error_of_status,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_errors() -> Iterator[type[Vb365Error]]:
    for _, error in inspect.getmembers(errors, inspect.isclass):
        if issubclass(error, Vb365Error) and not error.__name__.startswith("_"):
            yield error


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"─ (\w+Error) +(\w+) {2,}", errors.__doc__ or ""))
    known = {e.__name__: e.reason.value for e in all_errors() if e is not Vb365Error}
    assert drawn == known


def test_every_reason_has_an_error() -> None:
    assert {error.reason for error in all_errors()} == set(Reason)


def test_what_may_pass_is_retryable() -> None:
    retryable = {error for error in all_errors() if error("x", operation="get").retryable}
    assert retryable == {ConnectError, RequestTimeoutError, ThrottledError}
    statuses = [500, 501, 502, 503, 504, 505, 599]
    passing = [s for s in statuses if ServerError("x", operation="get", status=s).retryable]
    assert passing == [500, 502, 503, 504]


def test_an_error_for_another_thread_tells_the_same() -> None:
    error = ThrottledError("slow down", operation="list", status=429, retry_after_seconds=3.0)
    error.sent = False
    twin = error.copy()
    assert twin is not error
    assert isinstance(twin, ThrottledError)
    assert vars(twin) == vars(error)
    assert str(twin) == "list: slow down"


def test_being_stopped_is_told_from_other_errors() -> None:
    assert not StoppedError("x", operation="get").retryable


def test_a_status_error_carries_what_is_known() -> None:
    error = error_of_status(429, operation="list", detail="slow down", retry_after_seconds=5)
    assert str(error) == "list: too many requests (HTTP 429, slow down)"
    assert (error.status, error.retry_after_seconds) == (429, 5)


def test_every_status_but_success_has_an_error() -> None:
    for status in [*range(100, 200), *range(300, 600)]:
        error = error_of_status(status, operation="get")
        assert error.status == status
        assert isinstance(error, AuthError) == (status == 401)
