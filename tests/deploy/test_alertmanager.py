"""The Alertmanager configuration: routing and inhibition."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.alert_rules import ALERTMANAGER, alerts, load_yaml
from support.alertmanager_process import Alertmanager, running_alertmanager
from support.processes import RELEASES, debian_program, programs_of
from support.waiting import wait_until

SEVERITY = {alert.name: alert.severity for alert in alerts()}
SEVERITIES = {
    name: {alert.severity for alert in alerts() if alert.name == name} for name in SEVERITY
}
SESSION = {"organization": "contoso.onmicrosoft.com", "type": "Vex", "session_id": "635b22cf"}


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [debian_program("amtool", "prometheus-alertmanager"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.usefixtures("release")
def test_the_configuration_is_valid() -> None:
    checked = amtool("check-config", ALERTMANAGER)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("alertname", "severity", "organization", "receivers"),
    [
        ("Vb365RestoreFailed", "warning", "fabrikam.example", "restores"),
        ("Vb365RestoreFailed", "warning", "contoso.onmicrosoft.com", "contoso,restores"),
        ("Vb365RestoreFailed", "critical", "fabrikam.example", "on-call-restores"),
        ("Vb365RestoreFailed", "critical", "contoso.onmicrosoft.com", "contoso,on-call-restores"),
        ("Vb365ManyRestoresFail", "critical", "", "on-call-restores"),
        ("Vb365RestoreEndedWithWarnings", "warning", "contoso.onmicrosoft.com", "contoso,daily"),
        ("Vb365RestoreMissedItems", "warning", "contoso.onmicrosoft.com", "contoso,daily"),
        ("Vb365RestoreObjectiveMissed", "warning", "fabrikam.example", "daily"),
        ("Vb365RestoreSessionLeftOpen", "warning", "contoso.onmicrosoft.com", "operators"),
        ("Vb365RestoreTestOverdue", "warning", "contoso.onmicrosoft.com", "operators"),
        ("Vb365RestoreSlow", "info", "contoso.onmicrosoft.com", "records"),
        ("Vb365UnexpectedRestoreActivity", "warning", "contoso.onmicrosoft.com", "security"),
        ("Vb365UnexpectedExports", "warning", "fabrikam.example", "security"),
        ("Vb365ManyItemsViewed", "warning", "fabrikam.example", "security"),
        ("Vb365Unreachable", "critical", "", "on-call"),
        ("Vb365LoginRefused", "critical", "", "on-call"),
        ("Vb365DataStale", "critical", "", "on-call"),
        ("Vb365ExporterAbsent", "critical", "", "on-call"),
        ("Vb365CertificateExpiring", "warning", "", "operators"),
        ("Vb365FewerSessionsListed", "warning", "", "operators"),
        ("Vb365PollsOverrun", "warning", "", "operators"),
        ("Vb365SessionsWithoutSeries", "info", "", "records"),
        ("Vb365UnknownValues", "info", "", "records"),
        ("Vb365ChangeFeedLost", "info", "", "records"),
        ("Vb365Watchdog", "none", "", "watchdog"),
    ],
)
def test_an_alert_goes_to(alertname: str, severity: str, organization: str, receivers: str) -> None:
    routed = amtool(
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={receivers}",
        f"alertname={alertname}",
        f"severity={severity}",
        f"organization={organization}",
    )

    assert severity in SEVERITIES[alertname]
    assert routed.returncode == 0, routed.stdout


def routes() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load_yaml(ALERTMANAGER)["route"]["routes"]
    return found


def test_no_route_but_those_of_persistent_alerts_and_summaries_waits_for_a_time_of_the_day() -> (
    None
):
    """An alert that ends by itself before the time comes would never be notified."""
    waiting = {
        route["receiver"]: route["active_time_intervals"]
        for route in routes()
        if "active_time_intervals" in route
    }

    assert waiting == {"daily": ["morning"], "operators": ["working-hours"]}


def test_what_happened_once_does_not_resolve() -> None:
    resolving = {
        receiver["name"]
        for receiver in load_yaml(ALERTMANAGER)["receivers"]
        for webhook in receiver["webhook_configs"]
        if webhook.get("send_resolved", True)
    }

    assert resolving == {"on-call", "operators"}


@pytest.mark.usefixtures("release")
def test_the_example_receivers_are_valid() -> None:
    checked = amtool("check-config", ALERTMANAGER.parent / "receivers.example.yml")

    assert checked.returncode == 0, checked.stderr


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("template", ["vb365.title", "vb365.text", "vb365.html"])
def test_a_template_names_the_alerts(template: str, tmp_path: Path) -> None:
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": "Vb365RestoreFailed", "server": "hq"},
            "annotations": {
                "summary": f"Exchange restore of {name} failed on hq",
                "description": f"The session of {name} ended.",
                "runbook_url": "https://wiki.example.com/Vb365RestoreFailed.md",
            },
        }
        for name in ("contoso", "fabrikam & sons")
    ]
    labels = {"alertname": "Vb365RestoreFailed", "server": "hq"}
    data = tmp_path / "data.json"
    data.write_text(
        json.dumps(
            {
                "status": "firing",
                "alerts": alerts,
                "commonLabels": labels,
                "groupLabels": labels,
                "commonAnnotations": {},
                "externalURL": "http://localhost:9093",
            }
        )
    )

    rendered = amtool(
        "template",
        "render",
        f"--template.glob={ALERTMANAGER.parent / 'vb365.tmpl'}",
        f'--template.text={{{{ template "{template}" . }}}}',
        f"--template.data={data}",
        f"--template.type={'html' if template == 'vb365.html' else 'text'}",
    )

    assert rendered.returncode == 0, rendered.stderr
    if template == "vb365.title":
        assert rendered.stdout.strip() == "2 alerts on hq: Vb365RestoreFailed"
    else:
        assert "Exchange restore of contoso failed on hq" in rendered.stdout
        assert "https://wiki.example.com/Vb365RestoreFailed.md" in rendered.stdout
        assert ("fabrikam &amp; sons" in rendered.stdout) == (template == "vb365.html")


def test_every_receiver_has_a_route() -> None:
    document = load_yaml(ALERTMANAGER)
    routes = [document["route"], *document["route"]["routes"]]

    assert {receiver["name"] for receiver in document["receivers"]} == {
        route["receiver"] for route in routes
    }


def test_the_configuration_uses_existing_alerts() -> None:
    named = re.findall(r"\bVb365\w+\b(?!\.)", ALERTMANAGER.read_text(encoding="utf-8"))

    assert set() == set(named) - set(SEVERITY)


@pytest.fixture(scope="module", params=RELEASES)
def alertmanager(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Alertmanager]:
    configuration = ALERTMANAGER.read_text(encoding="utf-8")
    with ExitStack() as stack:
        with programs_of(request.param):
            alertmanager = running_alertmanager(configuration, tmp_path_factory.mktemp("am"))
            running = stack.enter_context(alertmanager)
        yield running


def alert(name: str, server: str, **labels: str) -> dict[str, str]:
    return {
        "alertname": name,
        "severity": SEVERITY[name],
        "job": "vb365",
        "server": server,
        **labels,
    }


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("cause", "effect"),
    [
        (("Vb365LoginRefused", {}), ("Vb365Unreachable", {})),
        (("Vb365LoginRefused", {}), ("Vb365DataStale", {})),
        (("Vb365Unreachable", {}), ("Vb365DataStale", {})),
        (("Vb365Unreachable", {}), ("Vb365RestoreSessionLeftOpen", SESSION)),
        (("Vb365Unreachable", {}), ("Vb365RestoreSlow", SESSION)),
        (("Vb365Unreachable", {}), ("Vb365ConfiguredSessionVanished", {"session_id": "635b22cf"})),
        (("Vb365Unreachable", {}), ("Vb365RecordsRejected", {"reason": "bad_time"})),
        (("Vb365Unreachable", {}), ("Vb365ExtrasFailing", {"extra": "events"})),
        (("Vb365RestoreSessionLeftOpen", SESSION), ("Vb365RestoreSlow", SESSION)),
    ],
)
def test_an_effect_is_inhibited_while_its_cause_fires(
    alertmanager: Alertmanager, cause: Any, effect: Any
) -> None:
    """Only on the same server; failed restores are never inhibited."""
    server = f"{cause[0]}-{effect[0]}"
    silent = alert(effect[0], server, **effect[1])
    others = [
        alert(effect[0], f"not-{server}", **effect[1]),
        alert("Vb365RestoreFailed", server, **SESSION, result="Failed"),
        alert(cause[0], server, **cause[1]),
    ]

    alertmanager.post(silent, *others)

    def state(labels: dict[str, str]) -> str | None:
        states = [
            one["status"]["state"] for one in alertmanager.alerts() if labels == one["labels"]
        ]
        return states[0] if states else None

    wait_until(
        lambda: (
            [state(labels) for labels in (silent, *others)]
            == ["suppressed", "active", "active", "active"]
        ),
        f"only {effect[0]} is inhibited",
    )
