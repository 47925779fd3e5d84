"""Items restored, extracted or viewed; only for servers configured with `extras`."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import dashboard, units

from vb365_dashboard.columns import ORGANIZATION, SERVER, SESSION, TYPE, month
from vb365_dashboard.look import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    chart,
    coarse,
    in_colors,
    stacked,
    thresholds_of,
)
from vb365_dashboard.promql import increase_in_range, open_or_ended_in_last_day, series
from vb365_dashboard.tables import Column, data_table

__all__ = [
    "charts",
    "items_by_organization",
    "most_active_sessions",
    "totals_by_organization",
    "views_by_session",
]

_MAX_LINES, _MAX_VIEWS = 10, 5
_EXTRACTING, _IN_PLACE = ("Export", "Save", "Send"), ("Restore", "View", "Unknown")
_ITEMS, _EVENTS = "vb365_restore_session_items", "vb365_restore_session_events"
_BYTES = "vb365_restore_session_event_bytes"
_OPERATION_COLORS = {
    "^Restore$": BLUE,
    "^View$": "#A352CC",
    "^Export$": ORANGE,
    "^Save$": "#B8860B",
    "^Send$": "#00A3A3",
    "^Unknown$": GRAY,
}
_NEEDS_STATISTICS = (
    "Empty without extras: [statistics] in the exporter's configuration, and before VB365 8."
)
_NEEDS_EVENTS = "Empty without extras: [events] in the exporter's configuration."
_NEEDS_BOTH = "Needs extras: [statistics, events] in the exporter's configuration; without one of them its columns stay empty."
_SESSIONS = "Sessions that are open or ended in the 24 hours before"
_SESSION_LABELS = ("server", "session_id", "organization", "type")


def charts() -> list[timeseries.Panel]:
    """Return the charts of items, events and extracted bytes."""
    return [coarse(panel).span(8).height(8) for panel in (_items(), _operations(), _extracted())]


def _items() -> timeseries.Panel:
    items = open_or_ended_in_last_day(series(_ITEMS))
    return in_colors(
        stacked(
            chart(
                "Items per day by outcome",
                f"Item counts from VB365's statistics. {_SESSIONS} each point in time. {_NEEDS_STATISTICS}",
                {"{{outcome}}": f"sum by (outcome) ({items})"},
            ).decimals(0)
        ),
        {"^restored$": GREEN, "^failed$": RED, "^skipped$": GRAY},
    )


def _operations() -> timeseries.Panel:
    events = open_or_ended_in_last_day(series(_EVENTS, operation=(*_EXTRACTING, *_IN_PLACE)))
    return in_colors(
        stacked(
            chart(
                "Events per day by operation",
                f"Operations on items, successful or not. {_SESSIONS} each point in time. {_NEEDS_EVENTS}",
                {"{{operation}}": f"sum by (operation) ({events})"},
            ).decimals(0)
        ),
        _OPERATION_COLORS,
    )


def _extracted() -> timeseries.Panel:
    extracted = open_or_ended_in_last_day(series(_BYTES, operation=_EXTRACTING))
    return chart(
        "Bytes extracted per day by organization",
        f"Bytes exported, saved or sent; top {_MAX_LINES} organizations. {_SESSIONS} each point in time. An unexplained rise may mean "
        f"that somebody is taking data away. {_NEEDS_EVENTS}",
        {"{{organization}}": f"topk({_MAX_LINES}, sum by (organization) ({extracted}))"},
        unit=units.BytesIEC,
    )


def _column(header: str, by: tuple[str, ...], metric: str, color: str = "", **equal: str) -> Column:
    known = open_or_ended_in_last_day(series(metric, **equal))
    in_bytes = metric == _BYTES
    return Column(
        header=header,
        expression=f"sum by ({', '.join(by)}) ({known})",
        unit=units.BytesIEC if in_bytes else units.NoUnit,
        decimals=None if in_bytes else 0,
        colors=thresholds_of("text", (1, color)) if color else None,
    )


def items_by_organization() -> table.Panel:
    """Return a table with a row for each organization that has operations on items."""
    by = ("organization",)
    return (
        data_table(
            "By organization, last 24 hours",
            f"{_SESSIONS} the end of the time range. Restored, failed and skipped items come from VB365's statistics; viewed items "
            f"and bytes exported, saved and sent from its events. {_NEEDS_BOTH}",
            [
                replace(ORGANIZATION, width=260),
                _column("Restored", by, _ITEMS, outcome="restored"),
                _column("Failed", by, _ITEMS, RED, outcome="failed"),
                _column("Skipped", by, _ITEMS, outcome="skipped"),
                _column("Viewed", by, _EVENTS, operation="View"),
                _column("Exported", by, _BYTES, operation="Export"),
                _column("Saved", by, _BYTES, operation="Save"),
                _column("Sent", by, _BYTES, operation="Send"),
            ],
            sort_by="Exported",
            descending=True,
        )
        .span(16)
        .height(8)
    )


def totals_by_organization() -> table.Panel:
    """Return a table of what finished sessions restored, for a bill or a report of a month."""
    items, volume = "vb365_restored_items_total", "vb365_restore_event_bytes_total"

    def column(header: str, counter: str, color: str = "", **equal: str) -> Column:
        in_bytes = counter == volume
        return Column(
            header=header,
            expression=increase_in_range(counter, "organization", **equal),
            unit=units.BytesIEC if in_bytes else units.NoUnit,
            decimals=None if in_bytes else 0,
            colors=thresholds_of("text", (1, color)) if color else None,
        )

    return (
        data_table(
            "Items and bytes by organization, in the time range",
            "What sessions restored that finished in the time range; each session counts once. For a bill, select a month with the "
            f"links of this panel. {_NEEDS_BOTH}",
            [
                replace(ORGANIZATION, width=260),
                column("Items restored", items, outcome="restored"),
                column("Items failed", items, RED, outcome="failed"),
                column("Items skipped", items, outcome="skipped"),
                column("Restored", volume, operation="Restore"),
                column("Exported", volume, operation="Export"),
                column("Saved", volume, operation="Save"),
                column("Sent", volume, operation="Send"),
            ],
            sort_by="Items restored",
            descending=True,
        )
        .links(
            [
                building.DashboardLink(title)
                .type(dashboard.DashboardLinkType.LINK)
                .url(month(months))
                for title, months in (("Show this month", 0), ("Show the previous month", 1))
            ]
        )
        .span(24)
        .height(8)
    )


def views_by_session() -> timeseries.Panel:
    """Return a chart that reveals reading instead of restoring."""
    views = open_or_ended_in_last_day(series(_EVENTS, operation="View"))
    return (
        coarse(
            chart(
                f"Views by session, top {_MAX_VIEWS}",
                f"Items opened for viewing; the table below names the organizations. {_SESSIONS} each point in time. Hundreds of views "
                f"may mean that somebody is reading other people's data. {_NEEDS_EVENTS}",
                {"{{session_id}}": f"topk({_MAX_VIEWS}, sum by (session_id) ({views}))"},
            )
        )
        .decimals(0)
        .span(8)
        .height(8)
    )


def most_active_sessions() -> table.Panel:
    """Return a table of sessions by the bytes they extracted."""
    extracted = open_or_ended_in_last_day(series(_BYTES, operation=_EXTRACTING))
    sessions = f"sum by ({', '.join(_SESSION_LABELS)}) ({extracted})"
    return (
        data_table(
            "Activity by session, last 24 hours",
            f"{_SESSIONS} the end of the time range. Extracted: bytes exported, saved or sent. Sort by a column to find the sessions "
            f"that viewed or extracted the most. {_NEEDS_BOTH}",
            [
                Column(header="Extracted", expression=sessions, unit=units.BytesIEC, width=100),
                _of_session("Exports", _EVENTS, operation="Export"),
                _of_session("Saves", _EVENTS, operation="Save"),
                _of_session("Sends", _EVENTS, operation="Send"),
                _of_session("Views", _EVENTS, operation="View"),
                _of_session("Restored", _ITEMS, outcome="restored"),
                _of_session("Failed", _ITEMS, RED, outcome="failed"),
                _of_session("Skipped", _ITEMS, outcome="skipped"),
                ORGANIZATION,
                TYPE,
                SERVER,
                SESSION,
            ],
            sort_by="Extracted",
            descending=True,
        )
        .span(24)
        .height(10)
    )


def _of_session(header: str, metric: str, color: str = "", **equal: str) -> Column:
    return replace(_column(header, _SESSION_LABELS, metric, color, **equal), width=80)
