"""What a real Prometheus makes of the exporter."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from exporter.metrics.catalogue import all_families
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import running_exporter, server_yaml, write_config
from support.processes import EXPORTER, debian_program, free_port, running_process
from support.prometheus_process import scraped_by_prometheus
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("release")]


def test_the_first_failed_restore_of_an_organization_is_seen(tmp_path: Path) -> None:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(organization="known.example", type="Vex", state="Stopped", result="Success")
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        with scraped_by_prometheus(exporter.url.removeprefix("http://"), tmp_path) as prometheus:
            zeros = 'count_over_time(vb365_restore_sessions_finished_total{organization="known.example",result="Failed"}[1m]) >= 3'
            wait_until(
                lambda: prometheus.query(zeros) != [],
                "zeros are scraped before anything failed",
                30,
            )
            assert (
                prometheus.query('vb365_restore_sessions_finished_total{result="Failed"} > 0') == []
            )

            failed = {
                world.add_session(
                    organization=organization, type="Vex", state="Stopped", result="Failed"
                )
                for organization in ("known.example", "new.example")
            }

            grew = 'increase(vb365_restore_sessions_finished_total{result="Failed"}[5m]) > 0'
            wait_until(
                lambda: prometheus.query(grew) != [], "the failure of the known organization", 30
            )
            assert [found["metric"]["organization"] for found in prometheus.query(grew)] == [
                "known.example"
            ]
            recent = (
                'time() - vb365_restore_sessions_last_end_timestamp_seconds{result="Failed"} < 300'
            )
            assert {found["metric"]["organization"] for found in prometheus.query(recent)} == {
                "known.example",
                "new.example",
            }
            shown = prometheus.query('vb365_restore_session_result{result="Failed"} == 1')
            assert {found["metric"]["session_id"] for found in shown} == failed
            # A scrape may take too long on a slow machine; one that cannot be read never succeeds.
            wait_until(lambda: prometheus.query("up == 1") != [], "a successful scrape")


@pytest.mark.parametrize(
    "flags", [(), ("--enable-feature=native-histograms",)], ids=["text", "protobuf"]
)
def test_it_has_exactly_the_series_served_whichever_format_it_prefers(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    """Prometheus asks for OpenMetrics, or with native histograms for protobuf; version 3 also for UTF-8 names."""
    world = World(sessions=40, organizations=3, activity=False)
    world.add_session(organization='Contoso, "Ltd" \\ Käse\nund Öl', state="Stopped")
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        exporter.wait_for_poll()  # the first one publishes before it knows all organizations
        text = requests.get(f"{exporter.url}/metrics", timeout=30).text
        served = {
            (sample.name, frozenset(sample.labels.items()))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name.startswith("vb365_restore_")
        }
        target = exporter.url.removeprefix("http://")
        with scraped_by_prometheus(target, tmp_path / "prometheus", flags=flags) as prometheus:
            found = [
                series["metric"] for series in prometheus.query('{__name__=~"vb365_restore_.*"}')
            ]

    added = {"__name__", "instance", "job"}
    assert served == {
        (labels["__name__"], frozenset((k, v) for k, v in labels.items() if k not in added))
        for labels in found
    }
    assert len(found) == len(served)


def test_promtool_reports_nothing_about_anything_with_every_feature_on(tmp_path: Path) -> None:
    world = World(activity=False, sessions=20)
    labels = "[name, initiated_by, client_host, scope_name, reason, details]"
    with Simulator(world) as simulator:
        new = "2f4d8f0e-5a6b-4c0d-9f11-0c1d2e3f4a5b"
        sessions = f"{{extras: [statistics, events], ids: [{new}], discover: true}}"
        address = f"127.0.0.1:{free_port()}"
        config = write_config(
            tmp_path,
            server_yaml(simulator, extra=f"sessions: {sessions}"),
            f"poll_interval: 5m\ninfo_labels: {labels}",
        )
        command = [
            *(*EXPORTER, f"--config.file={config}", f"--web.listen-address={address}"),
            f"--audit.log-file={tmp_path / 'audit.log'}",
        ]

        def metrics() -> str:
            try:
                return requests.get(f"http://{address}/metrics", timeout=30).text
            except requests.ConnectionError:
                return ""

        with running_process(command, tmp_path / "log"):
            connected = 'vb365_change_feed_connected{server="hq"} 1.0'
            wait_until(lambda: connected in metrics(), "the feed is followed", 60)
            world.add_session(id=new, organization="contoso.example", items="orwfsca")
            world.finish(new, "Warning")
            pattern = f'vb365_restore_session_events{{[^}}]*session_id="{new}"'
            wait_until(lambda: re.search(pattern, metrics()) is not None, "its events", 60)
            text = metrics()

    shown = {family.name for family in text_string_to_metric_families(text)}
    assert {family.name.removesuffix("_total") for family in all_families()} <= shown
    promtool = debian_program("promtool", "prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_shipped_scrape_configuration_is_valid() -> None:
    promtool = debian_program("promtool", "prometheus")
    shipped = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yml"

    checked = subprocess.run(
        [promtool, "check", "config", shipped], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
