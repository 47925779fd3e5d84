from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import pytest

from exporter.vb365 import errors
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ConnectError,
    ForbiddenError,
    NotFoundError,
    Reason,
    RequestTimeoutError,
    ServerError,
    StoppedError,
    ThrottledError,
    TlsError,
    Vb365Error,
    error_of_status,
    is_server_wide,
    would_recur,
)


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


def test_only_transient_errors_are_retryable() -> None:
    retryable = {error for error in all_errors() if error("x", operation="get").retryable}
    assert retryable == {ConnectError, RequestTimeoutError, ThrottledError}
    statuses = [500, 501, 502, 503, 504, 505, 599]
    passing = [s for s in statuses if ServerError("x", operation="get", status=s).retryable]
    assert passing == [500, 502, 503, 504]


def test_a_copy_of_an_error_is_equal_to_it() -> None:
    error = ThrottledError(
        "slow down",
        operation="list",
        status=429,
        retry_after_seconds=3.0,
        next_try="next try in 3 s",
    )
    error.sent = False
    copied = error.copy()
    assert copied is not error
    assert isinstance(copied, ThrottledError)
    assert vars(copied) == vars(error)
    assert str(copied) == "list: slow down; next try in 3 s"
    assert copied.message == "slow down"


def test_a_stopped_client_does_not_retry() -> None:
    assert not StoppedError("x", operation="get").retryable


def test_an_error_of_a_status_has_the_explanation_and_the_retry_after() -> None:
    error = error_of_status(429, operation="list", detail="slow down", retry_after_seconds=5)
    assert str(error) == "list: too many requests (HTTP 429, slow down)"
    assert (error.status, error.retry_after_seconds) == (429, 5)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (199, BadResponseError),
        (299, BadResponseError),
        (300, BadResponseError),
        (399, BadResponseError),
        (400, BadResponseError),
        (401, AuthError),
        (403, ForbiddenError),
        (404, NotFoundError),
        (409, BadResponseError),
        (429, ThrottledError),
        (499, BadResponseError),
        (500, ServerError),
        (599, ServerError),
        (600, BadResponseError),
    ],
)
def test_every_status_has_its_error(status: int, error: type[Vb365Error]) -> None:
    made = error_of_status(status, operation="get", code="ResourceNotFound")
    assert type(made) is error
    assert (made.status, made.operation, made.code) == (status, "get", "ResourceNotFound")
    assert f"(HTTP {status})" in str(made)


@pytest.mark.parametrize("status", [300, 399])
def test_the_error_of_a_redirect_names_it(status: int) -> None:
    assert "redirects" in str(error_of_status(status, operation="get"))


@pytest.mark.parametrize("status", [299, 400])
def test_the_error_of_another_status_does_not_name_a_redirect(status: int) -> None:
    assert "redirects" not in str(error_of_status(status, operation="get"))


@pytest.mark.parametrize(
    ("error", "server_wide", "recurs"),
    [
        (ConnectError("refused", operation="get"), True, True),
        (TlsError("expired", operation="get"), True, True),
        (AuthError("no", operation="get"), True, True),
        (ThrottledError("enough", operation="get"), True, True),
        (ServerError("answered 503", operation="token"), True, True),
        (RequestTimeoutError("slow", operation="get"), False, True),
        (ServerError("answered 503", operation="get"), False, False),
        (BadResponseError("HTML", operation="get"), False, False),
        (NotFoundError("gone", operation="get"), False, False),
    ],
)
def test_errors_that_every_request_would_meet_are_server_wide_and_a_timeout_would_recur_too(
    error: Vb365Error,
    server_wide: bool,  # noqa: FBT001 - a table
    recurs: bool,  # noqa: FBT001 - a table
) -> None:
    assert (is_server_wide(error), would_recur(error)) == (server_wide, recurs)
