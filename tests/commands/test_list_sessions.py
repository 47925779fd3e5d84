from __future__ import annotations

import json
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from exporter.commands.list_sessions import Listings, json_text, list_sessions, table_text
from exporter.config import parse_config
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.vb365.records.restore_session import SessionResult, SessionState, SessionType
from support.exporter_harness import server_yaml
from support.sample_sessions import NOON, finished, running, session_id

HOSTILE = "evil\x1b[2J\n\t\x7f\x9b\u202egro\ud800"


def test_a_table_is_aligned_whatever_the_names() -> None:
    sessions = (
        running(75, organization="東京.example"),
        finished(90, result=SessionResult.FAILED, type=SessionType.VET),
        finished(100, organization="", end_time=None, result=SessionResult.UNKNOWN),
    )

    assert table_text({"hq": sessions}, NOON, headed=False).splitlines() == [
        "ID                                    ORGANIZATION             TYPE  STATE    RESULT   CREATED               DURATION",
        "00000000-0000-0000-0000-00000000004b  東京.example             Vex   Working  -        2026-03-01T10:45:00Z  1 h 15 min",
        "00000000-0000-0000-0000-00000000005a  contoso.onmicrosoft.com  Vet   Stopped  Failed   2026-03-01T10:30:00Z  30 s",
        "00000000-0000-0000-0000-000000000064  -                        Vex   Stopped  Unknown  2026-03-01T10:20:00Z  unknown",
    ]  # fmt: skip


def test_each_of_several_servers_has_a_heading_unless_it_has_no_sessions() -> None:
    listings = {"hq": [running(1)], "empty": [], "branch": [running(2)]}

    lines = table_text(listings, NOON, headed=True).splitlines()

    assert [line.partition(" ")[0] for line in lines] == [
        *("hq:", "ID", session_id(1), ""),
        *("branch:", "ID", session_id(2)),
    ]


def test_an_unknown_state_counts_as_running() -> None:
    session = running(2, state=SessionState.UNKNOWN)

    (_, line) = table_text({"hq": [session]}, NOON, headed=False).splitlines()

    assert line.split()[3:] == ["Unknown", "-", "2026-03-01T11:58:00Z", "2", "min"]


@given(st.text(st.characters()))
def test_no_organization_name_can_affect_the_terminal(name: str) -> None:
    sessions = [running(1, organization=name + HOSTILE)]

    lines = table_text({"hq": sessions}, NOON, headed=True).split("\n")

    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert "\n".join(lines).encode()


def test_json_is_one_array_of_all_sessions_with_the_server_in_each() -> None:
    listings = {
        "hq": [
            running(75),
            finished(90, end_time=NOON - timedelta(minutes=89, milliseconds=-1.5)),
        ],
        "branch": [finished(2, end_time=None)],
    }

    assert json.loads(json_text(listings)) == [
        {
            "server": "hq",
            "id": session_id(75),
            "organization": "contoso.onmicrosoft.com",
            "type": "Vex",
            "state": "Working",
            "result": None,
            "created": "2026-03-01T10:45:00Z",
            "ended": None,
            "duration_seconds": None,
        },
        {
            "server": "hq",
            "id": session_id(90),
            "organization": "contoso.onmicrosoft.com",
            "type": "Vex",
            "state": "Stopped",
            "result": "Success",
            "created": "2026-03-01T10:30:00Z",
            "ended": "2026-03-01T10:31:00Z",
            "duration_seconds": 60.002,
        },
        {
            "server": "branch",
            "id": session_id(2),
            "organization": "contoso.onmicrosoft.com",
            "type": "Vex",
            "state": "Stopped",
            "result": "Success",
            "created": "2026-03-01T11:58:00Z",
            "ended": None,
            "duration_seconds": None,
        },
    ]


def test_json_has_a_line_for_each_session() -> None:
    lines = json_text({"hq": [running(1), finished(2)]}).splitlines()

    assert [
        json.loads(line.removesuffix(","))["id"] if line.startswith("{") else line for line in lines
    ] == ["[", session_id(1), session_id(2), "]"]


@pytest.mark.parametrize("listings", [{}, {"hq": []}])
def test_json_without_sessions_is_an_empty_array(listings: Listings) -> None:
    assert json_text(listings) == "[]\n"
    assert table_text(listings, NOON, headed=True) == ""


def test_a_running_session_has_no_end_in_json() -> None:
    # The endTime of a running session has no meaning.
    (session,) = json.loads(json_text({"hq": [running(1, end_time=NOON)]}))

    assert (session["ended"], session["duration_seconds"]) == (None, None)


def test_names_in_json_equal_the_label_values() -> None:
    text = json_text({"hq": [running(1, organization=HOSTILE)]})

    assert text.isascii()
    assert "\x7f" not in text
    assert json.loads(text)[0]["organization"] == "evil\ufffd[2J\n\ufffd\ufffd\ufffd\u202egro\ufffd"


# What is listed


def listed(simulator: Simulator, capfd: pytest.CaptureFixture[str]) -> tuple[int, set[str]]:
    """Return the exit status and the ids printed for a server."""
    config = parse_config(f"servers:{server_yaml(simulator)}", directory=Path.cwd())
    capfd.readouterr()
    status = list_sessions(config, "json", threading.Event())
    printed = capfd.readouterr().out
    return status, {one["id"] for one in json.loads(printed[printed.index("[\n") :])}


def test_a_list_whose_sessions_moved_is_fetched_again(capfd: pytest.CaptureFixture[str]) -> None:
    world = World(sessions=1200, activity=False)
    with Simulator(world) as simulator:
        simulator.faults.set("shuffled_pages")

        assert listed(simulator, capfd) == (0, {session.id for session in world.sessions()})


def test_a_list_whose_sessions_always_move_is_not_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Simulator(World(sessions=100, activity=False), page_cap=30) as simulator:
        simulator.faults.set("rows_shift", value=10)

        with capture_logs() as logs:
            config = parse_config(f"servers:{server_yaml(simulator)}", directory=Path.cwd())
            status = list_sessions(config, "json", threading.Event())

    assert status == 1
    assert capfd.readouterr().out == "[]\n"
    assert [entry["error"] for entry in logs if "error" in entry] == [
        "records moved between pages while the list was read"
    ]
