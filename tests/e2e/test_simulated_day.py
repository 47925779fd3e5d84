"""How often people are notified on an ordinary day of a service provider."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.alert_rules import ALERTMANAGER, load_yaml, scaled_alertmanager_config
from support.alertmanager_process import running_alertmanager, running_webhook
from support.simulated_day import DAY_MINUTES, firing_alerts

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

MINUTE_SECONDS = 0.1
NIGHT = (*range(7 * 60), *range(22 * 60, DAY_MINUTES))
DAILY = "Vb365RestoreEndedWithWarnings|Vb365RestoreMissedItems|Vb365RestoreObjectiveMissed"


def active_minutes(name: str) -> tuple[int, int]:
    """Return the first and the last minute of a time interval of the shipped configuration."""
    (interval,) = (
        interval["time_intervals"][0]["times"][0]
        for interval in load_yaml(ALERTMANAGER)["time_intervals"]
        if interval["name"] == name
    )
    first, last = (
        int(interval[key][:2]) * 60 + int(interval[key][3:]) for key in ("start_time", "end_time")
    )
    return first, last


def test_a_day_of_40_tenants_pages_nobody_but_for_the_dead_repository(tmp_path: Path) -> None:
    """300 restores, 12 of them failed and 30 with warnings, 8 Explorers left open overnight, a dead repository at 03:05.

    Alertmanager's clock cannot be set, so a minute takes a tenth of a second, and silences stand for time intervals:
    both keep an alert from being notified without recording it as notified.
    """
    firing = firing_alerts(tmp_path)
    with (
        running_webhook() as webhook,
        running_alertmanager(
            scaled_alertmanager_config(webhook.url, MINUTE_SECONDS), tmp_path / "am"
        ) as alertmanager,
    ):
        midnight, started = datetime.now(UTC) + timedelta(seconds=1), time.monotonic() + 1

        def at(minute: float) -> datetime:
            return midnight + timedelta(seconds=minute * MINUTE_SECONDS)

        for alertnames, interval in (
            (DAILY, "morning"),
            ("Vb365RestoreSessionLeftOpen", "working-hours"),
        ):
            first, last = active_minutes(interval)
            alertmanager.silence(alertnames, datetime.now(UTC), at(first))
            alertmanager.silence(alertnames, at(last), at(2 * DAY_MINUTES))
        before: list[dict[str, str]] = []
        for minute, alerts in sorted(firing.items()):
            # The pace of the simulated clock.
            time.sleep(max(started + minute * MINUTE_SECONDS - time.monotonic(), 0))
            now = [dict(labels) for labels in alerts]
            alertmanager.post(*now, until=at(minute) + timedelta(minutes=10))
            alertmanager.post(
                *(labels for labels in before if labels not in now), until=datetime.now(UTC)
            )
            before = now

    by_receiver: dict[str, list[int]] = {}
    for delivery in webhook.deliveries():
        minute = int((delivery.received - started) / MINUTE_SECONDS)
        by_receiver.setdefault(delivery.receiver, []).append(minute)
    by_receiver.pop("watchdog")
    at_night = Counter(
        receiver
        for receiver, minutes in by_receiver.items()
        for minute in minutes
        if minute in NIGHT and receiver.startswith("on-call")
    )

    assert at_night == {"on-call-restores": 1}
    assert 3 * 60 <= by_receiver["on-call-restores"][0] < 4 * 60
    assert len(by_receiver["daily"]) == 2  # one for each server
    assert len(by_receiver["restores"]) <= 12
    assert len(by_receiver["operators"]) <= 6
    assert set(by_receiver) <= {"on-call-restores", "daily", "restores", "operators"}
