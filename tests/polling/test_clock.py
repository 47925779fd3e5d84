"""What the exporter knows does not depend on anybody setting the system's clock."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from exporter.polling.clock import Clock, Moment
from exporter.polling.snapshot import Snapshot
from support.fake_clocks import SystemClocks
from support.ledger_harness import DAY_SECONDS, LedgerHarness, sessions_config, shown_ids
from support.sample_sessions import NOON, finished, running, session_id

JUMPS = pytest.mark.parametrize("seconds", [3600.0, -3600.0, DAY_SECONDS, -DAY_SECONDS, -1e9])
HOUR = timedelta(hours=1)


@pytest.fixture
def system() -> SystemClocks:
    return SystemClocks()


class ClockBench(LedgerHarness):
    """A ledger whose moments are those of the process's clock."""

    def __init__(self, system: SystemClocks) -> None:
        super().__init__(sessions_config(lookback=DAY_SECONDS))
        self._system = system
        self._clock = system.clock()

    @property
    def now(self) -> Moment:
        return self._clock.now()

    def poll(self, after_seconds: float = 60.0) -> Snapshot:
        self._system.passed_seconds += after_seconds
        return super().poll(0.0).without_stale(self.now.monotonic)


@JUMPS
def test_a_set_wall_clock_shows_in_timestamps_and_not_in_moments(
    system: SystemClocks, seconds: float
) -> None:
    clock = system.clock()
    system.passed_seconds = 5.0
    system.set_seconds = seconds

    assert clock.now() == Moment(monotonic=1005.0, wall=NOON + timedelta(seconds=5))
    assert clock.timestamp() == NOON.timestamp() + 5 + seconds


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock of Linux")
def test_the_clock_counts_the_time_while_the_machine_is_suspended() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = Clock().monotonic()

    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="a clock of Linux")
def test_the_clock_differs_from_the_one_that_stops_while_the_machine_is_suspended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Both show the same on a machine that was never suspended, so a third clock takes the place of the former.
    monkeypatch.setattr(time, "CLOCK_BOOTTIME", time.CLOCK_REALTIME)

    assert Clock().monotonic() == pytest.approx(time.time(), abs=DAY_SECONDS)


@pytest.mark.parametrize("missing", ["in Python", "in the kernel"])
def test_without_such_a_clock_suspended_time_does_not_count(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "in Python":
        monkeypatch.delattr(time, "CLOCK_BOOTTIME", raising=False)
    else:
        monkeypatch.setattr(time, "CLOCK_BOOTTIME", 999, raising=False)
    before = time.monotonic()
    now = Clock().monotonic()

    assert before <= now <= time.monotonic()


def test_the_clock_knows_how_long_the_machine_was_suspended(system: SystemClocks) -> None:
    awake = 500.0
    clock = Clock(system.monotonic, system.time, awake=lambda: awake)
    assert clock.suspended() == 0.0

    awake = 510.0
    system.passed_seconds = 3610.0

    assert clock.suspended() == 3600.0


def test_the_clock_waits_with_the_function_it_was_given() -> None:
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return True

    clock = Clock(wait=wait)

    assert clock.wait is not None
    assert clock.wait(3.0)
    assert waits == [3.0]


@JUMPS
def test_a_set_wall_clock_neither_drops_nor_counts_nor_brings_back_a_session(
    system: SystemClocks, seconds: float
) -> None:
    harness = ClockBench(system)
    harness.hold(
        running(1),
        running(60),
        finished(2),
        finished(3, creation_time=NOON - 24 * HOUR, end_time=NOON - 23 * HOUR),
        finished(4, creation_time=NOON - 26 * HOUR, end_time=NOON - 25 * HOUR),
    )
    before = harness.poll()
    assert shown_ids(before) == [session_id(number) for number in (1, 60, 2, 3)]

    system.set_seconds = seconds
    for _ in range(3):
        after = harness.poll()
        assert shown_ids(before) == shown_ids(after)
        assert after.activity == before.activity
        assert after.stopped == before.stopped

    # Its lookback ends by the time that passes, and not by the clock.
    assert session_id(3) not in shown_ids(harness.poll(3600))
    system.set_seconds = -seconds
    assert session_id(3) not in shown_ids(harness.poll(3600))


@JUMPS
def test_stale_data_ends_by_the_time_that_passes_and_not_by_the_clock(
    system: SystemClocks, seconds: float
) -> None:
    harness = ClockBench(system)
    harness.hold(running(1), finished(2))
    snapshot = harness.poll()

    system.set_seconds = seconds
    system.passed_seconds += 179.0
    assert snapshot is snapshot.without_stale(harness.now.monotonic)
    system.passed_seconds += 1.0
    assert shown_ids(snapshot.without_stale(harness.now.monotonic)) == []
