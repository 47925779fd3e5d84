from __future__ import annotations

import gc
from itertools import pairwise

import pytest
from vb365.support import FakeTime

from exporter.vb365.login import LoginThrottle, login_throttle_for


def test_a_slot_is_free_once_a_second_and_five_times_a_minute(
    login_throttle: LoginThrottle, fake_time: FakeTime
) -> None:
    acquired: list[float] = []
    while len(acquired) < 12:
        if seconds := login_throttle.acquire():
            fake_time.now += seconds
        else:
            acquired.append(fake_time.now)
    gaps = [later - earlier for earlier, later in pairwise(acquired)]
    windows = [later - earlier for earlier, later in zip(acquired, acquired[5:], strict=False)]
    assert min(gaps) == pytest.approx(1.05)
    assert min(windows) == pytest.approx(61)


def test_the_pace_counts_from_the_end_of_a_request(
    login_throttle: LoginThrottle, fake_time: FakeTime
) -> None:
    assert login_throttle.acquire() == 0
    fake_time.now += 10
    login_throttle.release(sent=True)
    assert login_throttle.acquire() == pytest.approx(1.05)


def test_a_request_that_was_not_sent_frees_its_slot(login_throttle: LoginThrottle) -> None:
    for _ in range(20):
        assert login_throttle.acquire() == 0
        login_throttle.release(sent=False)


def test_a_password_refused_again_and_again_is_locked_out_for_up_to_a_quarter_of_an_hour(
    login_throttle: LoginThrottle, fake_time: FakeTime
) -> None:
    lockouts = []
    for _ in range(6):
        seconds, _ = login_throttle.record_refusal("svc", "wrong", "refused")
        assert login_throttle.remaining_lockout("svc", "wrong") == (seconds, "refused")
        lockouts.append(seconds)
        fake_time.now += seconds
        assert login_throttle.remaining_lockout("svc", "wrong") == (0, "refused")
    assert lockouts == [60, 120, 240, 480, 900, 900]


def test_a_password_that_has_been_refused_for_weeks_is_still_locked_out(
    login_throttle: LoginThrottle,
) -> None:
    for _ in range(2000):
        login_throttle.record_refusal("svc", "wrong", "refused")
    assert login_throttle.remaining_lockout("svc", "wrong") == (900, "refused")


def test_another_password_or_account_is_not_locked_out(login_throttle: LoginThrottle) -> None:
    login_throttle.record_refusal("svc", "wrong", "refused")
    login_throttle.record_refusal("svc", "wrong", "refused")
    assert login_throttle.remaining_lockout("svc", "other") == (0, "")
    assert login_throttle.remaining_lockout("other", "wrong") == (0, "")
    assert login_throttle.record_refusal("svc", "other", "refused") == (60, True)
    assert login_throttle.remaining_lockout("svc", "wrong") == (120, "refused")


def test_the_case_of_a_user_name_does_not_make_another_account(
    login_throttle: LoginThrottle,
) -> None:
    login_throttle.record_refusal(r"CONTOSO\svc", "wrong", "refused")
    assert login_throttle.remaining_lockout(r"contoso\SVC", "wrong") == (60, "refused")


def test_passwords_of_one_account_that_take_turns_are_locked_out_ever_longer(
    login_throttle: LoginThrottle,
) -> None:
    for seconds in (60, 120, 240, 480, 900, 900):
        for password in ("wrong", "old"):
            assert login_throttle.record_refusal("svc", password, "refused")[0] == seconds


def test_of_very_many_refused_passwords_only_lockouts_that_are_over_are_forgotten(
    login_throttle: LoginThrottle, fake_time: FakeTime
) -> None:
    for _ in range(5):
        login_throttle.record_refusal("svc", "wrong", "refused")
    login_throttle.record_refusal("svc", "first", "refused")
    for number in range(70):
        fake_time.now += 12
        login_throttle.record_refusal("svc", f"changed {number}", "refused")
    assert login_throttle.remaining_lockout("svc", "wrong") == (60, "refused")
    for number in range(70, 100):
        login_throttle.record_refusal("svc", f"changed {number}", "refused")
    assert login_throttle.remaining_lockout("svc", "wrong") == (60, "refused")
    assert login_throttle.record_refusal("svc", "wrong", "refused") == (900, False)
    assert login_throttle.record_refusal("svc", "first", "refused") == (60, True)


def test_the_first_refusal_of_a_password_is_distinguished(login_throttle: LoginThrottle) -> None:
    assert login_throttle.record_refusal("svc", "wrong", "refused") == (60, True)
    assert login_throttle.record_refusal("svc", "wrong", "refused") == (120, False)


def test_a_success_ends_a_row_of_refusals(login_throttle: LoginThrottle) -> None:
    login_throttle.record_refusal("svc", "wrong", "refused")
    login_throttle.record_success("svc", "wrong")
    assert login_throttle.remaining_lockout("svc", "wrong") == (0, "")
    assert login_throttle.record_refusal("svc", "wrong", "refused") == (60, True)


def test_the_success_of_a_password_ends_no_lockout_of_another(
    login_throttle: LoginThrottle,
) -> None:
    login_throttle.record_refusal("svc", "wrong", "refused")
    login_throttle.record_success("svc", "right")
    assert login_throttle.record_refusal("svc", "wrong", "refused") == (120, False)


def test_the_throttle_does_not_hold_the_password(login_throttle: LoginThrottle) -> None:
    login_throttle.record_refusal("svc", "hunter2\ud800", "refused")
    assert "hunter2" not in repr(vars(login_throttle))


def test_clients_of_one_server_share_a_throttle_as_long_as_there_are_any() -> None:
    first = login_throttle_for("hq:4443")
    first.record_refusal("svc", "wrong", "refused")
    assert login_throttle_for("hq:4443") is first
    assert login_throttle_for("branch:4443") is not first
    del first
    gc.collect()
    assert login_throttle_for("hq:4443").remaining_lockout("svc", "wrong") == (0, "")
