from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from exporter.text import parse_duration
from exporter.web.status import thresholds
from exporter.web.status.thresholds import is_left_open, many_fail

RULES = Path(__file__).parents[3] / "deploy/prometheus/rules/vb365-thresholds.yml"
DAY, HOUR = 86_400.0, 3_600.0


@pytest.mark.parametrize(
    ("age_seconds", "idle_seconds", "left_open"),
    [
        (DAY, None, False),
        (DAY + 1, None, True),
        (20 * DAY, 12 * HOUR, False),
        (13 * HOUR, 12 * HOUR + 1, True),
    ],
)
def test_idle_time_decides_whether_a_session_is_left_open_and_its_age_where_that_is_unknown(
    age_seconds: float, idle_seconds: float | None, *, left_open: bool
) -> None:
    assert is_left_open(age_seconds, idle_seconds) is left_open


@pytest.mark.parametrize(
    ("ended", "failed", "organizations", "many"),
    [
        (0, 0, 0, False),
        (1, 1, 1, False),
        (20, 5, 3, True),
        (21, 5, 3, False),
        (20, 5, 2, False),
        (12, 4, 3, False),
        (6, 3, 3, True),
        (10, 5, 1, True),
        (8, 4, 2, False),
    ],
)
def test_many_restores_fail_by_their_share_and_their_number(
    ended: int, failed: int, organizations: int, *, many: bool
) -> None:
    assert many_fail(ended, failed, organizations) is many


def test_the_thresholds_are_those_of_the_alerts() -> None:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    shipped = {rule["record"]: rule["expr"] for group in groups for rule in group["rules"]}
    used = {
        "vb365:restore_session_open_threshold_seconds": thresholds.LEFT_OPEN_SECONDS,
        "vb365:restore_session_idle_threshold_seconds": thresholds.LEFT_IDLE_SECONDS,
        "vb365:many_failed_threshold_ratio": thresholds.MANY_FAILED_RATIO,
        "vb365:many_failed_threshold_organizations": thresholds.MANY_FAILED_ORGANIZATIONS,
        "vb365:many_failed_threshold_sessions": thresholds.MANY_FAILED_SESSIONS,
        "vb365:certificate_remaining_threshold_seconds": thresholds.CERTIFICATE_SECONDS,
    }
    values = {name: _value(shipped[name]) for name in used}
    assert values == used


def test_the_patience_with_servers_and_configured_sessions_is_that_of_the_alerts() -> None:
    groups = yaml.safe_load((RULES.parent / "vb365-alerts.yml").read_text(encoding="utf-8"))[
        "groups"
    ]
    alerts = {
        (rule["alert"], rule["labels"]["severity"]): rule
        for group in groups
        for rule in group["rules"]
        if "alert" in rule
    }
    waits = [
        parse_duration(alerts[name, "critical"]["for"])
        for name in ("Vb365Unreachable", "Vb365LoginRefused")
    ]
    assert waits == [thresholds.DOWN_SECONDS, thresholds.LOGIN_REFUSED_SECONDS]
    assert (
        f"> time() - {thresholds.CONFIGURED_FAILURE_SECONDS:.0f}"
        in alerts["Vb365RestoreFailed", "critical"]["expr"]
    )


def _value(expression: str) -> float:
    value = 1.0
    for factor in expression.removeprefix("vector(").removesuffix(")").split("*"):
        value *= float(factor)
    return value
