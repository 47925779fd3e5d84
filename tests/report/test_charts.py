from __future__ import annotations

from datetime import timedelta

import pytest

from exporter.report.charts import age_percent, bar_chart
from exporter.vb365.records.restore_session import SessionResult
from support.sample_reports import SINCE, evidence, report
from support.sample_sessions import NOON, finished, running


def test_a_bar_shows_the_sessions_that_ended_in_its_week_by_what_they_did() -> None:
    monday = NOON - timedelta(days=6)
    sessions = [
        finished(1, end_time=monday),
        finished(2, end_time=monday, result=SessionResult.WARNING),
        finished(3, end_time=NOON, result=SessionResult.FAILED),
        finished(4, end_time=NOON, details="0 items processed"),
        finished(5, end_time=NOON, details="done"),
        finished(6, end_time=monday - timedelta(days=1)),
        running(7),
    ]

    chart = bar_chart(report(evidence(sessions)))

    assert chart.unit == "week"
    assert [(bar.label, [(one.kind, one.count) for one in bar.segments]) for bar in chart.bars] == [
        ("16 Feb", [("success", 1)]),
        (
            "23 Feb",
            [("failed", 1), ("warning", 1), ("success", 1), ("nothing", 1), ("unknown", 1)],
        ),
    ]
    assert [value for value, _ in chart.ticks] == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("days", "unit", "bars"),
    [
        (0, "week", 1),
        (90, "week", 13),
        (420, "week", 61),
        (1_000, "month", 34),
        (20_000, "year", 56),
    ],
)
def test_long_periods_have_bars_of_months_or_years(days: int, unit: str, bars: int) -> None:
    sessions = [finished(1), finished(2, end_time=NOON - timedelta(days=days))]

    chart = bar_chart(report(evidence(sessions), since=NOON - timedelta(days=36_500)))

    assert (chart.unit, len(chart.bars)) == (unit, bars)
    assert sum(one.count for bar in chart.bars for one in bar.segments) == 2


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 99, 2_000])
def test_the_highest_bar_fits_and_the_axis_has_few_ticks(count: int) -> None:
    chart = bar_chart(report(evidence([finished(1)] * count)))

    assert 1 < len(chart.ticks) <= 6
    assert chart.ticks[-1][0] >= count
    assert min(one.y for bar in chart.bars for one in bar.segments) >= 0


def test_a_session_that_ends_in_the_future_is_in_the_last_bar() -> None:
    ahead = finished(1, end_time=NOON + timedelta(days=90_000))

    assert len(bar_chart(report(evidence([ahead]))).bars) == 1


def test_a_chart_without_sessions_covers_the_period() -> None:
    chart = bar_chart(report(evidence()))

    assert (len(chart.bars), chart.kinds) == (13, [])
    assert chart.bars[0].start <= SINCE.date()


def test_ages_have_even_steps() -> None:
    assert [age_percent(days) for days in (-1, 0, 7, 30, 60, 90, 365, 4_000)] == [
        *(0, 0, 25, 50, 62.5, 75, 100, 100)
    ]
