"""A configuration is replaced while the exporter runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from exporter.config import Config, parse_config
from exporter.polling.snapshot import Snapshot
from exporter.simulator import Simulator
from exporter.simulator.world.organizations import NEVER_RESTORED
from support.exporter_harness import RunningExporter, running_exporter, server_yaml
from support.waiting import wait_until


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as simulator:
        yield simulator


def configuration(servers: str, top: str = "poll_interval: 1s") -> Config:
    return parse_config(f"{top}\nservers:{servers}", directory=Path.cwd())


def logins(simulator: Simulator) -> int:
    return simulator.requests["POST", "token"]


def servers_of(exporter: RunningExporter) -> set[str]:
    """The servers that any sample names."""
    return set(re.findall(r'server="([^"]*)"', exporter.text()))


def sessions_with_series(exporter: RunningExporter) -> set[str]:
    return {labels["session_id"] for labels, _ in exporter.samples("vb365_restore_session_state")}


def test_a_server_that_did_not_change_keeps_its_ledger_and_its_token(simulator: Simulator) -> None:
    servers = server_yaml(simulator)
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        labels = {"server": "hq", "organization": "a.example", "type": "Vex"}
        simulator.world.add_session(organization="a.example", type="Vex", state="Working")
        exporter.wait_for(1, "vb365_restore_sessions_started_total", **labels)

        changes = exporter.service.apply(configuration(servers + server_yaml(simulator, "branch")))

        assert changes == {"added": ["branch"], "removed": [], "changed": []}
        exporter.wait_for(1, "vb365_up", server="branch")
        exporter.wait_for_poll()
        assert exporter.value("vb365_restore_sessions_started_total", **labels) == 1
        assert logins(simulator) == 2, "one of each server"


@pytest.mark.slow
def test_a_reload_neither_loses_nor_repeats_what_finished_sessions_restored(
    simulator: Simulator,
) -> None:
    servers = server_yaml(simulator, extra="sessions: {extras: [statistics]}")
    labels = {"organization": "a.example", "type": "Vex", "outcome": "restored"}
    total = "vb365_restored_items_total"
    session_id = simulator.world.add_session(organization="a.example", type="Vex", items="rr")
    with running_exporter(servers) as exporter:
        exporter.wait_for(0, total, server="hq", **labels)
        simulator.world.finish(session_id)
        exporter.wait_for(2, total, server="hq", **labels)

        exporter.service.apply(configuration(servers + server_yaml(simulator, "branch")))
        exporter.wait_for(1, "vb365_up", server="branch")
        exporter.wait_for_poll()

        assert exporter.value(total, server="hq", **labels) == 2


def test_the_series_of_a_removed_server_end_at_once_and_do_not_come_back(
    simulator: Simulator,
) -> None:
    servers = server_yaml(simulator)
    with running_exporter(servers + server_yaml(simulator, "branch")) as exporter:
        exporter.wait_for(1, "vb365_up", server="hq")
        exporter.wait_for(1, "vb365_up", server="branch")

        # Its poll is under way while it is removed.
        simulator.faults.set("slower_than_timeout", value=0.5)
        wait_until(lambda: simulator.faults.hits["slower_than_timeout"] > 0, "a slow poll")
        changes = exporter.service.apply(configuration(servers))

        assert changes["removed"] == ["branch"]
        assert servers_of(exporter) == {"hq"}
        simulator.faults.clear()
        exporter.wait_for_poll()
        assert servers_of(exporter) == {"hq"}


def test_a_renamed_server_starts_fresh(simulator: Simulator) -> None:
    with running_exporter(server_yaml(simulator, "old")) as exporter:
        exporter.wait_for(1, "vb365_up", server="old")
        exporter.wait_for_poll()

        changes = exporter.service.apply(configuration(server_yaml(simulator, "new")))

        assert changes == {"added": ["new"], "removed": ["old"], "changed": []}
        exporter.wait_for(1, "vb365_up", server="new")
        assert servers_of(exporter) == {"new"}
        assert logins(simulator) == 2


def test_a_changed_server_keeps_its_data_until_its_new_poller_succeeds(
    simulator: Simulator,
) -> None:
    with running_exporter(server_yaml(simulator)) as exporter:
        # Known after the first poll, in which it has no session: all organizations have their series by then.
        silent = {"organization": NEVER_RESTORED}
        wait_until(lambda: exporter.samples(WORKING, **silent) != [], "the organizations")
        before = exporter.samples(WORKING)
        changed = configuration(server_yaml(simulator, extra="sessions: {max_series: 1}"))
        simulator.faults.set("slower_than_timeout", value=0.5)

        assert exporter.service.apply(changed)["changed"] == ["hq"]

        assert [labels for labels, _ in before] == [
            labels for labels, _ in exporter.samples(WORKING)
        ]
        simulator.faults.clear()
        wait_until(lambda: len(sessions_with_series(exporter)) == 1, "one session with series")


def test_the_series_of_a_server_end_when_its_url_changes(simulator: Simulator) -> None:
    with Simulator() as other, running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up")
        other.faults.set("silence")

        exporter.service.apply(configuration(server_yaml(other)))

        assert exporter.samples("vb365_restore_session_state") == []
        other.faults.set("connection_refused")  # ends the request that waits for a response
        other.faults.clear()
        wait_until(lambda: exporter.samples("vb365_restore_session_state") != [], "sessions")


def test_other_info_labels_show_at_once(simulator: Simulator) -> None:
    servers = server_yaml(simulator)
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        assert exporter.samples("vb365_restore_session_info") == []

        exporter.service.apply(
            configuration(servers, "poll_interval: 1s\ninfo_labels: [initiated_by]")
        )

        assert all(
            "initiated_by" in labels for labels, _ in exporter.samples("vb365_restore_session_info")
        )
        assert exporter.samples("vb365_restore_session_info")
        exporter.wait_for_poll()
        assert exporter.samples("vb365_restore_session_info")


def test_extras_that_a_reload_brings_show_with_the_next_poll(simulator: Simulator) -> None:
    with running_exporter(server_yaml(simulator)) as exporter:
        exporter.wait_for(1, "vb365_up")

        exporter.service.apply(
            configuration(server_yaml(simulator, extra="sessions: {extras: [events]}"))
        )

        wait_until(lambda: bool(exporter.samples("vb365_restore_session_events")), "events")


def test_an_exporter_that_was_ready_stays_so_after_a_reload(simulator: Simulator) -> None:
    servers = server_yaml(simulator)
    with running_exporter(servers) as exporter:
        wait_until(lambda: exporter.get("/-/ready").status_code == 200, "ready")
        simulator.faults.set("silence")

        exporter.service.apply(configuration(servers + server_yaml(simulator, "branch")))

        assert exporter.get("/-/ready").status_code == 200


def test_a_token_that_someone_else_renews_is_read_again(
    simulator: Simulator, tmp_path: Path
) -> None:
    first, second = (
        simulator.tokens.log_in("demo", "demo", style="core", antiforgery=False) for _ in range(2)
    )
    assert first
    assert second
    token = tmp_path / "token"
    token.write_text(first.access_token)
    servers = server_yaml(simulator).replace(
        "username: demo, password: demo", f"token_file: {token}"
    )
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        token.write_text(second.access_token)

        exporter.service.apply(configuration(servers))
        exporter.wait_for_poll()
        simulator.tokens.revoke(first.access_token, refresh_too=False)
        exporter.wait_for_poll()

        assert exporter.value("vb365_up") == 1
        assert exporter.samples("vb365_api_requests_total", operation="list", code="401") == []


def test_a_reload_does_not_shorten_a_retry_after(simulator: Simulator) -> None:
    servers = server_yaml(simulator, change_feed="never")
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        simulator.faults.set("throttled_seconds", route="list", value=900)
        exporter.wait_for(0, "vb365_up")
        requests = simulator.requests.copy()

        changes = exporter.service.apply(configuration(servers + "    timeout: 9s"))

        exporter.wait_for_poll()
        assert (changes["changed"], simulator.requests) == (["hq"], requests)
        assert exporter.value("vb365_up") == 0


def test_a_retry_after_does_not_hold_back_another_account(simulator: Simulator) -> None:
    servers = server_yaml(simulator, change_feed="never")
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        token = simulator.tokens.log_in("demo", "demo", style="core", antiforgery=False)
        assert token
        simulator.faults.set("throttled_seconds", route="list", value=900)
        exporter.wait_for(0, "vb365_up")
        simulator.faults.clear()

        changed = servers.replace("username: demo, password: demo", f"token: {token.access_token}")
        exporter.service.apply(configuration(changed))

        exporter.wait_for(1, "vb365_up")


def test_certificates_are_read_again(simulator: Simulator, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(simulator.ca_pem)
    servers = server_yaml(simulator).replace(str(simulator.ca_file), str(authorities))
    with Simulator() as stranger, running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        authorities.write_bytes(stranger.ca_pem)
        exporter.wait_for_poll()
        assert exporter.value("vb365_up") == 1

        exporter.service.apply(configuration(servers))

        exporter.wait_for(0, "vb365_up")
        failures = partial(exporter.value, "vb365_poll_failures_total", reason="tls")
        wait_until(lambda: (failures() or 0) >= 1, "a failed poll is counted")


WORKING = "vb365_restore_sessions_working"
ORGANIZATION = {"server": "hq", "organization": "a.example", "type": "Vex"}
STARTED = "vb365_restore_sessions_started_total"
FINISHED = "vb365_restore_sessions_finished_total"
EVENTS = "vb365_restore_session_events"
UNTIL_RELOAD = "poll_interval: 1h"
"""No poll but the first, so that what happens next happens between two polls."""


def change_sessions(simulator: Simulator, running: str) -> str:
    """Finish a running session, run another from its start to its end, and start a third; return its id."""
    world = simulator.world
    world.finish(running, "Failed")
    ran = world.add_session(organization="a.example", type="Vex", state="Working")
    world.finish(ran, "Success")
    return world.add_session(organization="a.example", type="Vex", state="Working")


def counts(exporter: RunningExporter) -> list[float | None]:
    return [
        exporter.value(STARTED, **ORGANIZATION),
        *(
            exporter.value(FINISHED, result=result, **ORGANIZATION)
            for result in ("Success", "Failed")
        ),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("change_feed: never", "change_feed: never\n    timeout: 9s"),
        ("password: demo", "password_env: PASSWORD"),
    ],
    ids=["timeout", "password"],
)
def test_a_server_whose_sessions_are_the_same_counts_what_happens_during_a_reload(
    simulator: Simulator, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "demo")
    servers = server_yaml(simulator, extra="sessions: {extras: [events]}", change_feed="never")
    running = simulator.world.add_session(organization="a.example", type="Vex", state="Working")
    ended = simulator.world.add_session(organization="a.example", type="Vex", state="Working")
    simulator.world.finish(ended, "Success")
    with running_exporter(servers, UNTIL_RELOAD) as exporter:
        wait_until(lambda: exporter.samples(EVENTS, session_id=running) != [], "its extras")
        extras = exporter.samples(EVENTS, session_id=ended)
        started = change_sessions(simulator, running)

        changes = exporter.service.apply(configuration(servers.replace(old, new)))

        assert changes["changed"] == ["hq"]
        wait_until(lambda: counts(exporter) == [2, 1, 1], "what happened before")
        simulator.world.finish(started, "Failed")
        wait_until(lambda: counts(exporter) == [2, 1, 2], "what happened after")
        exporter.wait_for_poll()
        assert counts(exporter) == [2, 1, 2]
        assert exporter.samples(EVENTS, session_id=ended) == extras
        assert exporter.value("vb365_up") == 1


def test_what_is_known_of_a_server_that_is_down_outlives_a_reload(simulator: Simulator) -> None:
    servers = server_yaml(simulator, change_feed="never")
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        simulator.faults.set("connection_refused")
        exporter.wait_for(0, "vb365_up")
        (before,) = exporter.service.publisher.snapshots()

        changes = exporter.service.apply(configuration(servers + "    timeout: 9s"))

        exporter.wait_for_poll()
        (after,) = exporter.service.publisher.snapshots()
        assert changes["changed"] == ["hq"]
        assert after.status.last_poll_timestamp != before.status.last_poll_timestamp
        assert known_of(after) == known_of(before)
        assert None not in known_of(after)


def known_of(snapshot: Snapshot) -> list[object]:
    status = snapshot.status
    return [
        status.failing_since,
        status.last_success_timestamp,
        status.version,
        status.api_version,
        status.certificate_not_after,
    ]


def test_an_empty_list_of_organizations_after_a_reload_is_not_believed(
    simulator: Simulator,
) -> None:
    running = simulator.world.add_session(organization="a.example", type="Vex", state="Working")
    servers = server_yaml(simulator, extra="sessions: {extras: [events]}", change_feed="never")
    with running_exporter(servers, UNTIL_RELOAD) as exporter:
        wait_until(lambda: exporter.samples(EVENTS, session_id=running) != [], "its extras")
        before = organizations(exporter)
        requests = simulator.requests.copy()
        simulator.world.organizations = ()

        exporter.service.apply(configuration(servers + "    timeout: 9s", UNTIL_RELOAD))

        # A poll requests extras last.
        extras = ("GET", "events")
        wait_until(lambda: simulator.requests[extras] > requests[extras], "a poll's extras")
        listed = ("GET", "organizations")
        assert simulator.requests[listed] == requests[listed] + 1
        assert len(before) > 1
        assert organizations(exporter) == before


def organizations(exporter: RunningExporter) -> set[str]:
    return {labels["organization"] for labels, _ in exporter.samples(WORKING)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sessions: {lookback: 8d}", "sessions: {lookback: 9d}"),
        ("username: demo, password: demo", "token: TOKEN"),
    ],
    ids=["sessions", "account"],
)
def test_a_server_whose_sessions_may_be_others_starts_over(
    simulator: Simulator, old: str, new: str
) -> None:
    servers = server_yaml(simulator, extra="sessions: {lookback: 8d}", change_feed="never")
    with running_exporter(servers) as exporter:
        exporter.wait_for(1, "vb365_up")
        simulator.world.add_session(organization="a.example", type="Vex", state="Working")
        exporter.wait_for(1, STARTED, **ORGANIZATION)
        token = simulator.tokens.log_in("demo", "demo", style="core", antiforgery=False)
        assert token

        changed = servers.replace(old, new.replace("TOKEN", token.access_token))
        exporter.service.apply(configuration(changed))

        exporter.wait_for(0, STARTED, **ORGANIZATION)
