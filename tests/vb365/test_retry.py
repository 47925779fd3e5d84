from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from exporter.vb365.errors import (
    BadResponseError,
    ConnectError,
    ServerError,
    StoppedError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.retry import NO_RETRY, Retrier, RetryPolicy, retry_after_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from vb365.support import FakeTime

POLICY = RetryPolicy(attempts=10)


def failing(*outcomes: Vb365Error | str) -> Callable[[], str]:
    """An attempt with these outcomes, one after the other."""
    left = iter(outcomes)

    def attempt() -> str:
        outcome = next(left)
        if isinstance(outcome, Vb365Error):
            raise outcome
        return outcome

    return attempt


def passing_failure() -> ConnectError:
    return ConnectError("refused", operation="get")


def throttled(seconds: float | None) -> ThrottledError:
    return ThrottledError("slow", operation="get", status=429, retry_after_seconds=seconds)


class Setup:
    """A retrier on a fake clock, whose jitter is a given share of the longest wait."""

    def __init__(self, time: FakeTime, jitter: float = 1.0) -> None:
        self.time = time
        self.retries = 0
        self.retrier = Retrier(clock=time.clock, wait=time.wait, random=lambda: jitter)

    def call(
        self,
        attempt: Callable[[], str],
        *,
        within: float = math.inf,
        policy: RetryPolicy = POLICY,
    ) -> str:
        """Make attempts until so many seconds from now."""
        return self.retrier.call(
            attempt,
            operation="get",
            deadline=self.time.now + within,
            on_retry=self._count,
            policy=policy,
        )

    def _count(self) -> None:
        self.retries += 1


@pytest.fixture
def setup(fake_time: FakeTime) -> Setup:
    return Setup(fake_time)


def test_success_at_once_waits_for_nothing(setup: Setup) -> None:
    assert setup.call(failing("yes")) == "yes"
    assert (setup.time.waits, setup.retries) == ([], 0)


def test_the_longest_wait_doubles_up_to_its_bound(setup: Setup) -> None:
    assert setup.call(failing(*[passing_failure() for _ in range(9)], "yes")) == "yes"
    assert setup.time.waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert setup.retries == 9


@pytest.mark.parametrize("jitter", [0.0, 0.25])
def test_the_wait_is_a_random_share_of_the_longest(fake_time: FakeTime, jitter: float) -> None:
    setup = Setup(fake_time, jitter)
    setup.call(failing(passing_failure(), passing_failure(), "yes"))
    assert fake_time.waits == [0.5 * jitter, jitter]


def test_after_the_last_attempt_its_failure_is_raised(setup: Setup) -> None:
    last = passing_failure()
    with pytest.raises(ConnectError) as caught:
        setup.call(failing(passing_failure(), last), policy=RetryPolicy(attempts=2))
    assert caught.value is last
    assert setup.retries == 1


def test_a_wait_that_would_end_after_the_deadline_is_not_begun(setup: Setup) -> None:
    with pytest.raises(ConnectError):
        setup.call(failing(*[passing_failure() for _ in range(9)]), within=3.4)
    assert setup.time.waits == [0.5, 1.0]


def test_a_wait_that_ends_at_the_deadline_is_made(setup: Setup) -> None:
    assert setup.call(failing(passing_failure(), "yes"), within=0.5) == "yes"


def test_no_repetition_means_one_attempt(setup: Setup) -> None:
    with pytest.raises(ConnectError):
        setup.call(failing(passing_failure()), within=NO_RETRY)


def test_what_does_not_pass_is_raised_at_once(setup: Setup) -> None:
    with pytest.raises(BadResponseError):
        setup.call(failing(passing_failure(), BadResponseError("x", operation="get")))
    assert setup.retries == 1


def test_a_mistake_of_ours_is_not_repeated_and_keeps_its_type(setup: Setup) -> None:
    def attempt() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        setup.call(attempt)


def test_a_mistake_of_ours_in_a_repetition_keeps_its_type(setup: Setup) -> None:
    outcomes = iter([passing_failure(), ZeroDivisionError()])

    def attempt() -> str:
        raise next(outcomes)

    with pytest.raises(ZeroDivisionError):
        setup.call(attempt)


def test_retry_after_wins_over_the_back_off(setup: Setup) -> None:
    unavailable = ServerError("x", operation="get", status=503, retry_after_seconds=20)
    assert setup.call(failing(throttled(3), unavailable, "yes")) == "yes"
    assert setup.time.waits == [3, 20]


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_without_a_retry_after_the_back_off_counts(setup: Setup, seconds: float | None) -> None:
    setup.call(failing(throttled(seconds), "yes"))
    assert setup.time.waits == [0.5]
    assert setup.retrier.blocked_until == -math.inf


def test_other_requests_wait_as_well_until_retry_after_has_passed(setup: Setup) -> None:
    with pytest.raises(ThrottledError):
        setup.call(failing(throttled(30)), within=10)
    setup.time.now += 20
    assert setup.call(failing("yes"), within=15) == "yes"
    assert setup.time.waits == [10]


def test_other_requests_fail_untried_while_retry_after_lasts_beyond_their_deadline(
    setup: Setup,
) -> None:
    with pytest.raises(ThrottledError):
        setup.call(failing(throttled(30)), within=10)
    with pytest.raises(ThrottledError, match="another 30 s") as caught:
        setup.call(failing(), within=29)
    assert caught.value.retry_after_seconds == 30
    assert caught.value.status is None


def test_a_longer_retry_after_is_not_shortened_by_a_later_one(setup: Setup) -> None:
    def attempt_beside_another_that_is_told_to_wait_longer() -> str:
        with pytest.raises(ThrottledError):
            setup.call(failing(throttled(30)), within=1)
        raise throttled(5)

    with pytest.raises(ThrottledError):
        setup.call(attempt_beside_another_that_is_told_to_wait_longer, within=1)
    assert setup.retrier.blocked_until == setup.time.now + 30


def test_a_server_error_with_a_retry_after_beyond_the_deadline_is_throttling(setup: Setup) -> None:
    unavailable = ServerError("x", operation="get", status=503, retry_after_seconds=20)
    with pytest.raises(ThrottledError, match=r"20 s \(HTTP 503\)") as caught:
        setup.call(failing(unavailable), within=19)
    assert caught.value.status == 503


def test_our_own_limits_do_not_hold_up_other_requests(setup: Setup) -> None:
    own = ThrottledError("own limit", operation="token", retry_after_seconds=30)
    with pytest.raises(ThrottledError):
        setup.call(failing(own), within=10)
    assert setup.retrier.blocked_until == -math.inf


def test_being_stopped_ends_the_waiting_with_an_error_of_its_own(setup: Setup) -> None:
    setup.time.stopped = True
    with pytest.raises(StoppedError):
        setup.call(failing(passing_failure(), "yes"))
    assert setup.retries == 0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "1"}, 1),
        ({"Retry-After": " 120 "}, 120),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "1.5"}, 1.5),
        ({"Retry-After": "901"}, 900),
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
