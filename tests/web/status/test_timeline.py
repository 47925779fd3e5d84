from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from web.status_pages import HQ, ended, opened, page
from web.support import NOON

from exporter.web.status.page import SessionRow
from exporter.web.status.timeline import Timeline, timeline


def drawn(*rows: SessionRow) -> Timeline:
    last_first = sorted(
        (row for row in rows if row.result), key=lambda row: row.ended or row.created, reverse=True
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


def test_without_sessions_there_is_no_timeline() -> None:
    assert None is timeline(page(HQ))


def a_day_of_sessions(count: int = 300) -> list[SessionRow]:
    return [
        ended(1440 * number / count, organization=f"tenant-{number % 40:02}")
        for number in range(count)
    ]


def test_the_axis_shows_a_day() -> None:
    assert drawn(*a_day_of_sessions()).name == "24 hours"


@pytest.mark.parametrize(
    ("minutes_ago", "name"),
    [(5, "24 hours"), (1441, "2 days"), (3 * 1440, "4 days"), (29 * 1440, "30 days")],
)
def test_on_a_quiet_day_the_axis_reaches_back_to_the_last_ten_sessions(
    minutes_ago: float, name: str
) -> None:
    older = [ended(89 * 1440, organization="old.example") for _ in range(10)]
    assert drawn(ended(1), ended(minutes_ago)).name == name
    assert drawn(ended(1), ended(minutes_ago), *older).name == name


def test_a_busy_last_hour_stays_legible() -> None:
    busy = [ended(number / 2, 0.3) for number in range(120)]

    assert drawn(*busy[::12], *a_day_of_sessions()).name == "12 hours"
    assert drawn(*busy, *a_day_of_sessions()).name == "30 minutes"


def test_an_old_open_session_does_not_squeeze_the_others() -> None:
    assert drawn(opened(90 * 1440, left_open=True), *a_day_of_sessions()).name == "24 hours"


def test_the_axis_does_not_reach_back_to_where_only_some_sessions_are_known() -> None:
    rows = tuple(a_day_of_sessions()[:130])  # within 11 h
    known = page(HQ, finished=rows, finished_totals={"Success": 130})
    part = page(HQ, finished=rows, finished_totals={"Success": 131})

    assert [
        (shown.name, shown.only_last_finished)
        for shown in map(timeline, (known, part))
        if shown is not None
    ] == [("24 hours", False), ("6 hours", False)]


def test_a_timeline_with_only_some_of_the_finished_sessions_is_marked() -> None:
    rows = tuple(ended(number / 60) for number in range(1, 131))
    shown = timeline(page(HQ, finished=rows, finished_totals={"Success": 9000}))

    assert shown is not None
    assert (shown.name, shown.only_last_finished) == ("15 minutes", True)


def test_organizations_without_trouble_are_folded() -> None:
    failed = [
        ended(5, organization=f"tenant-{number:02}", result="Failed") for number in range(10, 22)
    ]
    shown = drawn(*a_day_of_sessions(), *failed)

    assert [lane.organization for lane in shown.lanes] == [f"tenant-{n:02}" for n in range(10, 22)]
    assert len(shown.folded) == 28


def test_a_few_organizations_are_not_folded() -> None:
    def shown(count: int) -> tuple[int, int]:
        lanes = drawn(*(ended(number, organization=f"{number:02}") for number in range(count)))
        return len(lanes.lanes), len(lanes.folded)

    assert [shown(10), shown(11)] == [(10, 0), (8, 3)]


def test_lanes_are_bounded_and_those_in_trouble_are_drawn() -> None:
    many = drawn(
        *(ended(number / 10, organization=f"{number:03}") for number in range(160)),
        ended(20, organization="trouble", result="Failed"),
    )

    assert many.lanes[0].organization == "trouble"
    assert (len(many.lanes) + len(many.folded), many.lanes_left_out) == (100, 61)


def test_running_sessions_that_are_not_drawn_are_counted() -> None:
    shown = timeline(page(HQ, running=(opened(9), opened(8)), running_total=12))

    assert shown is not None
    assert shown.running_left_out == 10


def test_running_sessions_alone_are_shown_over_a_day() -> None:
    assert drawn(opened(90 * 1440)).name == "24 hours"


def test_ticks_are_at_round_times_and_clear_of_the_present() -> None:
    ticks = drawn(*(ended(number / 2, 0.3) for number in range(60))).ticks

    assert [tick.label for tick in ticks if tick.label] == [
        "11:30",
        "11:35",
        "11:40",
        "11:45",
        "11:50",
        "11:55",
    ]
    assert [tick.at for tick in ticks if tick.late] == [83.33]
    assert {16.67, 20.0, 33.33} <= {tick.at for tick in ticks}


def test_midnight_is_labelled_by_its_date() -> None:
    labels = [tick.label for tick in drawn(ended(2000)).ticks]

    assert [label for label in labels if label] == ["12:00", "23 Nov", "12:00", "24 Nov"]


def test_the_legend_has_every_kind_that_is_drawn() -> None:
    assert drawn(ended(1)).kinds == ("running", "Success", "Warning", "Failed")
    assert "Strange" in drawn(ended(1, result="Strange")).kinds


def test_the_axis_ends_now() -> None:
    shown = drawn(ended(1))

    moments: tuple[datetime, datetime] = (shown.begin, shown.end)
    assert moments == (NOON - timedelta(days=1), NOON)
