from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable

import pytest
from vb365.support import FakeTime

from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    ServerError,
    StoppedError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.retry import NO_RETRY, Pauses, Retrier, retry_after_seconds


def failing(*outcomes: Vb365Error | str) -> Callable[[], str]:
    """An attempt with these outcomes, one after the other."""
    left = iter(outcomes)

    def attempt() -> str:
        outcome = next(left)
        if isinstance(outcome, Vb365Error):
            raise outcome
        return outcome

    return attempt


def transient() -> ConnectError:
    return ConnectError("refused", operation="get")


def unavailable(seconds: float | None) -> ServerError:
    return ServerError("down", operation="get", status=503, retry_after_seconds=seconds)


def throttled(seconds: float | None) -> ThrottledError:
    return ThrottledError("slow", operation="get", status=429, retry_after_seconds=seconds)


ATTEMPTS = {
    "service_instance": 5,
    "list": 5,
    "get": 5,
    "token": 3,
    "organizations": 1,
    "statistics": 1,
    "events": 1,
    "change_feed": 1,
}


class Harness:
    """A retrier on a fake clock, whose jitter is a given share of the longest back-off."""

    def __init__(self, time: FakeTime, jitter: float = 1.0) -> None:
        self.time = time
        self.attempts = 0
        self.retries = 0
        self._retrier = Retrier(
            pauses=Pauses(),
            clock=time.clock,
            wait=time.wait,
            random=lambda: jitter,
            on_retry=self._count_retry,
        )

    def call(
        self,
        attempt: Callable[[], str],
        *,
        operation: str = "get",
        within: float = math.inf,
    ) -> str:
        """Make attempts with a deadline this many seconds from now."""

        def counted() -> str:
            self.attempts += 1
            return attempt()

        return self._retrier.call(counted, operation=operation, deadline=self.time.now + within)

    def _count_retry(self, operation: str) -> None:
        assert operation in ATTEMPTS
        self.retries += 1


@pytest.fixture
def harness(fake_time: FakeTime) -> Harness:
    return Harness(fake_time)


def test_a_success_waits_for_nothing(harness: Harness) -> None:
    assert harness.call(failing("yes")) == "yes"
    assert (harness.time.waits, harness.attempts, harness.retries) == ([], 1, 0)


def test_the_longest_back_off_doubles(harness: Harness) -> None:
    assert harness.call(failing(*[transient() for _ in range(4)], "yes")) == "yes"
    assert harness.time.waits == [0.5, 1, 2, 4]
    assert (harness.attempts, harness.retries) == (5, 4)


@pytest.mark.parametrize("jitter", [0.0, 0.25])
def test_the_back_off_is_a_random_share_of_the_longest(fake_time: FakeTime, jitter: float) -> None:
    harness = Harness(fake_time, jitter)
    harness.call(failing(transient(), transient(), "yes"))
    assert fake_time.waits == [0.5 * jitter, jitter]


@pytest.mark.parametrize(("operation", "attempts"), ATTEMPTS.items())
def test_after_the_last_attempt_its_failure_is_raised(
    harness: Harness, operation: str, attempts: int
) -> None:
    last = transient()
    outcomes = [*(transient() for _ in range(attempts - 1)), last]
    with pytest.raises(ConnectError) as caught:
        harness.call(failing(*outcomes), operation=operation)
    assert caught.value is last
    assert (harness.attempts, harness.retries) == (attempts, attempts - 1)


def test_a_failure_does_not_carry_earlier_ones_along(harness: Harness) -> None:
    with pytest.raises(ConnectError) as caught:
        harness.call(failing(transient(), transient(), transient()), operation="token")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("error", "failures"),
    [(BadResponseError("too long", operation="get"), 1), (transient(), 5), (unavailable(1.0), 5)],
)
def test_a_failure_does_not_hold_the_response_that_caused_it(
    harness: Harness, error: Vb365Error, failures: int
) -> None:
    class Response:
        pass

    responses = []

    def attempt() -> str:
        response = Response()
        responses.append(weakref.ref(response))
        outcome = error.copy()
        raise outcome

    gc.disable()
    try:
        with pytest.raises(Vb365Error):
            harness.call(attempt)
        kept = [response() for response in responses]
    finally:
        gc.enable()

    assert kept == [None] * failures


def test_a_wait_that_would_end_after_the_deadline_does_not_begin(harness: Harness) -> None:
    with pytest.raises(ConnectError):
        harness.call(failing(*[transient() for _ in range(9)]), within=3.4)
    assert harness.time.waits == [0.5, 1.0]


def test_a_wait_may_end_exactly_at_the_deadline(harness: Harness) -> None:
    assert harness.call(failing(transient(), "yes"), within=0.5) == "yes"


@pytest.mark.parametrize("within", [NO_RETRY, -1.0, 0.0])
def test_without_time_left_one_attempt_is_made(harness: Harness, within: float) -> None:
    with pytest.raises(ConnectError):
        harness.call(failing(transient()), within=within)
    assert harness.attempts == 1


def test_a_permanent_failure_is_not_retried(harness: Harness) -> None:
    with pytest.raises(BadResponseError):
        harness.call(failing(transient(), BadResponseError("x", operation="get")))
    assert harness.retries == 1


def test_an_unexpected_exception_is_not_retried_and_keeps_its_type(harness: Harness) -> None:
    def attempt() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        harness.call(attempt)
    assert harness.attempts == 1


def test_an_unexpected_exception_in_a_retry_keeps_its_type(harness: Harness) -> None:
    outcomes = iter([transient(), ZeroDivisionError()])

    def attempt() -> str:
        raise next(outcomes)

    with pytest.raises(ZeroDivisionError):
        harness.call(attempt)
    assert harness.attempts == 2


def test_retry_after_takes_precedence_over_the_back_off(harness: Harness) -> None:
    assert harness.call(failing(throttled(3), unavailable(20), "yes")) == "yes"
    assert harness.time.waits == [3, 20]


@pytest.mark.parametrize("error", [throttled, unavailable])
@pytest.mark.parametrize("seconds", [None, 0.0])
def test_without_a_retry_after_the_back_off_counts(
    harness: Harness, error: Callable[[float | None], Vb365Error], seconds: float | None
) -> None:
    harness.call(failing(error(seconds), "yes"))
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(seconds)), within=0)
    harness.call(failing("yes"))
    assert harness.time.waits == [0.5]


@pytest.mark.parametrize("within", [10.0, 10.5])
def test_other_requests_wait_until_retry_after_has_passed(harness: Harness, within: float) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), within=10)
    harness.time.now += 20
    assert harness.call(failing("yes"), within=within) == "yes"
    assert (harness.time.waits, harness.retries) == ([10], 0)


def test_the_last_half_second_of_a_retry_after_is_waited_for(harness: Harness) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), within=10)
    harness.time.now += 29.5
    harness.call(failing("yes"))
    assert harness.time.waits == [0.5]


def test_once_retry_after_has_passed_requests_do_not_wait(harness: Harness) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), within=10)
    harness.time.now += 30
    assert harness.call(failing("yes"), within=NO_RETRY) == "yes"
    assert harness.time.waits == []


def test_other_requests_fail_untried_while_retry_after_lasts_beyond_their_deadline(
    harness: Harness,
) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), within=10)
    with pytest.raises(ThrottledError, match="another 30 s") as caught:
        harness.call(failing(), within=29.9)
    assert caught.value.operation == "get"
    assert caught.value.retry_after_seconds == 30
    assert caught.value.status is None
    assert harness.attempts == 1


@pytest.mark.parametrize(
    "operation", ["statistics", "events", "change_feed", "organizations", "token"]
)
@pytest.mark.parametrize("error", [throttled, unavailable])
def test_the_retry_after_of_an_independent_operation_holds_back_only_itself(
    harness: Harness, operation: str, error: Callable[[float | None], Vb365Error]
) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(error(900)), operation=operation, within=NO_RETRY)

    assert harness.call(failing("yes"), operation="list", within=60) == "yes"
    with pytest.raises(ThrottledError, match=f"^{operation}: .* another 900 s"):
        harness.call(failing(), operation=operation, within=NO_RETRY)
    harness.time.now += 900
    assert harness.call(failing("yes"), operation=operation, within=NO_RETRY) == "yes"


@pytest.mark.parametrize(
    "operation", ["statistics", "events", "change_feed", "organizations", "token"]
)
def test_the_retry_after_of_any_other_operation_holds_back_all(
    harness: Harness, operation: str
) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), operation="list", within=10)
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(5)), operation="list", within=NO_RETRY)

    with pytest.raises(ThrottledError, match="another 30 s"):
        harness.call(failing(), operation=operation, within=NO_RETRY)


@pytest.mark.parametrize("operation", ["list", "statistics"])
def test_a_longer_retry_after_is_not_shortened_by_a_later_one(
    harness: Harness, operation: str
) -> None:
    def attempt_while_another_request_gets_a_longer_retry_after() -> str:
        with pytest.raises(ThrottledError):
            harness.call(failing(throttled(30)), operation=operation, within=1)
        raise throttled(5)

    with pytest.raises(ThrottledError):
        harness.call(
            attempt_while_another_request_gets_a_longer_retry_after, operation=operation, within=1
        )
    harness.call(failing("yes"), operation=operation)
    assert harness.time.waits == [30]


def test_a_server_error_with_a_retry_after_beyond_the_deadline_is_throttling(
    harness: Harness,
) -> None:
    with pytest.raises(ThrottledError, match=r"20 s \(HTTP 503") as caught:
        harness.call(failing(unavailable(20)), within=19.9)
    assert caught.value.operation == "get"
    assert caught.value.status == 503
    assert caught.value.retry_after_seconds == 20
    assert harness.attempts == 1


@pytest.mark.parametrize("error", [throttled, unavailable])
def test_a_retry_after_may_end_exactly_at_the_deadline(
    harness: Harness, error: Callable[[float | None], Vb365Error]
) -> None:
    assert harness.call(failing(error(20), "yes"), within=20) == "yes"
    assert harness.time.waits == [20]


def test_a_server_error_within_the_deadline_stays_one_when_attempts_run_out(
    harness: Harness,
) -> None:
    with pytest.raises(ServerError):
        harness.call(failing(unavailable(20)), operation="statistics", within=20)


def test_the_exporters_own_limits_do_not_hold_back_other_requests(harness: Harness) -> None:
    own = ThrottledError("own limit", operation="token", retry_after_seconds=30)
    with pytest.raises(ThrottledError):
        harness.call(failing(own), within=10)
    assert harness.call(failing("yes")) == "yes"
    assert harness.time.waits == []


def test_stopping_ends_the_back_off_with_an_error_of_its_own(harness: Harness) -> None:
    harness.time.stopped = True
    with pytest.raises(StoppedError, match=r"^get: not sent, the client is stopped$"):
        harness.call(failing(transient(), "yes"))
    assert (harness.attempts, harness.retries) == (1, 0)


def test_stopping_ends_the_wait_for_a_retry_after(harness: Harness) -> None:
    with pytest.raises(ThrottledError):
        harness.call(failing(throttled(30)), within=10)
    harness.time.stopped = True
    with pytest.raises(StoppedError, match=r"^get: "):
        harness.call(failing("yes"))
    assert harness.attempts == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "1"}, 1),
        ({"Retry-After": " 120 "}, 120),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "899"}, 899),
        ({"Retry-After": "900"}, 900),
        ({"Retry-After": "901"}, 900),
        ({"Retry-After": "7."}, 7),
        ({"Retry-After": "9" * 5000}, 900),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT"}, 60),
        ({"Retry-After": "Tue, 14 Nov 2023 23:14:20 +0100"}, 60),
        ({"Retry-After": "Tue, 14 Nov 2023 22:13:10 GMT"}, 0),
        ({"Retry-After": "Wed, 15 Nov 2023 22:13:20 GMT"}, 900),
        ({"Retry-After": "Fri, 31 Dec 99999 22:13:20 GMT"}, None),
        (
            {
                "Retry-After": "Tue, 12 Apr 2022 23:15:12 GMT",
                "Date": "Tue, 12 Apr 2022 23:14:57 GMT",
            },
            15,
        ),
        ({"Retry-After": "Tue, 14 Nov 2023 22:14:20 GMT", "Date": "today"}, 60),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date_of_the_servers_clock(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_seconds(headers, now=lambda: 1_700_000_000.0) == seconds
