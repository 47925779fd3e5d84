from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from web.status_pages import FINISHED, HQ, RUNNING, page
from web.support import NOON

from exporter.web.status import SessionRow
from exporter.web.status.timeline import RUNNING as RUNS
from exporter.web.status.timeline import Lane, Timeline, timeline


def ended(minutes_ago: float, took_minutes: float = 1.0, **fields: Any) -> SessionRow:
    end = NOON - timedelta(minutes=minutes_ago)
    started = end - timedelta(minutes=took_minutes)
    return replace(
        FINISHED, started=started, ended=end, duration_seconds=took_minutes * 60, **fields
    )


def opened(minutes_ago: float, **fields: Any) -> SessionRow:
    seconds = minutes_ago * 60
    started = NOON - timedelta(seconds=seconds)
    return replace(RUNNING, started=started, duration_seconds=seconds, **fields)


def drawn(*rows: SessionRow) -> Timeline:
    last_first = sorted(
        (row for row in rows if row.result), key=lambda row: row.ended or row.started, reverse=True
    )
    laid_out = timeline(
        page(
            HQ,
            replace(HQ, name="lab"),
            running=tuple(row for row in rows if not row.result),
            finished=tuple(last_first),
        )
    )
    assert laid_out is not None
    return laid_out


def lane(*rows: SessionRow) -> Lane:
    (only,) = drawn(*rows).lanes
    return only


def test_without_sessions_there_is_no_timeline() -> None:
    assert None is timeline(page(HQ))


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


@pytest.mark.parametrize(
    ("minutes_ago", "name"),
    [
        (5, "15 minutes"),
        (50, "hour"),
        (300, "6 hours"),
        (1439, "24 hours"),
        (3 * 1440, "4 days"),
        (29 * 1440, "30 days"),
    ],
)
def test_the_axis_is_as_long_as_the_latest_sessions_require(minutes_ago: float, name: str) -> None:
    assert drawn(ended(1), ended(minutes_ago)).name == name


def test_sessions_older_than_the_longest_axis_are_not_drawn() -> None:
    only_new = drawn(ended(5), ended(90 * 1440, organization="old.example"))

    assert (
        only_new.name,
        [lane.organization for lane in only_new.lanes],
    ) == ("15 minutes", ["contoso.onmicrosoft.com"])


def test_a_busy_last_hour_is_not_squeezed_by_older_sessions() -> None:
    busy = [ended(number / 4) for number in range(130)]

    assert drawn(*busy, ended(2000)).name == "30 minutes"


def test_the_axis_does_not_reach_back_to_where_only_some_sessions_are_known() -> None:
    rows = tuple(ended(number * 4) for number in range(1, 131))  # 120 of them within 8 h
    known = page(HQ, finished=rows, finished_totals=(("Success", 130),))
    part = page(HQ, finished=rows, finished_totals=(("Success", 131),))

    assert [
        (shown.name, shown.only_last_finished)
        for shown in map(timeline, (known, part))
        if shown is not None
    ] == [("12 hours", False), ("6 hours", False)]


def test_a_timeline_with_only_some_of_the_finished_sessions_is_marked() -> None:
    rows = tuple(ended(number / 60) for number in range(1, 131))
    shown = timeline(page(HQ, finished=rows, finished_totals=(("Success", 9000),)))

    assert shown is not None
    assert (shown.name, shown.only_last_finished) == ("15 minutes", True)


def test_running_sessions_that_are_not_drawn_are_counted() -> None:
    shown = timeline(page(HQ, running=(opened(9), opened(8)), running_total=12))

    assert shown is not None
    assert shown.running_left_out == 10


def test_running_sessions_alone_are_shown_over_a_day() -> None:
    assert drawn(opened(90 * 1440)).name == "24 hours"


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


def test_lanes_stand_in_the_order_of_servers_and_names() -> None:
    lanes = drawn(
        ended(1, server="lab", organization="a"),
        ended(2, organization="Zebra"),
        ended(3, organization="b"),
    ).lanes

    assert [(lane.server, lane.organization) for lane in lanes] == [
        ("hq", "b"),
        ("hq", "Zebra"),
        ("lab", "a"),
    ]


def test_of_many_organizations_those_with_the_last_sessions_are_drawn() -> None:
    many = drawn(*(ended(number / 10, organization=f"{number:03}") for number in range(60)))

    assert (
        [lane.organization for lane in many.lanes],
        many.lanes_left_out,
    ) == ([f"{number:03}" for number in range(40)], 20)


def test_ticks_are_at_round_times_and_clear_of_the_present() -> None:
    ticks = drawn(ended(50)).ticks

    assert [tick.label for tick in ticks if tick.label] == [
        "11:00",
        "11:10",
        "11:20",
        "11:30",
        "11:40",
        "11:50",
    ]
    assert [tick.at for tick in ticks if tick.late] == [83.33]
    assert {16.67, 25.0, 33.33} <= {tick.at for tick in ticks}


def test_midnight_is_labelled_by_its_date() -> None:
    labels = [tick.label for tick in drawn(ended(2000)).ticks]

    assert [label for label in labels if label] == ["12:00", "23 Nov", "12:00", "24 Nov"]


def test_the_legend_has_every_kind_that_is_drawn() -> None:
    assert drawn(ended(1)).kinds == ("running", "Success", "Warning", "Failed")
    assert "Strange" in drawn(ended(1, result="Strange")).kinds


def test_the_axis_ends_now() -> None:
    shown = drawn(ended(1))

    moments: tuple[datetime, datetime] = (shown.begin, shown.end)
    assert moments == (NOON - timedelta(minutes=15), NOON)
