"""Every alert has a runbook and every runbook an alert; the queries of runbooks are valid."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from exporter.metrics.catalogue import all_families
from support.alert_rules import DEPLOY, RULES, RUNBOOKS, Alert, alerts, rules
from support.processes import debian_program

ALERTS = alerts()
SECTIONS = ["What it means", "What users notice", "Look", "Do", "Leave it"]
KNOWN = (
    {family.name for family in all_families()}
    | {rule["record"] for rule in rules() if "record" in rule}
    | {"vb365"}
)


def test_every_alert_has_its_runbook_and_every_runbook_its_alert() -> None:
    assert sorted(f"{alert.name}.md" for alert in ALERTS) == sorted(
        path.name for path in RUNBOOKS.iterdir()
    )


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_runbook_url_leads_to_the_runbook(alert: Alert) -> None:
    assert DEPLOY.parent / alert.annotations["runbook_url"] == RUNBOOKS / f"{alert.name}.md"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_runbook_has_the_same_parts_as_all(alert: Alert) -> None:
    text = alert.runbook

    assert text.startswith(f"# {alert.name}\n")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    (look,) = re.findall(r"^## Look\n(.+?)^## ", text, re.MULTILINE | re.DOTALL)
    assert "```promql" in look
    assert "onsole" in look
    assert "Get-VBORestoreSession" in look


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
    for name in re.findall(r"(?<![-`])\b[a-z:]*vb365[_:][\w:]+", alert.runbook):
        assert name in KNOWN, name


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_links_of_a_runbook_are_valid(alert: Alert) -> None:
    for target in re.findall(r"\]\((.+?)\)", alert.runbook):
        assert (RUNBOOKS / target).is_file(), target


def test_the_urls_can_be_moved_as_the_rules_say(tmp_path: Path) -> None:
    shipped = RULES / "vb365-alerts.yml"
    (command,) = re.findall(r"^#   (sed .+)$", shipped.read_text(encoding="utf-8"), re.MULTILINE)
    sed = debian_program("sed", "sed")
    shutil.copy(shipped, tmp_path)

    subprocess.run([sed, *shlex.split(command)[1:]], cwd=tmp_path, check=True)

    moved = yaml.safe_load((tmp_path / shipped.name).read_text(encoding="utf-8"))
    assert [
        rule["annotations"]["runbook_url"]
        for group in moved["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ] == [f"https://wiki.example.com/vb365/{alert.name}.md" for alert in ALERTS]
