"""The top of the dashboard: is the data to be trusted, is anything open, did anything fail; and how it went lately."""

from __future__ import annotations

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.look import (
    BLUE,
    GREEN,
    LEFT_OPEN,
    RED,
    RESULTS,
    SUCCESS_RATE,
    bands,
    chart,
    coarse,
    in_colors,
    in_words,
    per_type,
    stacked,
    tile,
)
from vb365_dashboard.promql import ended_in_last_day, selector, series

__all__ = ["charts", "tiles"]

_WORKING = selector("vb365_restore_sessions_working")
_NO_SESSIONS_BUT_DATA = f"0 * sum({_WORKING})"


def tiles() -> list[stat.Panel]:
    """One line of what to know first."""
    return [tile_.span(4).height(4) for tile_ in (_servers(), _open(), _oldest(), *_ended())]


def _servers() -> stat.Panel:
    up = series("vb365_up")
    down = f"{up} == 0"
    failures = selector("vb365_poll_failures_total")
    reasons = f"max by (server, reason) (increase({failures}[10m])) > 0 and on (server) ({down})"
    return tile(
        "VB365 servers",
        "Servers whose last poll did not get everything it asked for (vb365_up is 0), with the reasons of the last 10 minutes. "
        "What the exporter could not confirm for stale_after is not shown anywhere on this dashboard.",
        {
            "{{server}}: {{reason}}": reasons,
            "{{server}}: does not answer": f"({down}) + 1 unless on (server) ({reasons})",
            "All up": f"(count({up}) unless count({down})) * 0",
        },
        thresholds=bands(GREEN, (0.01, RED)),
        by_name=True,
    )


def _open() -> stat.Panel:
    return tile(
        "Open sessions",
        "Restore sessions that are not Stopped, left-open Veeam Explorers among them (vb365_restore_sessions_working).",
        {"": f"sum({series('vb365_restore_sessions_working')})"},
        thresholds=bands(BLUE),
    )


def _oldest() -> stat.Panel:
    oldest = selector("vb365_restore_sessions_oldest_working_start_timestamp_seconds")
    return (
        tile(
            "Oldest open session",
            "How long the session that has been open longest has been open. A session that nobody closes holds the repository "
            "and keeps VB365 from updating itself. Orange from a day on, red from three.",
            {"": f"time() - min({oldest}) or (sum({_WORKING}) == 0) - 1"},
            thresholds=bands(BLUE, *LEFT_OPEN),
        )
        .unit(units.DurationInDaysHoursMinutesSeconds)
        .mappings(in_words({"-1": ("None open", GREEN)}))
    )


def _ended() -> tuple[stat.Panel, stat.Panel, stat.Panel]:
    failed = ended_in_last_day(series("vb365_restore_session_result", result="Failed"))
    succeeded = ended_in_last_day(series("vb365_restore_session_result", result="Success"))
    last = selector("vb365_restore_sessions_last_end_timestamp_seconds", result="Failed")
    return (
        tile(
            "Failed, 24 hours",
            "Sessions that ended as Failed in the 24 hours before the end of the time range.",
            {"": f"sum({failed}) or {_NO_SESSIONS_BUT_DATA}"},
            thresholds=bands(GREEN, (1, RED)),
        ),
        tile(
            "Last failure",
            "When the newest session that ended as Failed did, within the exporter's lookback (7 days unless configured).",
            {"": f"1000 * max({last}) or {_NO_SESSIONS_BUT_DATA}"},
            thresholds=bands("text"),
        )
        .unit(units.DateTimeFromNow)
        .mappings(in_words({"0": ("None known", GREEN)})),
        tile(
            "Success rate, 24 hours",
            "The part of the sessions that ended in the 24 hours before the end of the time range that ended as Success. "
            "A Veeam Explorer that was opened and closed counts as Success, too. Orange below 95 %, red below 80 %.",
            {"": f"avg({succeeded}) or {_NO_SESSIONS_BUT_DATA} - 1"},
            thresholds=bands(RED, *SUCCESS_RATE),
        )
        .unit(units.PercentUnit)
        .decimals(0)
        .mappings(in_words({"-1": ("None ended", "text")})),
    )


def charts() -> list[timeseries.Panel]:
    """How it went lately."""
    return [
        chart_.span(8).height(8)
        for chart_ in (_open_by_type(), coarse(_per_day()), coarse(_durations()))
    ]


def _open_by_type() -> timeseries.Panel:
    working = series("vb365_restore_sessions_working")
    return per_type(
        stacked(
            chart(
                "Open sessions by type",
                "Restore sessions that are not Stopped (vb365_restore_sessions_working).",
                {"{{type}}": f"sum by (type) ({working})"},
            ).decimals(0)
        )
    )


def _per_day() -> timeseries.Panel:
    def ended(result: str) -> str:
        last_day = ended_in_last_day(series("vb365_restore_session_result", result=result))
        known = selector("vb365_restore_sessions_stopped", result=result)
        return f"sum({last_day}) or 0 * sum({known})"

    return in_colors(
        stacked(
            chart(
                "Restores per day by result",
                "Sessions that ended in the 24 hours before each moment. Counted from the sessions that have series of their own: "
                "of more than max_series of a server in a day only the newest are seen here.",
                {result: ended(result) for result in ("Failed", "Warning", "Unknown", "Success")},
            ).decimals(0)
        ),
        {f"^{result}$": color for result, color in RESULTS.items()},
    )


def _durations() -> timeseries.Panel:
    durations = ended_in_last_day(series("vb365_restore_session_duration_seconds"))
    return per_type(
        chart(
            "Slowest restores by type (95th percentile, 24 hours)",
            "19 of 20 sessions of the type that ended in the 24 hours before each moment took no longer.",
            {"{{type}}": f"quantile by (type) (0.95, {durations})"},
            unit=units.DurationInDaysHoursMinutesSeconds,
        )
    )
