"""From a failed restore to the notification: simulator, exporter, Prometheus, Alertmanager, webhook."""

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import pytest
import yaml

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.alert_rules import (
    DEPLOY,
    alerts,
    load_yaml,
    short_alertmanager_config,
    write_short_rules,
)
from support.alertmanager_process import running_alertmanager, running_webhook
from support.exporter_harness import server_yaml
from support.processes import EXPORTER, free_port, running_process
from support.prometheus_process import Prometheus, running_prometheus
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(360), pytest.mark.usefixtures("release")]

CONTOSO = "contoso.onmicrosoft.com"
FABRIKAM = 'Fabrikam "North", Inc.'
DAYS_AGO = timedelta(days=3)


def quiet_world() -> World:
    """Return a world without activity of its own."""
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def prometheus_config(rules: Path, targets: list[str], alertmanager: str | None = None) -> str:
    """The shipped configuration, for these targets and in a hurry."""
    document = load_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    document["global"] = dict.fromkeys(document["global"], "1s")
    document["rule_files"] = [str(rules)]
    ((alertmanagers,), (scrape,)) = (
        document["alerting"]["alertmanagers"],
        document["scrape_configs"],
    )
    alertmanagers["static_configs"] = [{"targets": [alertmanager] if alertmanager else []}]
    scrape["static_configs"] = [{"targets": targets}]
    return yaml.safe_dump(document)


# The thresholds of a user who wants every alert.
IMPATIENT = {
    "vb365:restore_session_idle_threshold_seconds": 1.0,
    "vb365:many_failed_threshold_ratio": 0.01,
    "vb365:many_failed_threshold_organizations": 1.0,
    "vb365:many_failed_threshold_sessions": 1.0,
    "vb365:restore_test_threshold_seconds": 1.0,
    "vb365:restore_objective_threshold_seconds": -1.0,
    "vb365:sessions_listed_threshold_ratio": 2.0,
    "vb365:restore_slow_threshold_ratio": 0.0,
    "vb365:restore_slow_threshold_seconds": 1.0,
    "vb365:export_threshold_ratio": 0.0,
    "vb365:export_threshold_bytes": 1.0,
    "vb365:export_threshold_items": 1.0,
    "vb365:views_threshold_items": 1.0,
    "vb365:data_age_threshold_seconds": 6.0,
    "vb365:certificate_remaining_threshold_seconds": 1e11,
}
MISSING = "00000000-0000-4000-8000-000000000000"


def rule_errors(prometheus: Prometheus) -> list[str]:
    """Return the errors of rule evaluations."""
    return [
        f"{rule['name']}: {rule['lastError']}"
        for rule in prometheus.rules()
        if rule["health"] != "ok"
    ]


def exporter_command(config: Path, address: str) -> list[str | Path]:
    return [*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"]


def test_the_right_receivers_are_notified_of_the_start_and_the_end(tmp_path: Path) -> None:
    world = quiet_world()
    opened = datetime.now(UTC) - DAYS_AGO
    hangs = world.add_session(organization=CONTOSO, type="Vet", creation_time=opened)
    stays = world.add_session(organization=FABRIKAM, type="Vex", creation_time=opened)
    config = tmp_path / "config.yaml"
    rules = write_short_rules(tmp_path / "rules")
    with (
        Simulator(world) as simulator,
        running_webhook() as webhook,
        running_alertmanager(
            short_alertmanager_config(webhook.url), tmp_path / "am"
        ) as alertmanager,
    ):
        # Without the change feed: it may come back a minute after the server, which is more than an hour is here.
        server = server_yaml(simulator, "hq", change_feed="never")
        config.write_text(f"poll_interval: 1s\nstale_after: 3s\nservers:{server}")
        address = f"127.0.0.1:{free_port()}"
        command = exporter_command(config, address)
        with (
            running_process(command, tmp_path / "exporter.log") as exporter,
            running_prometheus(
                prometheus_config(rules, [address], alertmanager.address), tmp_path / "prometheus"
            ) as prometheus,
        ):
            # Somebody left an Explorer open, days before anybody looked.
            left_open = told = webhook.wait_for(
                ["operators"],
                "Vb365RestoreSessionLeftOpen",
                "firing",
                session_id=hangs,
            )
            assert told.labels == {
                "alertname": "Vb365RestoreSessionLeftOpen",
                "severity": "warning",
                "job": "vb365",
                "server": "hq",
                "organization": CONTOSO,
                "type": "Vet",
                "workload": "Teams",
                "session_id": hangs,
            }
            assert (
                told.annotations["summary"] == f"Teams restore session of {CONTOSO} left open on hq"
            )
            assert told.annotations["description"].startswith(
                f"Session {hangs} has been open for 3d 0h"
            )
            runbook = "deploy/runbooks/Vb365RestoreSessionLeftOpen.md"
            assert told.annotations["runbook_url"] == runbook
            webhook.wait_for(
                ["operators"], "Vb365RestoreSessionLeftOpen", "firing", session_id=stays
            )

            # A restore fails.
            fails = world.add_session(organization=CONTOSO, type="Vesp")
            world.finish(fails, "Failed")
            told = webhook.wait_for(["contoso", "restores"], "Vb365RestoreFailed", "firing")
            assert told.labels == {
                "alertname": "Vb365RestoreFailed",
                "severity": "warning",
                "job": "vb365",
                "server": "hq",
                "organization": CONTOSO,
                "type": "Vesp",
                "workload": "SharePoint",
                "session_id": fails,
                "result": "Failed",
            }

            # The Explorer is closed.
            world.finish(hangs)
            over = webhook.wait_for(
                ["operators"],
                "Vb365RestoreSessionLeftOpen",
                "resolved",
                session_id=hangs,
            )
            assert over.labels == left_open.labels

            # The server goes down for longer than its data is shown.
            simulator.faults.set("connection_refused")
            told = webhook.wait_for(["on-call"], "Vb365Unreachable", "firing")
            assert told.labels == {
                "alertname": "Vb365Unreachable",
                "severity": "critical",
                "job": "vb365",
                "server": "hq",
            }
            assert "reasons: connect." in told.annotations["description"]
            wait_until(
                lambda: prometheus.query("vb365_restore_session_state") == [],
                "the data is stale",
            )
            simulator.faults.clear()
            over = webhook.wait_for(["on-call"], "Vb365Unreachable", "resolved")
            assert over.labels == told.labels

            # The exporter is killed.
            exporter.kill()
            told = webhook.wait_for(["on-call"], "Vb365ExporterAbsent", "firing")
            assert told.labels == {
                "alertname": "Vb365ExporterAbsent",
                "severity": "critical",
                "job": "vb365",
                "instance": address,
            }

            with running_process(command, tmp_path / "exporter.again.log"):
                over = webhook.wait_for(["on-call"], "Vb365ExporterAbsent", "resolved")
                assert over.labels == told.labels

                # Four hours (96 seconds here) after its end the alert ends, without a notification; it fired once, for its
                # session only.
                wait_until(
                    lambda: prometheus.query('ALERTS{alertname="Vb365RestoreFailed"}') == [],
                    "the alert for the failed restore ends",
                    120,
                )
                assert [
                    one
                    for one in webhook.notifications("Vb365RestoreFailed", "firing")
                    if one.labels.get("session_id") != fails
                ] == []

                # The other Explorer is still open: its alert neither ended nor restarted.
                wait_until(
                    lambda: prometheus.query("vb365_up == 1") != [], "the server answers again"
                )
                of_stays = f'{{alertname="Vb365RestoreSessionLeftOpen",session_id="{stays}"}}'
                (since,) = prometheus.query(f"changes(ALERTS_FOR_STATE{of_stays}[10m])")
                assert since["value"][1] == "0"
                assert (
                    webhook.notifications(
                        "Vb365RestoreSessionLeftOpen", "resolved", session_id=stays
                    )
                    == []
                )
                assert prometheus.query(f"ALERTS{of_stays}")

                # There were no other notifications; a failed restore does not resolve.
                assert webhook.summary() == {
                    ("Vb365Watchdog", "firing", "watchdog"),
                    ("Vb365RestoreFailed", "firing", "contoso"),
                    ("Vb365RestoreFailed", "firing", "restores"),
                    *(
                        (alert, status, receiver)
                        for alert, receiver in {
                            "Vb365RestoreSessionLeftOpen": "operators",
                            "Vb365Unreachable": "on-call",
                            "Vb365ExporterAbsent": "on-call",
                        }.items()
                        for status in ("firing", "resolved")
                    ),
                }


def test_every_alert_fires_on_the_metrics_of_a_real_exporter(tmp_path: Path) -> None:
    """All of them in one go, but the one that needs a Prometheus without thresholds."""
    world, silent_world = quiet_world(), quiet_world()
    open_ids = [
        world.add_session(
            organization=CONTOSO, type=kind, creation_time=datetime.now(UTC) - DAYS_AGO
        )
        for kind in ("Vex", "Vet")
    ]
    for _ in range(10):
        world.add_session(organization=CONTOSO, type="Vex", state="Stopped", result="Success")
    config, dying_config = tmp_path / "config.yaml", tmp_path / "dying.yaml"
    rules = write_short_rules(tmp_path / "rules", longest_seconds=10, thresholds=IMPATIENT)
    with Simulator(world) as simulator, Simulator(silent_world) as silent:
        config.write_text(
            "poll_interval: 1s\nservers:"
            + server_yaml(
                simulator,
                "hq",
                f"sessions: {{ids: [{MISSING}], discover: true, extras: [statistics, events]}}",
            )
            + server_yaml(simulator, "small", "sessions: {max_series: 1, max_sessions: 2}")
            + server_yaml(silent, "silent", "timeout: 3s")
            + server_yaml(simulator, "refused").replace("password: demo", "password: wrong")
            + server_yaml(simulator, "unverified").replace(
                f"ca_file: {simulator.ca_file}", "insecure_skip_verify: true"
            )
        )
        dying_config.write_text(f"poll_interval: 1s\nservers:{server_yaml(simulator, 'other')}")
        address, dying_address = (f"127.0.0.1:{free_port()}" for _ in range(2))
        audit_folder = tmp_path / "audit"
        audit_folder.mkdir()
        command = [
            *exporter_command(config, address),
            f"--audit.log-file={audit_folder / 'audit.log'}",
        ]
        with (
            running_process(command, tmp_path / "exporter.log") as exporter,
            running_process(
                exporter_command(dying_config, dying_address), tmp_path / "dying.log"
            ) as dying,
            running_prometheus(
                prometheus_config(rules, [address, dying_address]), tmp_path / "prometheus"
            ) as prometheus,
        ):
            wait_until(
                lambda: len(prometheus.query("up == 1")) == 2, "both exporters are scraped", 30
            )
            wait_until(
                lambda: (
                    {"hq", "small", "silent", "unverified", "other"}
                    == {
                        up["metric"]["server"]
                        for up in prometheus.query("vb365_up offset 11s == 1")
                    }
                ),
                "the servers have been watched for a day, which is 10 seconds here",
                60,
            )

            rmtree(audit_folder)
            for number in range(30):
                world.finish(
                    world.add_session(organization=CONTOSO, type="Vex", items="oorrrrf"),
                    ("Success", "Warning", "Failed")[number % 3],
                )
            unreadable = world.add_session(organization=FABRIKAM, type="Vesp")
            simulator.faults.set("nulls", route="list", session_id=unreadable)
            simulator.faults.set("unknown_enums", route="get", session_id=open_ids[1])
            simulator.faults.set("status_503", route="statistics")
            simulator.faults.set("status_503", route="change_feed")
            silent.faults.set("silence")
            dying.kill()
            config.write_text("servers: []")
            exporter.send_signal(signal.SIGHUP)

            wanted = {alert.name for alert in alerts()} - {"Vb365ThresholdsMissing"}
            fired: set[str] = set()

            def all_fired() -> bool:
                firing = prometheus.query('ALERTS{alertstate="firing"}')
                fired.update(series["metric"]["alertname"] for series in firing)
                return wanted <= fired

            try:
                wait_until(all_fired, "every alert", 60)
            except AssertionError:
                pytest.fail(f"never fired: {sorted(wanted - fired)}")
            assert fired == wanted
            assert rule_errors(prometheus) == []
            for alert in alerts():
                for query in alert.runbook_queries():
                    prometheus.query(query)
            # A day is 10 seconds here, and may be over by now.
            for recorded in (
                "organization:vb365_restore_sessions_stopped:success_ratio",
                "organization:vb365_restore_sessions_started:increase1d",
                "type:vb365_restore_sessions_finished_duration_seconds:p99_7d",
            ):
                assert prometheus.query(f"max_over_time({recorded}[10m]) > 0")
