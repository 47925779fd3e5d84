"""The evidence report against a simulated server and its truth."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.commands.report import write_report
from exporter.config import parse_config
from exporter.simulator import Simulator
from exporter.simulator.world.sessions import Session
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml

NOW = datetime.now(UTC)
MONTH = 30 * 86_400.0


def empty_world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def written(
    folder: Path,
    *simulators: Simulator,
    extra: str = "",
    info_labels: str = "",
    organizations: Sequence[str] = (),
    period_seconds: float = MONTH,
) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the JSON of the report on these servers."""
    servers = "".join(
        server_yaml(simulator, f"server-{number}", extra)
        for number, simulator in enumerate(simulators)
    )
    file = folder / "report.json"
    status = write_report(
        parse_config(f"info_labels: [{info_labels}]\nservers:{servers}", directory=folder),
        "json",
        threading.Event(),
        period_seconds=period_seconds,
        organizations=organizations,
        output_file=file,
    )
    return status, json.loads(file.read_text())


def complaints(logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [entry for entry in logs if entry["log_level"] in {"warning", "error"}]


def is_proof(session: Session) -> bool:
    return session.stopped and session.result != "Failed" and session.processed_items > 0


def test_the_report_agrees_with_the_truth(tmp_path: Path) -> None:
    world = World(activity=False, sessions=300)
    with Simulator(world, page_cap=40) as simulator:
        status, report = written(tmp_path, simulator, period_seconds=10 * 86_400.0)

    since = datetime.fromisoformat(report["since"])
    of_period = [one for one in world.sessions() if one.end_time is None or one.end_time >= since]
    proven = {
        (one.organization, one.type): max(
            other.end_time.replace(microsecond=0)
            for other in world.sessions()
            if (other.organization, other.type) == (one.organization, one.type)
            and is_proof(other)
            and other.end_time is not None
        )
        for one in world.sessions()
        if is_proof(one)
    }
    assert (status, report["complete"]) == (0, True)
    assert 0 < len(of_period) < len(world.sessions())
    assert {one["id"]: one["proves_restore"] for one in report["sessions"]} == {
        one.id: is_proof(one) for one in of_period
    }
    assert {
        (one["organization"], type_["type"]): datetime.fromisoformat(type_["last_proven"])
        for one in report["organizations"]
        for type_ in one["types"]
        if type_["last_proven"]
    } == proven
    totals = [type_ for one in report["organizations"] for type_ in one["types"]]
    assert sum(one["items_processed"] for one in totals) == sum(
        one.processed_items for one in of_period if one.stopped
    )
    assert sum(one["results"]["failed"] for one in totals) == sum(
        one.result == "Failed" for one in of_period if one.stopped
    )
    assert report["servers"][0]["sessions_listed"] == len(world.sessions())


def test_an_organization_that_never_restored_is_in_the_report(tmp_path: Path) -> None:
    with Simulator(World(activity=False, sessions=50)) as simulator:
        _, report = written(tmp_path, simulator)

    silent = [one["organization"] for one in report["organizations"] if not one["types"]]
    assert silent == ["tailspin-toys.onmicrosoft.com"]


def test_an_account_that_may_not_read_organizations_still_gets_a_report(tmp_path: Path) -> None:
    with Simulator(World(activity=False, sessions=50)) as simulator:
        simulator.faults.set("forbidden", route="organizations")
        with capture_logs() as logs:
            status, report = written(tmp_path, simulator)

    assert (status, report["servers"][0]["organizations_known"]) == (0, False)
    assert [entry["event"] for entry in complaints(logs)] == ["organizations unknown"]


def test_only_the_allowed_fields_of_a_session_are_written(tmp_path: Path) -> None:
    world = empty_world()
    world.add_session(name="Alice's mailbox", initiated_by="CONTOSO\\bob", reason="ticket 1")
    with Simulator(world) as simulator:
        _, report = written(tmp_path, simulator, info_labels="initiated_by, reason")

    (session,) = report["sessions"]
    assert {name: session.get(name) for name in ("name", "initiated_by", "reason")} == {
        "name": None,
        "initiated_by": "CONTOSO\\bob",
        "reason": "ticket 1",
    }


def test_extras_decide_what_is_proven(tmp_path: Path) -> None:
    world = empty_world()
    restored = world.add_session(state="Stopped", result="Success", items="rrf")
    skipped = world.add_session(state="Stopped", result="Warning", items="sss")
    with Simulator(world) as simulator:
        _, report = written(tmp_path, simulator, extra="sessions: {extras: [statistics, events]}")

    by_id = {one["id"]: one for one in report["sessions"]}
    fields = ("proves_restore", "items_restored", "items_failed", "items_skipped")
    assert [by_id[restored][one] for one in fields] == [True, 2, 1, 0]
    assert [by_id[skipped][one] for one in fields] == [False, 0, 0, 3]
    assert report["servers"][0]["sessions_without_extras"] == 0


def test_sessions_whose_extras_cannot_be_read_are_counted(tmp_path: Path) -> None:
    world = empty_world()
    broken = world.add_session(state="Stopped", result="Success", items="r")
    world.add_session(state="Stopped", result="Success", items="r")
    with Simulator(world) as simulator:
        simulator.faults.set("forbidden", route="statistics", session_id=broken)
        with capture_logs() as logs:
            status, report = written(
                tmp_path, simulator, extra="sessions: {extras: [statistics, events]}"
            )

    assert (status, report["servers"][0]["sessions_without_extras"]) == (0, 1)
    assert {one["proves_restore"] for one in report["sessions"]} == {True}
    (entry,) = complaints(logs)
    assert (entry["event"], entry["sessions"]) == ("sessions without extras", 1)


def test_sessions_with_unreadable_events_are_counted(tmp_path: Path) -> None:
    world = empty_world()
    for _ in range(2):
        world.add_session(state="Stopped", result="Success", items="rr")
    with Simulator(world) as simulator:
        simulator.faults.set("wrong_type_field", route="events", first=1)
        with capture_logs() as logs:
            status, report = written(tmp_path, simulator, extra="sessions: {extras: [events]}")

    assert (status, report["servers"][0]["sessions_without_extras"]) == (0, 1)
    (entry,) = complaints(logs)
    assert (entry["event"], entry["error"]) == (
        "sessions without extras",
        "4 records are not events",
    )


def test_records_that_cannot_be_read_are_logged_whatever_the_format(tmp_path: Path) -> None:
    world = empty_world()
    broken = world.add_session(state="Stopped")
    world.add_session(state="Stopped")
    with Simulator(world) as simulator:
        simulator.faults.set("missing_fields", route="list", session_id=broken)
        with capture_logs() as logs:
            status, report = written(tmp_path, simulator)

    assert (status, report["complete"], len(report["sessions"])) == (0, False, 1)
    assert report["servers"][0]["records_rejected"] == 1
    (entry,) = complaints(logs)
    assert entry == {
        "event": "records rejected, reporting the others",
        "log_level": "warning",
        "server": "server-0",
        "reason": "missing_field",
        "records": 1,
    }


def test_a_server_that_fails_is_named_and_the_others_are_reported(tmp_path: Path) -> None:
    with (
        Simulator(World(activity=False, sessions=20)) as up,
        Simulator(World(seed=2, activity=False, sessions=20)) as down,
    ):
        down.faults.set("forbidden", route="list")
        with capture_logs() as logs:
            status, report = written(tmp_path, up, down)

    assert (status, report["complete"]) == (1, False)
    assert [
        (one["server"], one["error"] and one["error"]["reason"]) for one in report["servers"]
    ] == [
        ("server-0", None),
        ("server-1", "forbidden"),
    ]
    assert {one["server"] for one in report["sessions"]} == {"server-0"}
    assert [(one["event"], one["server"]) for one in complaints(logs)] == [
        ("server missing from the report", "server-1")
    ]


def test_a_report_on_one_organization_has_no_other(tmp_path: Path) -> None:
    world = empty_world()
    for name in ("Contoso", "fabrikam"):
        world.add_session(organization=name, state="Stopped", result="Success", items="r")
    with Simulator(world) as simulator, capture_logs() as logs:
        _, report = written(tmp_path, simulator, organizations=["contoso", "typo"])

    assert {one["organization"] for one in report["sessions"]} == {"Contoso"}
    assert [one["organization"] for one in report["organizations"]] == ["Contoso"]
    assert report["servers"][0]["sessions_listed"] == 2
    assert [(one["event"], one["organization"]) for one in complaints(logs)] == [
        ("organization not known to any server", "typo")
    ]


def test_a_proven_restore_before_the_period_is_still_the_last_one(tmp_path: Path) -> None:
    world = empty_world()
    opened = NOW - timedelta(days=200)
    ended = opened + timedelta(hours=1)
    world.add_session(
        organization="a",
        type="Vet",
        state="Stopped",
        result="Success",
        items="r",
        creation_time=opened,
        end_time=ended,
    )
    with Simulator(world) as simulator:
        _, report = written(tmp_path, simulator)

    assert report["sessions"] == []
    (organization,) = report["organizations"]
    (teams,) = organization["types"]
    assert (teams["type"], teams["sessions"]) == ("Vet", 0)
    assert datetime.fromisoformat(teams["last_proven"]) == ended.replace(microsecond=0)


@pytest.mark.slow
def test_sessions_that_move_between_pages_are_counted_once(tmp_path: Path) -> None:
    world = World(sessions=1_200, activity=False)
    with Simulator(world) as simulator:
        simulator.faults.set("shuffled_pages")
        _, report = written(tmp_path, simulator, period_seconds=36_500 * 86_400.0)

    assert sorted(one["id"] for one in report["sessions"]) == sorted(
        one.id for one in world.sessions()
    )


def test_nothing_is_written_after_a_stop(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    file = tmp_path / "report.csv"
    file.write_text("old")
    with Simulator(empty_world()) as simulator, capture_logs() as logs:
        status = write_report(
            parse_config(f"servers:{server_yaml(simulator)}", directory=tmp_path),
            "csv",
            stop,
            period_seconds=MONTH,
            output_file=file,
        )

    assert (status, file.read_text()) == (1, "old")
    assert [one["event"] for one in complaints(logs)] == [
        "stopped before all sessions were listed, nothing written"
    ]


def test_a_report_without_any_server_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    with Simulator(empty_world()) as simulator, capture_logs() as logs:
        simulator.faults.set("forbidden", route="list")
        status = write_report(
            parse_config(f"servers:{server_yaml(simulator)}", directory=tmp_path),
            "json",
            threading.Event(),
            period_seconds=MONTH,
            output_file=file,
        )

    assert (status, file.read_text()) == (1, "old")
    assert [one["event"] for one in complaints(logs)] == [
        "server missing from the report",
        "no server could be read, the report is not written",
    ]


def test_csv_goes_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = World(activity=False, sessions=20)
    with Simulator(world) as simulator:
        config = parse_config(f"servers:{server_yaml(simulator)}", directory=tmp_path)
        capfd.readouterr()
        status = write_report(config, "csv", threading.Event(), period_seconds=365 * 86_400.0)

    printed = capfd.readouterr().out
    header, *rows = csv.reader(printed[printed.index("server,id,") :].splitlines())
    assert status == 0
    assert header[:2] == ["server", "id"]
    assert {row[1] for row in rows} == {one.id for one in world.sessions()}
