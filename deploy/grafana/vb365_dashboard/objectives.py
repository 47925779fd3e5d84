"""Restores within their recovery time objective; only with objectives among the thresholds of the recording rules."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import ORGANIZATION, TYPE
from vb365_dashboard.look import ORANGE, RED, SUCCESS_RATE, chart, coarse, name_types, thresholds_of
from vb365_dashboard.promql import RULES, selector
from vb365_dashboard.tables import Column, data_table

__all__ = ["by_organization", "by_type", "over_time"]

_RATIO = "vb365_restore_sessions_within_objective:ratio30d"
_WITHIN = "organization:vb365_restore_sessions_within_objective:last_day"
_RESTORES = "organization:vb365_restore_sessions_with_objective:last_day"
_MEANING = "Restores that ended with Success or Warning and restored something, without the time that was spent browsing where events show it"
_LOWEST = "Of several servers, the one with the lowest share is shown."
_NEEDS_OBJECTIVES = (
    "Empty without vb365:restore_objective_threshold_seconds in vb365-thresholds.yml."
)


def _sum(by: tuple[str, ...], rule: str) -> str:
    return f"sum by ({', '.join(by)}) (max by ({', '.join(RULES[rule])}) ({selector(rule)}))"


def _columns(by: tuple[str, ...], ratio: str) -> list[Column]:
    return [
        Column(
            header="Within, 30 days",
            expression=f"min by ({', '.join(by)}) ({selector(ratio)})",
            unit=units.PercentUnit,
            decimals=1,
            colors=thresholds_of(RED, *SUCCESS_RATE),
        ),
        Column(
            header="Restores, 24 h",
            expression=_sum(by, _RESTORES),
            unit=units.NoUnit,
        ),
        Column(
            header="Missed, 24 h",
            expression=f"{_sum(by, _RESTORES)} - {_sum(by, _WITHIN)}",
            unit=units.NoUnit,
            colors=thresholds_of("text", (1, ORANGE)),
        ),
    ]


def by_organization() -> table.Panel:
    """Return a table with a row for each organization."""
    return (
        data_table(
            "Recovery objectives by organization",
            f"{_MEANING}. {_LOWEST} {_NEEDS_OBJECTIVES}",
            [
                replace(ORGANIZATION, width=260),
                *_columns(("organization",), f"organization:{_RATIO}"),
            ],
            sort_by="Within, 30 days",
            descending=False,
        )
        .span(12)
        .height(8)
    )


def by_type() -> table.Panel:
    """Return a table with the objective of each type."""
    objective = selector("vb365:restore_objective_threshold_seconds")
    return (
        data_table(
            "Recovery objectives by type",
            f"{_MEANING}. {_LOWEST} {_NEEDS_OBJECTIVES}",
            [
                TYPE,
                Column(
                    header="Objective",
                    expression=f"max by (type) ({objective})",
                    unit=units.DurationInDaysHoursMinutesSeconds,
                ),
                *_columns(("type",), f"type:{_RATIO}"),
            ],
            sort_by="Within, 30 days",
            descending=False,
        )
        .span(12)
        .height(8)
    )


def over_time() -> timeseries.Panel:
    """Return a chart of the share of restores within their objective."""
    ratio = selector(f"type:{_RATIO}")
    return name_types(
        coarse(
            chart(
                "Restores within their objective by type, 30 days",
                f"{_MEANING}; in the 30 days before each point in time. {_LOWEST} {_NEEDS_OBJECTIVES}",
                {"{{type}}": f"min by (type) ({ratio})"},
                unit=units.PercentUnit,
            ).max(1)
        )
        .span(24)
        .height(7)
    )
