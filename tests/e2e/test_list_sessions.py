"""`--list-sessions` as a person and a script run it."""

from __future__ import annotations

import json
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, clean_environment, run_exporter, running_process
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

OTHER_ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
NARROW = f"sessions: {{ids: [{OTHER_ID}], lookback: 1s, max_series: 0, max_sessions: 1}}"


def empty_world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def test_the_whole_history_is_listed_running_first_whatever_the_configuration_follows(
    tmp_path: Path,
) -> None:
    world = World(activity=False, sessions=45)
    with Simulator(world, page_cap=10) as simulator:
        config = write_config(tmp_path, server_yaml(simulator, extra=NARROW))
        listed = run_exporter(f"--config.file={config}", "--list-sessions", "--log.level=error")

    truth = sorted(world.sessions(), key=lambda session: session.state == "Stopped")
    assert len(truth) == 47
    assert (listed.returncode, listed.stderr) == (0, "")
    head, *rows = listed.stdout.splitlines()
    assert head.split() == ["ID", "ORGANIZATION", "TYPE", "STATE", "RESULT", "CREATED", "DURATION"]
    assert [row.partition(" ")[0] for row in rows] == [session.id for session in truth]


def test_scripts_get_one_array_with_the_sessions_of_all_servers(tmp_path: Path) -> None:
    world = World(activity=False, sessions=5)
    with Simulator(world) as hq, Simulator(empty_world()) as branch:
        branch.world.add_session(organization="Contoso\x1b[2J")
        config = write_config(tmp_path, server_yaml(hq) + server_yaml(branch, "branch"))
        listed = run_exporter(f"--config.file={config}", "--list-sessions=json")

    printed = json.loads(listed.stdout)
    assert listed.returncode == 0
    assert {(one["server"], one["id"], one["state"]) for one in printed[:-1]} == {
        ("hq", session.id, session.state) for session in world.sessions()
    }
    assert (printed[-1]["server"], printed[-1]["organization"]) == ("branch", "Contoso\ufffd[2J")


def test_a_failing_server_is_reported_and_the_others_are_printed(tmp_path: Path) -> None:
    with Simulator(empty_world()) as hq, Simulator(empty_world()) as branch:
        hq.faults.set("forbidden", route="list")
        found = branch.world.add_session()
        config = write_config(tmp_path, server_yaml(hq) + server_yaml(branch, "branch"))
        table = run_exporter(f"--config.file={config}", "--list-sessions")
        array = run_exporter(f"--config.file={config}", "--list-sessions=json")

    assert table.returncode == 1
    assert [line.partition(" ")[0] for line in table.stdout.splitlines()] == [
        "branch:",
        "ID",
        found,
    ]
    assert array.returncode == 1
    assert [one["id"] for one in json.loads(array.stdout)] == [found]
    for listed in (table, array):
        assert 'msg="cannot list restore sessions" server=hq reason=forbidden' in listed.stderr


def test_a_server_without_sessions_is_printed_in_words(tmp_path: Path) -> None:
    with Simulator(empty_world()) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        table = run_exporter(f"--config.file={config}", "--list-sessions")
        array = run_exporter(f"--config.file={config}", "--list-sessions=json")

    assert (table.returncode, table.stdout) == (0, "")
    assert 'msg="the account can see no restore sessions" server=hq' in table.stderr
    assert (array.returncode, array.stdout) == (0, "[]\n")


def test_a_duplicate_session_is_listed_once_and_an_unreadable_one_is_reported(
    tmp_path: Path,
) -> None:
    world = empty_world()
    now = datetime.now(UTC)
    older, newer = (
        world.add_session(creation_time=now - timedelta(minutes=minutes)) for minutes in (2, 1)
    )
    with Simulator(world) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        command = (f"--config.file={config}", "--list-sessions=json")
        simulator.faults.set("duplicate_ids")
        twice = run_exporter(*command)
        simulator.faults.clear()
        simulator.faults.set("missing_fields", route="list", session_id=older)
        damaged = run_exporter(*command)

    assert [one["id"] for one in json.loads(twice.stdout)] == [newer, older]
    assert [one["id"] for one in json.loads(damaged.stdout)] == [newer]
    assert damaged.returncode == 0
    assert "records rejected" in damaged.stderr
    assert "server=hq reason=missing_field records=1" in damaged.stderr


def test_a_signal_ends_it_logs_out_and_nothing_is_printed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Simulator(empty_world()) as silent, Simulator(empty_world()) as branch:
        silent.faults.set("silence", route="list")
        servers = server_yaml(silent, extra="timeout: 5m") + server_yaml(branch, "branch")
        config = write_config(tmp_path, servers)
        with running_process(
            [*EXPORTER, f"--config.file={config}", "--list-sessions=json"], log
        ) as listed:
            wait_until(lambda: silent.requests["GET", "list"] > 0, "the list is requested")
            # The other server does not wait for the one that is silent.
            wait_until(lambda: branch.requests["POST", "logout"] > 0, "branch is listed")
            listed.send_signal(signal.SIGTERM)
            assert listed.wait(60) == 1
        assert silent.requests["POST", "logout"] == 1

    (line,) = log.read_text().splitlines()
    assert "nothing printed" in line


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_not_an_error(tmp_path: Path, unbuffered: str) -> None:
    with Simulator(World(activity=False, sessions=2000)) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        with subprocess.Popen(
            [*EXPORTER, f"--config.file={config}", "--list-sessions"],
            env=clean_environment(PYTHONUNBUFFERED=unbuffered),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as listed:
            assert listed.stdout is not None
            assert listed.stdout.readline().startswith(b"ID ")
            listed.stdout.close()
            assert listed.stderr is not None
            assert listed.stderr.read() == b""
            assert listed.wait(20) == 1
