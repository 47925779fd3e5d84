"""Restore sessions from a simulated VB365 over real HTTPS to `/metrics`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from os import environ

import pytest
import requests
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import RunningExporter, running_exporter, server_yaml
from support.exporter_stepped import Scrape
from support.processes import free_port
from support.waiting import wait_until

REFERENCE = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"


def empty_world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_the_session_of_the_api_page_has_the_values_it_should_have() -> None:
    world = empty_world()
    world.add_session(
        id=REFERENCE,
        name="Exchange restore (Entire organization - 1/29/2022 10:29:05 AM)",
        organization="abc.onmicrosoft.com",
        type="Vex",
        creation_time=moment("2022-02-22T15:40:25.1612392Z"),
        end_time=moment("2022-02-22T16:40:26.8586977Z"),
        state="Stopped",
        result="Success",
        details="0 items processed",
    )
    with (
        Simulator(world, api_versions=("v6",)) as simulator,
        running_exporter(
            server_yaml(simulator, extra=f"sessions: {{ids: [{REFERENCE.upper()}]}}")
        ) as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")

        labels = {
            "server": "hq",
            "session_id": REFERENCE,
            "organization": "abc.onmicrosoft.com",
            "type": "Vex",
        }
        ((duration_labels, duration),) = exporter.samples("vb365_restore_session_duration_seconds")
        assert labels == duration_labels
        assert duration == pytest.approx(3601.697, abs=0.0005)
        assert exporter.samples("vb365_restore_session_state") == [
            ({**labels, "state": "Working"}, 0),
            ({**labels, "state": "Stopped"}, 1),
        ]
        assert exporter.samples("vb365_restore_session_result") == [
            ({**labels, "result": "Success"}, 1),
            ({**labels, "result": "Warning"}, 0),
            ({**labels, "result": "Failed"}, 0),
        ]
        assert exporter.samples("vb365_restore_session_processed_items") == [(labels, 0)]
        assert exporter.samples("vb365_restore_session_found") == [
            ({"server": "hq", "session_id": REFERENCE}, 1)
        ]


@pytest.mark.parametrize("working_end", ["sentinel", "null", "absent"])
@pytest.mark.parametrize("version", ["v6", "v7", "v8"])
def test_a_running_session_has_no_result_no_duration_and_no_end(
    version: str, working_end: str
) -> None:
    world = empty_world()
    running = world.add_session(type="Vex", organization="contoso.onmicrosoft.com")
    with (
        Simulator(world, api_versions=(version,), working_end=working_end) as simulator,  # type: ignore[arg-type] # one of its literals
        running_exporter(server_yaml(simulator)) as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")

        assert (
            exporter.value("vb365_restore_session_state", session_id=running, state="Working") == 1
        )
        assert exporter.value("vb365_server_info", api_version=version) == 1
        for absent in ("result", "duration_seconds", "end_timestamp_seconds"):
            assert exporter.samples(f"vb365_restore_session_{absent}") == []

        world.finish(running, "Failed")
        exporter.wait_for(1, "vb365_restore_session_result", session_id=running, result="Failed")
        assert (
            exporter.value("vb365_restore_session_duration_seconds", session_id=running) is not None
        )


def test_all_pages_are_read_and_a_session_left_open_a_month_ago_is_found() -> None:
    world = empty_world()
    now = datetime.now(UTC)
    expected = {
        world.add_session(
            creation_time=now - timedelta(hours=number),
            end_time=now - timedelta(hours=number) + timedelta(minutes=5),
            state="Stopped",
            result="Success",
        )
        for number in range(1, 46)
    }
    left_open = world.add_session(creation_time=now - timedelta(days=30))
    with (
        Simulator(world, page_cap=10) as simulator,
        running_exporter(server_yaml(simulator, extra="sessions: {lookback: 7d}")) as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")

        shown = {
            labels["session_id"] for labels, _ in exporter.samples("vb365_restore_session_state")
        }
        assert shown == expected | {left_open}
        oldest = exporter.samples("vb365_restore_sessions_oldest_working_start_timestamp_seconds")
        assert [value for _, value in oldest] == [
            pytest.approx((now - timedelta(days=30)).timestamp(), abs=0.001)
        ]


def test_a_server_down_at_startup_is_reported_and_recovers_without_a_restart() -> None:
    world = empty_world()
    port = free_port()
    with Simulator(world) as elsewhere:
        servers = f"""
  - name: hq
    url: https://127.0.0.1:{port}
    auth: {{username: demo, password: demo}}
    timeout: 1s
    tls_config: {{insecure_skip_verify: true}}
{server_yaml(elsewhere, name="other")}"""
        with running_exporter(servers) as exporter:
            exporter.wait_for(0, "vb365_up", server="hq")
            exporter.wait_for(1, "vb365_up", server="other")
            assert exporter.value("vb365_poll_failures_total", server="hq", reason="connect")
            assert exporter.samples("vb365_restore_sessions_working", server="hq") == []
            assert exporter.value("vb365_server_tls_verified", server="hq") == 0
            assert (
                "Connection refused" in exporter.get("/").text
                or "connect" in exporter.get("/").text
            )

            with Simulator(world, port=port):
                exporter.wait_for(1, "vb365_up", server="hq")
            exporter.wait_for(0, "vb365_up", server="hq")


def polls_and_requests(exporter: RunningExporter) -> tuple[float, float]:
    """Return from one scrape how many polls ended and how many requests they and the present one made.

    Requests that wait for changes beside the polls do not count.
    """
    scrape = Scrape(exporter.text())
    polls = sum(scrape.of("hq", "vb365_polls_total").values())
    made = sum(
        value
        for (_, labels), value in scrape.of("hq", "vb365_api_requests_total").items()
        if dict(labels)["operation"] != "change_feed"
    )
    return polls, made


def test_a_poll_costs_one_request_and_one_for_each_old_running_session() -> None:
    world = empty_world()
    now = datetime.now(UTC)
    world.add_session(
        creation_time=now - timedelta(minutes=1), end_time=now, state="Stopped", result="Success"
    )
    for hours in (1, 2, 3):
        world.add_session(creation_time=now - timedelta(hours=hours))
    with Simulator(world) as simulator, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        polls_before, made_before = polls_and_requests(exporter)

        exporter.wait_for_poll()

        polls_after, made_after = polls_and_requests(exporter)
        polls = polls_after - polls_before
        made = made_after - made_before
        # Either scrape may have seen a poll under way: at most one poll's requests apart.
        assert 4 * polls - 4 <= made <= 4 * polls + 4, (polls, made)
        assert exporter.value("vb365_api_requests_total", operation="token", code="200") == 1


def true_states(simulator: Simulator) -> dict[str, str]:
    """Return the state of each session by its id, from the truth endpoint."""
    truth = requests.get(
        f"{simulator.url}/_simulator/truth", verify=str(simulator.ca_file), timeout=30
    ).json()["sessions"]
    return {session["id"]: session["state"] for session in truth}


def working(states: Mapping[str, str]) -> set[str]:
    """Return the ids of the sessions that run."""
    return {session_id for session_id, state in states.items() if state == "Working"}


def test_metrics_are_correct_while_sessions_start_and_end() -> None:
    with (
        Simulator() as simulator,
        running_exporter(server_yaml(simulator), "poll_interval: 1s") as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")

        before = true_states(simulator)
        exporter.wait_for_poll()
        scrape = Scrape(exporter.text())
        after = true_states(simulator)

        shown = {
            dict(labels)["session_id"]: dict(labels)["state"]
            for (_, labels), value in scrape.of("hq", "vb365_restore_session_state").items()
            if value == 1
        }
        counted = sum(scrape.of("hq", "vb365_restore_sessions_working").values())
        # Between the two looks at the truth, sessions may have started and ended, but none runs again.
        assert working(shown)
        assert shown.keys() <= after.keys()
        assert working(before) & working(after) <= working(shown)
        assert working(shown) & (before.keys() - working(before)) == set()
        assert working(after) & (shown.keys() - working(shown)) == set()
        assert counted == len(working(shown))


def test_both_formats_are_served_compressed_or_not_and_promtool_reports_nothing() -> None:
    with (
        Simulator() as simulator,
        running_exporter(
            server_yaml(simulator, extra=f"sessions: {{ids: [{REFERENCE}], discover: true}}"),
            "poll_interval: 1s\ninfo_labels: [name, initiated_by, client_host, scope_name, reason, details]",
        ) as exporter,
    ):
        exporter.wait_for(1, "vb365_up", server="hq")
        openmetrics = exporter.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert openmetrics.headers["Content-Type"].startswith(
            "application/openmetrics-text; version=1.0.0"
        )
        families = parse_openmetrics(openmetrics.content.decode())  # type: ignore[no-untyped-call] # the library does not type it
        assert list(families)
        plain = requests.get(
            exporter.url + "/metrics", headers={"Accept-Encoding": "identity"}, timeout=10
        )
        assert "Content-Encoding" not in plain.headers

        promtool = shutil.which("promtool")
        if promtool is None:
            assert "CI" not in environ, "promtool has to be installed in CI"
            pytest.skip("promtool is not installed (Debian package prometheus)")
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=plain.content, capture_output=True, check=False
        )
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_health_and_readiness_follow_the_pollers() -> None:
    with (
        Simulator(empty_world()) as simulator,
        running_exporter(server_yaml(simulator)) as exporter,
    ):
        wait_until(lambda: exporter.get("/-/ready").ok, "ready")
        assert exporter.get("/-/healthy").ok
        config = exporter.get("/config").text
        assert "<secret>" in config
        assert f"password: {simulator.password}" not in config
