"""The Alertmanager configuration: routing and inhibition."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.alert_rules import ALERTMANAGER, alerts, load_yaml
from support.alertmanager_process import Alertmanager, running_alertmanager
from support.processes import debian_program
from support.waiting import wait_until

SEVERITY = {alert.name: alert.severity for alert in alerts()}
SESSION = {"organization": "contoso.onmicrosoft.com", "type": "Vex", "session_id": "635b22cf"}


def amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [debian_program("amtool", "prometheus-alertmanager"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_configuration_is_valid() -> None:
    checked = amtool("check-config", ALERTMANAGER)

    assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("alertname", "organization", "receivers"),
    [
        ("Vb365RestoreFailed", "fabrikam.example", "on-call"),
        ("Vb365RestoreFailed", "contoso.onmicrosoft.com", "contoso,on-call"),
        ("Vb365RestoreEndedWithWarnings", "contoso.onmicrosoft.com", "contoso,operators"),
        ("Vb365RestoreSessionLeftOpen", "fabrikam.example", "operators"),
        ("Vb365RestoreSlow", "contoso.onmicrosoft.com", "records"),
        ("Vb365UnexpectedRestoreActivity", "contoso.onmicrosoft.com", "operators"),
        ("Vb365UnexpectedExports", "contoso.onmicrosoft.com", "operators"),
        ("Vb365ManyItemsViewed", "contoso.onmicrosoft.com", "operators"),
        ("Vb365RestoreMissedItems", "contoso.onmicrosoft.com", "contoso,operators"),
        ("Vb365Unreachable", "", "on-call"),
        ("Vb365LoginRefused", "", "on-call"),
        ("Vb365ExporterAbsent", "", "on-call"),
        ("Vb365CertificateExpiring", "", "operators"),
        ("Vb365SessionsWithoutSeries", "", "records"),
        ("Vb365ChangeFeedLost", "", "records"),
    ],
)
def test_an_alert_goes_to(alertname: str, organization: str, receivers: str) -> None:
    routed = amtool(
        "config",
        "routes",
        "test",
        f"--config.file={ALERTMANAGER}",
        f"--verify.receivers={receivers}",
        f"alertname={alertname}",
        f"severity={SEVERITY[alertname]}",
        f"organization={organization}",
    )

    assert routed.returncode == 0, routed.stdout


def test_every_receiver_has_a_route() -> None:
    document = load_yaml(ALERTMANAGER)
    routes = [document["route"], *document["route"]["routes"]]

    assert {receiver["name"] for receiver in document["receivers"]} == {
        route["receiver"] for route in routes
    }


def test_the_configuration_uses_existing_alerts() -> None:
    named = re.findall(r"\bVb365\w+\b(?!\.)", ALERTMANAGER.read_text(encoding="utf-8"))

    assert set() == set(named) - set(SEVERITY)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    configuration = ALERTMANAGER.read_text(encoding="utf-8")
    assert "group_wait: 30s" in configuration  # so nothing is sent while these tests last
    with running_alertmanager(configuration, tmp_path_factory.mktemp("am")) as alertmanager:
        yield alertmanager


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
