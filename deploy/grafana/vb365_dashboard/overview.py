"""The top of the dashboard: health of the servers, open sessions, failures, and recent activity."""

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
    chart,
    coarse,
    hourly_bars,
    in_colors,
    name_types,
    stacked,
    thresholds_of,
    tile,
    value_mappings,
)
from vb365_dashboard.promql import (
    ended_in_interval,
    ended_in_last_day,
    of_selected_results,
    selector,
    series,
)

__all__ = ["charts", "tiles"]

_WORKING = selector("vb365_restore_sessions_working")
_ZERO_IF_DATA = f"0 * sum({_WORKING})"


def tiles() -> list[stat.Panel]:
    """Return the row of stat panels at the top."""
    return [tile_.span(4).height(4) for tile_ in (_servers(), _open(), _oldest(), *_ended())]


def _servers() -> stat.Panel:
    up = series("vb365_up")
    down = f"{up} == 0"
    failures = selector("vb365_poll_failures_total")
    reasons = f"max by (server, reason) (increase({failures}[10m])) > 0 and on (server) ({down})"
    return tile(
        "VB365 servers",
        "Servers whose last poll did not succeed completely (vb365_up is 0), with the reasons from the last 10 minutes. Data that "
        "the exporter could not confirm for stale_after does not appear on this dashboard.",
        {
            "{{server}}: {{reason}}": reasons,
            "{{server}}: polls fail": f"({down}) + 1 unless on (server) ({reasons})",
            "All up": f"(count({up}) unless count({down})) * 0",
        },
        thresholds=thresholds_of(GREEN, (0.01, RED)),
        by_name=True,
    )


def _open() -> stat.Panel:
    return tile(
        "Open sessions",
        "Restore sessions that are not Stopped, including Veeam Explorers left open (vb365_restore_sessions_working).",
        {"Open": f"sum({series('vb365_restore_sessions_working')})"},
        thresholds=thresholds_of(BLUE),
    )


def _oldest() -> stat.Panel:
    oldest = selector("vb365_restore_sessions_oldest_working_start_timestamp_seconds")
    return (
        tile(
            "Oldest open session",
            "Time since the oldest open session was opened. An open session locks the repository and prevents updates of VB365. "
            "Orange after one day, red after three.",
            {"Open for": f"time() - min({oldest}) or (sum({_WORKING}) == 0) - 1"},
            thresholds=thresholds_of(BLUE, *LEFT_OPEN),
        )
        .unit(units.DurationInDaysHoursMinutesSeconds)
        .mappings(value_mappings({"-1": ("None open", GREEN)}))
    )


def _ended() -> tuple[stat.Panel, stat.Panel, stat.Panel]:
    failed = ended_in_last_day(series("vb365_restore_session_result", result="Failed"))
    succeeded = ended_in_last_day(series("vb365_restore_session_result", result="Success"))
    last = selector("vb365_restore_sessions_last_end_timestamp_seconds", result="Failed")
    return (
        tile(
            "Failed, 24 h",
            "Sessions that ended with result Failed in the 24 hours before the end of the time range.",
            {"Failed": f"sum({failed}) or {_ZERO_IF_DATA}"},
            thresholds=thresholds_of(GREEN, (1, RED)),
        ),
        tile(
            "Last failure",
            "Time since the latest session with result Failed ended, within the exporter's lookback (7 days by default).",
            {"Last failure": f"1000 * max({last}) or {_ZERO_IF_DATA}"},
            thresholds=thresholds_of("text"),
        )
        .unit(units.DateTimeFromNow)
        .mappings(value_mappings({"0": ("None", GREEN)})),
        tile(
            "Success rate, 24 h",
            "Share of sessions with result Success among those that ended in the 24 hours before the end of the time range. A Veeam "
            "Explorer that was opened and closed also counts as Success. Orange below 95 %, red below 80 %.",
            {"Success rate": f"avg({succeeded}) or {_ZERO_IF_DATA} - 1"},
            thresholds=thresholds_of(RED, *SUCCESS_RATE),
        )
        .unit(units.PercentUnit)
        .decimals(0)
        .mappings(value_mappings({"-1": ("None ended", "text")})),
    )


def charts() -> list[timeseries.Panel]:
    """Return the charts of recent activity."""
    return [
        chart_.span(8).height(8) for chart_ in (_open_by_type(), _per_hour(), coarse(_durations()))
    ]


def _open_by_type() -> timeseries.Panel:
    working = series("vb365_restore_sessions_working")
    return name_types(
        stacked(
            chart(
                "Open sessions by type",
                "Restore sessions that are not Stopped (vb365_restore_sessions_working).",
                {"{{type}}": f"sum by (type) ({working})"},
            ).decimals(0)
        )
    )


def _per_hour() -> timeseries.Panel:
    def ended(result: str) -> str:
        known = of_selected_results(selector("vb365_restore_sessions_stopped", result=result))
        return f"{ended_in_interval(result)} or 0 * sum({known})"

    return in_colors(
        hourly_bars(
            chart(
                "Restores per hour by result",
                "Sessions that ended in each hour; in time ranges of more than a month, in the interval of each bar. A bar appears when "
                "its hour is over. Only sessions with series of their own are counted: if a server has more than max_series, the newest.",
                {result: ended(result) for result in ("Failed", "Warning", "Unknown", "Success")},
                min_step="1h",
            ).decimals(0)
        ),
        {f"^{result}$": color for result, color in RESULTS.items()},
    )


def _durations() -> timeseries.Panel:
    durations = ended_in_last_day(series("vb365_restore_session_duration_seconds"))
    return name_types(
        chart(
            "Slowest restores by type, 24 hours",
            "95 percent of the sessions of each type that ended in the 24 hours before each point in time took no longer.",
            {"{{type}}": f"quantile by (type) (0.95, {durations})"},
            unit=units.Seconds,
        )
    )
