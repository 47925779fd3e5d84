"""How long each part of a snapshot stands, to the second."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from exporter.polling.blocks import Block
from exporter.polling.snapshot import (
    Activity,
    ConfiguredId,
    RunningSession,
    ServerStatus,
    Snapshot,
    with_series,
)
from exporter.vb365.records.restore_session import SessionResult, SessionType
from support.sample_sessions import NOON, finished, running, session_id

KEY = ("contoso.onmicrosoft.com", SessionType.VEX, SessionResult.SUCCESS)


def seen_running(number: int, at: float = 0.0, *, configured: bool = False) -> RunningSession:
    return RunningSession(session=running(number), confirmed_at=at, configured=configured)


def configured_id(number: int, at: float) -> ConfiguredId:
    return ConfiguredId(session_id=session_id(number), found=True, confirmed_at=at)


FULL = Snapshot(
    server="hq",
    status=ServerStatus(up=True),
    stale_after_seconds=180.0,
    max_series=10,
    running=(seen_running(1, 1000.0), seen_running(2, 1010.0)),
    finished=(Block((finished(3),)), Block((finished(4),))),
    finished_with_series=(Block((finished(3),)),),
    finished_confirmed_at=1020.0,
    configured_ids=(configured_id(1, 1000.0), configured_id(3, 1030.0)),
    stopped={KEY: 1},
    last_end={KEY: NOON},
    last_restored={KEY[:2]: NOON},
    list_confirmed_at=1040.0,
    activity=Activity(organizations=("contoso.onmicrosoft.com",)),
)


def shown(now: float) -> tuple[list[str], int, list[str], bool]:
    """What stands at this time: running sessions, finished blocks, configured ids, gauges of organizations."""
    rest = FULL.without_stale(now)
    assert {bool(rest.stopped), bool(rest.last_end), bool(rest.last_restored)} == {rest.listed}
    assert (
        (rest.finished_confirmed_at > -inf)
        == bool(rest.finished)
        == bool(rest.finished_with_series)
    )
    return (
        [one.session.id for one in rest.running],
        len(rest.finished_with_series),
        [one.session_id for one in rest.configured_ids],
        rest.listed,
    )


ONE, TWO, THREE = session_id(1), session_id(2), session_id(3)


@pytest.mark.parametrize(
    ("now", "rest"),
    [
        (1179.9, ([ONE, TWO], 1, [ONE, THREE], True)),
        (1180.0, ([TWO], 1, [THREE], True)),
        (1189.9, ([TWO], 1, [THREE], True)),
        (1190.0, ([], 1, [THREE], True)),
        (1199.9, ([], 1, [THREE], True)),
        (1200.0, ([], 0, [THREE], True)),
        (1209.9, ([], 0, [THREE], True)),
        (1210.0, ([], 0, [], True)),
        (1219.9, ([], 0, [], True)),
        (1220.0, ([], 0, [], False)),
    ],
)
def test_each_part_ends_exactly_when_its_own_confirmation_is_stale(
    now: float, rest: tuple[list[str], int, list[str], bool]
) -> None:
    assert shown(now) == rest


def test_a_snapshot_without_stale_parts_is_returned_as_it_is() -> None:
    assert FULL.without_stale(1179.9) is FULL


def test_counters_never_become_stale_and_of_the_status_only_whether_the_server_is_up() -> None:
    stale = FULL.without_stale(1e9)

    assert (stale.activity, stale.server) == (FULL.activity, "hq")
    assert stale.status == ServerStatus(
        up=False,
        failure_reason="internal",
        failure_message="its data became stale before a poll ended",
        failing_since=1180.0,
    )


def test_the_failure_of_a_server_that_is_down_stays_when_its_data_becomes_stale() -> None:
    status = ServerStatus(up=False, failure_reason="connect", failing_since=1100.0)

    assert replace(FULL, status=status).without_stale(1e9).status is status


def test_a_server_that_is_down_is_not_up_since_any_moment() -> None:
    status = ServerStatus(up=True, up_since=1000.0)

    down = replace(FULL, status=status).down("poll not completed", since=1100.0)

    assert down.status == ServerStatus(
        up=False,
        failure_reason="internal",
        failure_message="poll not completed",
        failing_since=1100.0,
    )


@pytest.mark.parametrize(
    ("changes", "stale_at"),
    [
        ({}, 1180.0),
        ({"running": ()}, 1180.0),
        ({"running": (), "configured_ids": ()}, 1200.0),
        ({"running": (), "configured_ids": (), "finished_confirmed_at": -inf}, 1220.0),
        (
            {
                "running": (),
                "configured_ids": (),
                "finished_confirmed_at": -inf,
                "list_confirmed_at": -inf,
            },
            inf,
        ),
    ],
)
def test_a_snapshot_becomes_stale_with_its_oldest_confirmation(
    changes: dict[str, object], stale_at: float
) -> None:
    assert replace(FULL, **changes).stale_at == stale_at  # type: ignore[arg-type] # a table of fields


def test_an_empty_snapshot_stands_for_any_time() -> None:
    empty = Snapshot(server="hq")

    assert empty.without_stale(1e9) is empty
    assert not empty.listed
    assert (dict(empty.stopped), dict(empty.activity.started)) == ({}, {})
    assert (empty.max_series, empty.sessions_known) == (0, 0)
    assert (empty.sessions_without_series, empty.sessions_not_kept) == (0, 0)


def test_the_newest_discovered_and_all_configured_running_sessions_have_series() -> None:
    sessions = [
        seen_running(1),
        seen_running(2, configured=True),
        seen_running(3),
        seen_running(4),
        seen_running(5, configured=True),
    ]

    assert with_series(sessions, 2) == (sessions[0], sessions[1], sessions[2], sessions[4])
    assert with_series(sessions, 0) == (sessions[1], sessions[4])
    assert with_series(sessions, 3) == tuple(sessions)


def test_the_running_sessions_with_series_are_bounded_by_max_series() -> None:
    assert replace(FULL, max_series=1).running_with_series == FULL.running[:1]
