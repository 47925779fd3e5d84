from __future__ import annotations

import gc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from exporter.vb365.login import LoginThrottle, login_throttle_for

if TYPE_CHECKING:
    from vb365.support import FakeTime


def test_token_requests_are_admitted_one_a_second_and_five_a_minute(
    memory: LoginThrottle, fake_time: FakeTime
) -> None:
    admitted: list[float] = []
    while len(admitted) < 12:
        if seconds := memory.acquire():
            fake_time.now += seconds
        else:
            admitted.append(fake_time.now)
    gaps = [later - earlier for earlier, later in pairwise(admitted)]
    windows = [later - earlier for earlier, later in zip(admitted, admitted[5:], strict=False)]
    assert min(gaps) == pytest.approx(1.05)
    assert min(windows) == pytest.approx(61)


def test_a_request_that_was_not_sent_does_not_count(memory: LoginThrottle) -> None:
    for _ in range(20):
        assert memory.acquire() == 0
        memory.not_sent()


def test_a_password_refused_again_and_again_is_held_off_longer_up_to_a_quarter_of_an_hour(
    memory: LoginThrottle, fake_time: FakeTime
) -> None:
    holds = []
    for _ in range(6):
        seconds, _ = memory.record_refusal("svc", "wrong")
        assert memory.remaining_lockout("svc", "wrong") == seconds
        holds.append(seconds)
        fake_time.now += seconds
        assert memory.remaining_lockout("svc", "wrong") == 0
    assert holds == [60, 120, 240, 480, 900, 900]


def test_a_password_that_has_been_refused_for_weeks_is_still_held_off(
    memory: LoginThrottle,
) -> None:
    for _ in range(2000):
        memory.record_refusal("svc", "wrong")
    assert memory.remaining_lockout("svc", "wrong") == 900


def test_another_password_or_account_is_not_held_off(memory: LoginThrottle) -> None:
    memory.record_refusal("svc", "wrong")
    memory.record_refusal("svc", "wrong")
    assert memory.remaining_lockout("svc", "other") == 0
    assert memory.remaining_lockout("other", "wrong") == 0
    assert memory.record_refusal("svc", "other") == (60, True)


def test_only_the_first_refusal_of_a_password_is_news(memory: LoginThrottle) -> None:
    assert memory.record_refusal("svc", "wrong")[1]
    assert not memory.record_refusal("svc", "wrong")[1]
    assert memory.record_success("svc")
    assert not memory.record_success("svc")
    assert memory.record_refusal("svc", "wrong") == (60, True)


def test_the_memory_does_not_hold_the_password(memory: LoginThrottle) -> None:
    memory.record_refusal("svc", "hunter2\ud800")
    assert "hunter2" not in repr(vars(memory))


def test_clients_of_one_server_share_a_memory_as_long_as_there_is_one() -> None:
    first = login_throttle_for("https://hq:4443")
    first.record_refusal("svc", "wrong")
    assert login_throttle_for("https://hq:4443") is first
    assert login_throttle_for("https://branch:4443") is not first
    del first
    gc.collect()
    assert login_throttle_for("https://hq:4443").remaining_lockout("svc", "wrong") == 0
