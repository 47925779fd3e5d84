from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from web.status_pages import ended, opened
from web.support import NOON

from exporter.web.status.lanes import RUNNING as RUNS
from exporter.web.status.lanes import Axis, Lane, draw_lanes
from exporter.web.status.page import SessionRow

QUARTER = Axis(begin=NOON - timedelta(minutes=15), end=NOON)


def lanes(*rows: SessionRow) -> list[Lane]:
    last_first = sorted(rows, key=lambda row: row.ended or row.created, reverse=True)
    running_first = sorted(last_first, key=lambda row: row.result is not None)
    return draw_lanes(running_first, QUARTER)


def lane(*rows: SessionRow) -> Lane:
    (only,) = lanes(*rows)
    return only


def test_a_finished_session_stands_where_it_ran() -> None:
    (mark,) = lane(ended(3, took_minutes=6)).marks

    assert (mark.start, mark.end, mark.kind, mark.earlier) == (40.0, 80.0, "Success", False)
    assert mark.text == "Teams, Success, 11:51:00 to 11:57:00 (6 min)"


def test_a_running_session_reaches_to_the_present() -> None:
    marks = lane(opened(6), ended(14)).marks

    (mark,) = [mark for mark in marks if mark.kind == RUNS]
    assert (mark.start, mark.end) == (60.0, 100.0)
    assert mark.text == "Exchange, running for 6 min since 11:54:00"


def test_a_session_that_started_before_the_axis_is_marked() -> None:
    marks = lane(opened(600), ended(1)).marks

    assert [(mark.start, mark.earlier) for mark in marks if mark.kind == RUNS] == [(0.0, True)]


def test_a_session_without_a_known_end_stands_at_its_start() -> None:
    (mark,) = lane(replace(ended(3), ended=None, duration_seconds=None)).marks

    assert mark.start == mark.end
    assert "to unknown (unknown)" in mark.text


def test_a_server_clock_ahead_does_not_draw_beyond_the_present() -> None:
    (mark,) = lane(ended(-30, took_minutes=31)).marks

    assert mark.end == 100.0


def test_sessions_at_the_same_time_stand_above_each_other() -> None:
    one = lane(ended(3, 4), ended(3, 2), ended(10, 1))

    assert sorted(mark.row for mark in one.marks) == [0, 0, 1]
    assert one.rows == 2


def test_running_sessions_leave_room_for_finished_ones() -> None:
    one = lane(*(opened(number) for number in range(10, 0, -1)), ended(2))

    kinds = [mark.kind for mark in one.marks]
    assert kinds.count(RUNS) == 3
    assert kinds.count("Success") == 1
    assert one.text == "10 running, 1 Success; 7 of them not drawn"


def test_lanes_count_their_sessions_running_ones_first() -> None:
    one = lane(ended(3, result="Failed"), ended(5, result="Strange"), ended(9), ended(7), opened(1))

    assert one.tally == (("running", 1), ("Success", 2), ("Failed", 1), ("Strange", 1))


def test_sessions_that_ended_before_the_axis_are_not_drawn() -> None:
    assert lanes(ended(16)) == []


def test_organizations_in_trouble_come_first_those_with_the_most_failures_before_others() -> None:
    drawn = lanes(
        ended(1, organization="a"),
        ended(2, organization="Zebra", result="Failed"),
        ended(3, organization="twice", result="Failed"),
        ended(9, organization="twice", result="Failed"),
        opened(9000, organization="Open", left_open=True),
        ended(4, organization="warned", result="Warning"),
        ended(5, organization="a", server="lab"),
    )

    assert [(lane.organization, lane.server, lane.in_trouble) for lane in drawn] == [
        ("twice", "hq", True),
        ("Zebra", "hq", True),
        ("Open", "hq", True),
        ("a", "hq", False),
        ("a", "lab", False),
        ("warned", "hq", False),
    ]
