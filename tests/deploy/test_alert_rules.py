"""The alert and recording rules: valid, complete, made of metrics that exist, and each proven by a promtool test."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from exporter.config import Extra
from exporter.metrics.catalogue import all_families
from exporter.metrics.catalogue.family import Family, Kind, SessionFamily, SnapshotFamily
from exporter.metrics.catalogue.sessions import SESSION_LABELS
from exporter.vb365.errors import Reason
from exporter.vb365.records.extras import EventOperation, EventStatus
from exporter.vb365.records.restore_session import SessionResult, SessionState, SessionType
from support.alert_rules import DEPLOY, RULE_TESTS, RULES, Alert, alerts, load_yaml, rules
from support.processes import debian_program

ALERTS = alerts()
NAMES = list(dict.fromkeys(alert.name for alert in ALERTS))
TEST_FILES = sorted(RULE_TESTS.glob("*.test.yml"))
TARGET_LABELS = {"job", "instance", "pod", "cluster"}
SEVERITIES = {"critical", "warning", "info", "none"}
WATCHDOG = "Vb365Watchdog"
DURATION = re.compile(r"(\d+(ms|[smhdwy]))+")


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [debian_program("promtool", "prometheus"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def sample_labels(family: Family) -> dict[str, set[str]]:
    """The labels of a family, by the names of its samples."""
    labels = set(family.labels)
    if isinstance(family, SessionFamily):
        labels |= set(SESSION_LABELS)
    elif isinstance(family, SnapshotFamily):
        labels |= {"server"}
    if family.kind is not Kind.HISTOGRAM:
        return {family.name: labels}
    return {
        f"{family.name}_bucket": labels | {"le"},
        f"{family.name}_sum": labels,
        f"{family.name}_count": labels,
    }


EXPOSED = {
    name: labels for family in all_families() for name, labels in sample_labels(family).items()
}
RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def matchers(selector: str) -> Mapping[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', selector))


@pytest.mark.usefixtures("release")
def test_the_rules_and_the_prometheus_that_loads_them_are_valid() -> None:
    checked = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")

    assert checked.returncode == 0, checked.stderr
    assert set(re.findall(r"Checking .*/rules/(.+)\n  SUCCESS", checked.stdout)) == {
        path.name for path in RULES.glob("*.yml")
    }


@pytest.mark.slow
@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_the_rules_pass_their_tests(path: Path) -> None:
    """Under Prometheus 3, too, whose ranges are left-open."""
    tested = promtool("test", "rules", path)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_has_a_test_of_its_own() -> None:
    tested = {path.name.partition(".")[0] for path in TEST_FILES}

    assert tested == {alert.name for alert in ALERTS} | {"recording"}


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_a_test_states_the_order_of_group_evaluation(path: Path) -> None:
    """Left to itself, promtool takes them in an order of chance."""
    groups = {group["name"] for file in RULES.glob("*.yml") for group in load_yaml(file)["groups"]}

    assert groups == set(load_yaml(path)["group_eval_order"])


@pytest.mark.parametrize("name", [name for name in NAMES if name != WATCHDOG])
def test_an_alert_is_seen_silent_firing_and_silent_again(name: str) -> None:
    (cases, *_) = load_yaml(RULE_TESTS / f"{name}.test.yml")["tests"]

    fires = "".join("x" if case["exp_alerts"] else "." for case in cases["alert_rule_test"])

    assert re.match(r"\.+x+\.", fires)


def at_once(rule: dict[str, Any]) -> None:
    rule["for"] = "0s"


def for_ever(rule: dict[str, Any]) -> None:
    rule["keep_firing_for"] = "100d"


def resolved_at_once(rule: dict[str, Any]) -> None:
    rule["keep_firing_for"] = "0s"


def broken_rules() -> Iterable[Any]:
    for alert in {alert.name: alert for alert in ALERTS if alert.name != WATCHDOG}.values():
        ways = [for_ever]
        if alert.rule["for"] != "0s":
            ways.append(at_once)
        if "keep_firing_for" in alert.rule:
            ways.append(resolved_at_once)
        yield from (pytest.param(alert, way, id=f"{alert.name}-{way.__name__}") for way in ways)


@pytest.mark.slow
@pytest.mark.parametrize(("alert", "way"), tuple(broken_rules()))
def test_a_broken_alert_fails_its_test(alert: Alert, way: Any, tmp_path: Path) -> None:
    """That it waits, stays and resolves is really looked at. Only the alert itself is left: the others cost time."""
    shutil.copytree(RULES, tmp_path / "rules")
    shutil.copytree(RULE_TESTS, tmp_path / "tests")
    path = tmp_path / "rules" / "vb365-alerts.yml"
    groups = load_yaml(path)["groups"]
    for group in groups:
        group["rules"] = [
            rule for rule in group["rules"] if rule.get("alert", alert.name) == alert.name
        ]
        for rule in group["rules"]:
            if "alert" in rule:
                way(rule)
    path.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")

    tested = promtool("test", "rules", tmp_path / "tests" / f"{alert.name}.test.yml")

    assert tested.returncode == 1
    assert f"alertname: {alert.name}" in tested.stdout + tested.stderr


def input_series() -> Iterable[str]:
    for path in TEST_FILES:
        for test in load_yaml(path)["tests"]:
            yield from (series["series"] for series in test["input_series"])


def test_the_tests_are_made_of_series_as_the_exporter_has_them() -> None:
    for series in input_series():
        name, _, selector = series.partition("{")
        labels = set(matchers(selector)) - TARGET_LABELS
        if name == "up":
            assert labels == set(), series
        elif name in RECORDED:
            # Thresholds.
            assert labels <= {"type", "organization"}, series
        else:
            # Prometheus has no empty labels: no organization is no label.
            assert labels in (EXPOSED[name], EXPOSED[name] - {"organization"}), series


def test_the_rules_use_existing_metrics() -> None:
    for rule in rules():
        annotations = rule.get("annotations", {})
        texts = [rule["expr"], *(annotations[key] for key in annotations if key != "runbook_url")]
        for name in re.findall(r"[\w:]*vb365[\w:]*", " ".join(texts)):
            assert name in {*EXPOSED, *RECORDED, "vb365"}, rule


def test_the_rules_use_existing_label_values() -> None:
    known: Mapping[str, Collection[str]] = {
        "state": set(SessionState),
        "result": set(SessionResult),
        "reason": set(Reason),
        "le": {"+Inf"},
        "organization": {""},
        "extra": set(get_args(Extra)),
        "outcome": {"restored", "failed", "skipped"},
        "operation": set(EventOperation),
        "status": set(EventStatus),
        "measure": {
            rule["labels"]["measure"] for rule in rules() if "measure" in rule.get("labels", {})
        },
    }
    for rule in rules():
        for label, values in re.findall(r'(\w+)=~?"([^"]*)"', rule["expr"]):
            assert set() == set(values.split("|")) - set(known[label]), rule


def test_every_type_of_session_has_a_threshold() -> None:
    thresholds = [
        rule["labels"]["type"]
        for rule in rules()
        if rule.get("record") == "vb365:restore_session_open_threshold_seconds"
    ]

    assert list(SessionType) == thresholds


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_has_all_annotations_that_an_operator_needs(alert: Alert) -> None:
    assert re.fullmatch(r"Vb365([A-Z][a-z]+)+", alert.name)
    assert alert.severity in SEVERITIES
    assert DURATION.fullmatch(alert.rule["for"])
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["description"].endswith(".")
    assert not alert.annotations["summary"].endswith(".")
    assert "\n" not in alert.annotations["summary"] + alert.annotations["description"]
    assert alert.meaning.endswith(".")


@pytest.mark.parametrize(
    "name",
    [
        "Vb365RestoreFailed",
        "Vb365RestoreEndedWithWarnings",
        "Vb365RestoreSessionLeftOpen",
        "Vb365RestoreSlow",
        "Vb365RestoreMissedItems",
        "Vb365RestoreObjectiveMissed",
        "Vb365ManyItemsViewed",
    ],
)
def test_an_alert_of_a_session_names_workload_organization_server_and_session(name: str) -> None:
    for alert in ALERTS:
        if alert.name == name:
            for label in ("workload", "organization", "server"):
                assert f"$labels.{label}" in alert.annotations["summary"]
            assert "$labels.session_id" in alert.annotations["description"]
            assert "under History, Restore" in alert.annotations["description"]


def test_every_type_of_session_has_the_name_of_its_workload() -> None:
    workloads = {
        rule["labels"]["type"]: rule["labels"]["workload"]
        for rule in rules()
        if rule.get("record") == "vb365:workload:info"
    }

    assert workloads == {
        "Vex": "Exchange",
        "Veod": "OneDrive",
        "Vesp": "SharePoint",
        "Vet": "Teams",
        "Unknown": "Unknown",
    }


def test_a_missing_threshold_is_noticed() -> None:
    """All but the rows that are off by default."""
    required = {
        rule["record"]
        for rule in load_yaml(RULES / "vb365-thresholds.yml")["groups"][0]["rules"]
        if not rule["expr"].endswith("unless vector(1)")
    }
    (missing,) = (alert.rule["expr"] for alert in ALERTS if alert.name == "Vb365ThresholdsMissing")

    assert set(re.findall(r"absent\((.+?)\)", missing)) == required
