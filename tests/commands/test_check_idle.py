from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.commands.check_idle import IDLE, OPEN, Result, check_idle, idle_report
from exporter.config import parse_config
from exporter.flags import ALL_SERVERS
from exporter.polling.full_list import FullList
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.system.failure import UNKNOWN
from exporter.vb365.errors import AuthError, ForbiddenError
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Page, Rejection, RestoreSession
from support.exporter_harness import server_yaml
from support.sample_sessions import NOON, finished, running, session_id

FORBIDDEN = ForbiddenError("the account lacks the permission (HTTP 403)", operation="list")


def lists(*sessions: RestoreSession, rejected: int = 0) -> FullList:
    """Return the list of a server with these open sessions and a finished one."""
    found = FullList(lambda session: None if session.stopped else session)
    rejection = Rejection(reason=RejectionReason.MISSING_FIELD)
    found.add(Page(sessions=(*sessions, finished(500)), rejections=(rejection,) * rejected))
    return found


# What is printed


def test_without_open_sessions_the_servers_are_idle() -> None:
    assert idle_report({"hq": lists()}, NOON) == (
        IDLE,
        "OK - no restore session is open on hq | open_sessions=0\n",
    )
    assert idle_report({"hq": lists(), "branch": lists()}, NOON) == (
        IDLE,
        "OK - no restore session is open on any of 2 servers | open_sessions=0\n",
    )


def test_a_server_that_lists_no_session_at_all_is_idle_but_named() -> None:
    empty = FullList()

    assert idle_report({"hq": lists(), "branch": empty}, NOON) == (
        IDLE,
        (
            "OK - no restore session is open on any of 2 servers | open_sessions=0\n"
            "branch lists no sessions at all: check whether the account can see them\n"
        ),
    )


def test_each_open_session_has_a_line_the_oldest_of_a_server_first() -> None:
    results: dict[str, Result] = {
        "hq": lists(running(5), running(75, organization="")),
        "branch": lists(running(2)),
    }

    status, text = idle_report(results, NOON)

    assert status == OPEN
    assert text.splitlines() == [
        "WARNING - 3 restore sessions are open, the longest for 1 h 15 min | open_sessions=3",
        f"hq      -                        Vex  opened 2026-03-01T10:45:00Z (1 h 15 min ago)  {session_id(75)}",
        f"hq      contoso.onmicrosoft.com  Vex  opened 2026-03-01T11:55:00Z (5 min ago)       {session_id(5)}",
        f"branch  contoso.onmicrosoft.com  Vex  opened 2026-03-01T11:58:00Z (2 min ago)       {session_id(2)}",
    ]


def test_an_open_session_decides_even_if_another_server_could_not_be_checked() -> None:
    status, text = idle_report({"hq": FORBIDDEN, "branch": lists(running(2))}, NOON)

    first, row, last = text.splitlines()
    assert (status, row.partition(" ")[0]) == (OPEN, "branch")
    assert first == (
        "WARNING - 1 restore session has been open for 2 min; 1 of 2 servers could not be checked"
        " | open_sessions=1"
    )
    assert last == "hq could not be checked: the account lacks the permission (HTTP 403)"


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (FORBIDDEN, "the account lacks the permission (HTTP 403)"),
        (
            AuthError("the login is refused", operation="token", next_try="next try in 60 s"),
            "the login is refused",
        ),
        (
            lists(rejected=2),
            "2 of its sessions cannot be read (missing_field) and may be open",
        ),
        (None, "the check was stopped or failed unexpectedly"),
    ],
    ids=["forbidden", "refused", "unreadable", "stopped"],
)
def test_a_server_that_cannot_be_checked_is_not_idle(result: Result, problem: str) -> None:
    assert idle_report({"hq": result, "branch": lists()}, NOON) == (
        UNKNOWN,
        f"UNKNOWN - hq could not be checked: {problem}\n",
    )


def test_several_failed_servers_are_counted_in_the_first_line() -> None:
    status, text = idle_report({"hq": FORBIDDEN, "branch": None}, NOON)

    first, *others = text.splitlines()
    assert (status, first) == (UNKNOWN, "UNKNOWN - 2 of 2 servers could not be checked")
    assert [line.partition(" ")[0] for line in others] == ["hq", "branch"]


def test_a_shard_without_servers_is_not_idle() -> None:
    assert idle_report({}, NOON)[0] == UNKNOWN


def test_no_name_can_pose_as_performance_data_or_affect_the_terminal() -> None:
    _, text = idle_report({"hq|x": lists(running(1, organization="a|b=1\n\x1b[2J"))}, NOON)

    first, row = text.splitlines()
    assert first.endswith(" | open_sessions=1")
    assert row.startswith("hq\N{BROKEN BAR}x  a\N{BROKEN BAR}b=1\ufffd\ufffd[2J  ")
    assert row.isprintable()


# What is checked


def checked(
    capfd: pytest.CaptureFixture[str], servers: str, name: str = ALL_SERVERS
) -> tuple[int, list[str]]:
    """Return the exit status and the lines printed for these servers."""
    config = parse_config(f"servers:{servers}", directory=Path.cwd())
    capfd.readouterr()
    with capture_logs():  # without this, they go to standard output
        status = check_idle(config, name, threading.Event())
    return status, capfd.readouterr().out.splitlines()


def empty_world() -> World:
    return World(sessions=0, organizations=0, activity=False, minimum=False)


def test_a_session_of_any_age_is_found_whatever_is_followed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    world = empty_world()
    followed = world.add_session(state="Stopped")
    forgotten = world.add_session(creation_time=datetime.now(UTC) - timedelta(days=200))
    with Simulator(world) as simulator:
        extra = f"sessions: {{ids: [{followed}], lookback: 1s, max_sessions: 1}}"
        status, (_, row) = checked(capfd, server_yaml(simulator, extra=extra))

    assert (status, row.split()[-1]) == (OPEN, forgotten)


@pytest.mark.parametrize(
    ("fault", "status"),
    [(None, IDLE), ("unknown_enums", OPEN), ("missing_fields", UNKNOWN), ("forbidden", UNKNOWN)],
)
def test_only_a_list_of_sessions_that_are_certainly_stopped_is_idle(
    capfd: pytest.CaptureFixture[str], fault: str | None, status: int
) -> None:
    world = empty_world()
    world.add_session(state="Stopped")
    with Simulator(world) as simulator:
        if fault is not None:
            simulator.faults.set(fault, route="list")

        assert checked(capfd, server_yaml(simulator))[0] == status


def test_a_single_empty_list_is_not_believed(capfd: pytest.CaptureFixture[str]) -> None:
    world = empty_world()
    world.add_session()
    with Simulator(world) as simulator:
        simulator.faults.set("empty_list", first=1)

        assert checked(capfd, server_yaml(simulator))[0] == OPEN


@pytest.mark.parametrize(
    ("name", "status"),
    [("hq", IDLE), ("branch", OPEN), (ALL_SERVERS, OPEN)],
    ids=["hq", "branch", "all"],
)
def test_a_name_checks_that_server_alone(
    capfd: pytest.CaptureFixture[str], name: str, status: int
) -> None:
    with Simulator(empty_world()) as hq, Simulator(empty_world()) as branch:
        branch.world.add_session()

        assert checked(capfd, server_yaml(hq) + server_yaml(branch, "branch"), name)[0] == status
        assert (branch.requests.total() == 0) == (name == "hq")


def test_an_unknown_name_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with Simulator(empty_world()) as hq:
        config = parse_config(f"servers:{server_yaml(hq)}", directory=Path.cwd())
        capfd.readouterr()
        status = check_idle(config, "HQ", threading.Event())

    printed = capfd.readouterr()
    assert (status, printed.out) == (2, "")
    assert printed.err == (
        "vb365-restore-exporter: error: --check-idle: no server is named 'HQ'; configured: hq\n"
    )
