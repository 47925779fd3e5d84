"""Open and finished sessions by organization and by type."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import ORGANIZATION, TYPE
from vb365_dashboard.look import (
    LEFT_OPEN,
    ORANGE,
    PROVEN_DAYS,
    RED,
    SUCCESS_RATE,
    TYPES,
    chart,
    coarse,
    thresholds_of,
)
from vb365_dashboard.promql import (
    ended_in_last_day,
    selector,
    series,
    started_in_last_day,
)
from vb365_dashboard.tables import Column, data_table

__all__ = ["by_organization", "by_type", "last_proven_restores", "started_by_organization"]

_MAX_LINES = 10
_NAME_WIDTH = 260
_DAY_SECONDS = 86_400


def _stopped(result: str) -> str:
    return f"sum by (organization) ({series('vb365_restore_sessions_stopped', result=result)})"


def _count(header: str, expression: str, color: str = "") -> Column:
    return Column(
        header=header,
        expression=expression,
        unit=units.NoUnit,
        decimals=0,
        colors=thresholds_of("text", (1, color)) if color else None,
    )


def _success_rate(expression: str) -> Column:
    return Column(
        header="Success rate",
        expression=expression,
        unit=units.PercentUnit,
        decimals=0,
        colors=thresholds_of(RED, *SUCCESS_RATE),
    )


def by_organization() -> table.Panel:
    """Return a table with a row for each organization, independent of max_series."""
    oldest = selector("vb365_restore_sessions_oldest_working_start_timestamp_seconds")
    ended = f"sum by (organization) ({series('vb365_restore_sessions_stopped')})"
    last = selector("vb365_restore_sessions_last_end_timestamp_seconds", result="Failed")
    return (
        data_table(
            "By organization, within lookback (7 days by default)",
            "All sessions tracked by the exporter, including those beyond max_series.",
            [
                replace(ORGANIZATION, width=_NAME_WIDTH),
                _count(
                    "Open",
                    f"sum by (organization) ({series('vb365_restore_sessions_working')})",
                ),
                Column(
                    header="Oldest open",
                    expression=f"time() - min by (organization) ({oldest})",
                    unit=units.DurationInDaysHoursMinutesSeconds,
                    colors=thresholds_of("text", *LEFT_OPEN),
                ),
                _count("Success", _stopped("Success")),
                _count("Warning", _stopped("Warning"), ORANGE),
                _count("Failed", _stopped("Failed"), RED),
                _success_rate(f"{_stopped('Success')} / ({ended} > 0)"),
                Column(
                    header="Last failure",
                    expression=f"1000 * max by (organization) ({last})",
                    unit=units.DateTimeFromNow,
                ),
            ],
            sort_by="Failed",
            descending=True,
        )
        .span(24)
        .height(8)
    )


def started_by_organization() -> timeseries.Panel:
    """Return a chart that reveals unusual restore activity."""
    working = selector("vb365_restore_sessions_working")
    return (
        coarse(
            chart(
                f"Sessions opened per day by organization, top {_MAX_LINES}",
                "Sessions opened in the 24 hours before each point in time. An unexplained rise may mean that somebody is reading "
                "other people's mail.",
                {
                    "{{organization}}": f"topk({_MAX_LINES}, "
                    f"count by (organization) ({started_in_last_day()})"
                    f" or 0 * sum by (organization) ({working}))"
                },
            )
        )
        .decimals(0)
        .span(24)
        .height(8)
    )


def last_proven_restores() -> table.Panel:
    """Return a matrix of organizations and types with the days since the last proven restore."""

    def days(type_: str) -> str:
        last = selector("vb365_restore_sessions_last_restored_timestamp_seconds", type=type_)
        known = selector("vb365_restore_sessions_stopped", type=type_)
        return (
            f"floor((time() - max by (organization) ({last})) / {_DAY_SECONDS})"
            f" or 0 * max by (organization) ({known}) - 1"
        )

    return (
        data_table(
            "Days since the last proven restore",
            "A restore is proven if its session ended with Success or Warning and processed at least one item. Every session that VB365 "
            "lists counts, also before lookback. Orange after 90 days; red after a year, and for never: VB365 lists no such session.",
            [
                replace(ORGANIZATION, width=_NAME_WIDTH),
                *(
                    Column(
                        header=text,
                        expression=days(value),
                        unit=units.NoUnit,
                        words={"-1": ("never", RED)},
                        colors=thresholds_of("text", *PROVEN_DAYS),
                    )
                    for value, (text, _) in TYPES.items()
                    if value != "Unknown"
                ),
            ],
            sort_by="Organization",
            descending=False,
        )
        .span(12)
        .height(8)
    )


def by_type() -> table.Panel:
    """Return a table of success rate and duration by type."""
    durations = ended_in_last_day(series("vb365_restore_session_duration_seconds"))
    succeeded = ended_in_last_day(series("vb365_restore_session_result", result="Success"))

    def time_column(header: str, expression: str) -> Column:
        return Column(
            header=header, expression=expression, unit=units.DurationInDaysHoursMinutesSeconds
        )

    return (
        data_table(
            "By type, last 24 hours",
            "Sessions that ended in the 24 hours before the end of the time range.",
            [
                replace(TYPE, width=0),
                _count("Ended", f"count by (type) ({durations})"),
                _success_rate(f"avg by (type) ({succeeded})"),
                time_column("Median", f"quantile by (type) (0.5, {durations})"),
                time_column("95th pct", f"quantile by (type) (0.95, {durations})"),
                time_column("Longest", f"max by (type) ({durations})"),
            ],
            sort_by="Longest",
            descending=True,
        )
        .span(12)
        .height(8)
    )
