"""Every alert has a runbook and every runbook an alert; the queries of runbooks are valid."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.metrics.catalogue import all_families
from support.alert_rules import RULES, RUNBOOKS, Alert, alerts, load_yaml, rules
from support.processes import debian_program

# One of each name.
ALERTS = tuple({alert.name: alert for alert in alerts()}.values())
SECTIONS = ["What it means", "Impact", "Check", "Fix", "Silence"]
KNOWN = (
    {name for family in all_families() for name in (family.name, f"{family.name}_bucket")}
    | {rule["record"] for rule in rules() if "record" in rule}
    | {"vb365"}
)


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert {f"{alert.name}.md" for alert in ALERTS} == {path.name for path in RUNBOOKS.iterdir()}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_runbook_has_the_same_parts_as_all(alert: Alert) -> None:
    text = alert.runbook

    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    (check,) = re.findall(r"^## Check\n(.+?)^## ", text, re.MULTILINE | re.DOTALL)
    assert "```promql" in check
    assert "onsole" in check
    assert "Get-VBORestoreSession" in check


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_queries_of_a_runbook_are_promql_over_metrics_that_exist(
    alert: Alert, tmp_path: Path
) -> None:
    queries = alert.runbook_queries()
    path = tmp_path / "queries.yml"
    path.write_text(
        yaml.safe_dump(
            {"groups": [{"name": "q", "rules": [{"record": "q", "expr": one} for one in queries]}]}
        ),
        encoding="utf-8",
    )

    checked = subprocess.run(
        [debian_program("promtool", "prometheus"), "check", "rules", "--lint=none", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stderr
    assert queries != []
    for name in re.findall(r"(?<![-`\w:])[a-z:]*vb365[_:][\w:]+", alert.runbook):
        assert name in KNOWN, name


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_links_of_a_runbook_are_valid(alert: Alert) -> None:
    for target in re.findall(r"\]\((.+?)\)", alert.runbook):
        assert (RUNBOOKS / target).is_file(), target


@pytest.mark.parametrize(
    ("row", "url"),
    [
        ("vector(1) unless vector(1)", "deploy/runbooks/"),
        ("vector(1)", "https://wiki.example.com/vb365/"),
    ],
    ids=["repository", "wiki"],
)
def test_the_runbook_url_follows_one_row_of_the_thresholds(
    row: str, url: str, tmp_path: Path
) -> None:
    shutil.copytree(RULES, tmp_path / "rules")
    thresholds = tmp_path / "rules" / "vb365-thresholds.yml"
    before, setting, after = thresholds.read_text(encoding="utf-8").partition("vb365:runbooks:info")
    shipped = "vector(1) unless vector(1)"
    thresholds.write_text(before + setting + after.replace(shipped, row, 1), encoding="utf-8")
    case = {"eval_time": "1m", "alertname": "Vb365Watchdog"}
    expected = {
        "exp_labels": {"severity": "none"},
        "exp_annotations": {
            **{
                key: value
                for alert in ALERTS
                if alert.name == "Vb365Watchdog"
                for key, value in alert.annotations.items()
            },
            "runbook_url": f"{url}Vb365Watchdog.md",
        },
    }
    test = {
        "rule_files": ["rules/*.yml"],
        "evaluation_interval": "1m",
        "group_eval_order": [
            group["name"] for path in RULES.glob("*.yml") for group in load_yaml(path)["groups"]
        ],
        "tests": [{"input_series": [], "alert_rule_test": [{**case, "exp_alerts": [expected]}]}],
    }
    path = tmp_path / "test.yml"
    path.write_text(yaml.safe_dump(test), encoding="utf-8")

    tested = subprocess.run(
        [debian_program("promtool", "prometheus"), "test", "rules", path],
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: f"{alert.name}-{alert.severity}")
def test_the_runbook_url_ends_with_the_name_of_the_alert(alert: Alert) -> None:
    prefix = '{{ with query "vb365:runbooks:info" }}{{ . | first | label "url" }}{{ else }}deploy/runbooks/{{ end }}'

    assert alert.annotations["runbook_url"] == f"{prefix}{alert.name}.md"
