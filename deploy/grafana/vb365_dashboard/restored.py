"""What was done with items: restored, let out, or merely viewed. Only of servers that are asked for `extras`."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import ORGANIZATION, SERVER, SESSION, TYPE
from vb365_dashboard.look import (
    BLUE,
    GRAY,
    GREEN,
    ORANGE,
    RED,
    bands,
    chart,
    coarse,
    in_colors,
    stacked,
)
from vb365_dashboard.promql import open_or_ended_in_last_day, series
from vb365_dashboard.tables import Column, data_table

__all__ = ["charts", "let_out_by_organization", "most_active_sessions", "views_by_session"]

_MOST_LINES, _MOST_VIEWS = 10, 5
_LET_OUT, _LEFT_IN = ("Export", "Save", "Send"), ("Restore", "View", "Unknown")
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
_NEEDS_BOTH = "Needs extras: [statistics, events] in the exporter's configuration; what is not asked for stays empty."
_WHICH = "Of sessions that are open, or ended in the 24 hours before"
_SESSION_LABELS = ("server", "session_id", "organization", "type")


def charts() -> list[timeseries.Panel]:
    """How much is restored, and how."""
    return [coarse(panel).span(8).height(8) for panel in (_items(), _operations(), _let_out())]


def _items() -> timeseries.Panel:
    items = open_or_ended_in_last_day(series(_ITEMS))
    return in_colors(
        stacked(
            chart(
                "Items per day by outcome",
                f"{_WHICH} each moment, by what VB365 says of them. {_NEEDS_STATISTICS}",
                {"{{outcome}}": f"sum by (outcome) ({items})"},
            ).decimals(0)
        ),
        {"^restored$": GREEN, "^failed$": RED, "^skipped$": GRAY},
    )


def _operations() -> timeseries.Panel:
    events = open_or_ended_in_last_day(series(_EVENTS, operation=(*_LET_OUT, *_LEFT_IN)))
    return in_colors(
        stacked(
            chart(
                "Events per day by operation",
                f"What was done with items, well or not. {_WHICH} each moment. {_NEEDS_EVENTS}",
                {"{{operation}}": f"sum by (operation) ({events})"},
            ).decimals(0)
        ),
        _OPERATION_COLORS,
    )


def _let_out() -> timeseries.Panel:
    let_out = open_or_ended_in_last_day(series(_BYTES, operation=_LET_OUT))
    return chart(
        "Bytes let out per day by organization",
        f"Exported, saved or sent, the {_MOST_LINES} largest organizations. {_WHICH} each moment. A rise that nobody can explain may be somebody who takes "
        f"data away. {_NEEDS_EVENTS}",
        {"{{organization}}": f"topk({_MOST_LINES}, sum by (organization) ({let_out}))"},
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
        colors=bands("text", (1, color)) if color else None,
    )


def let_out_by_organization() -> table.Panel:
    """A row for each organization that had something done with its items."""
    by = ("organization",)
    return (
        data_table(
            "What was restored, by organization, last 24 hours",
            f"{_WHICH} the end of the time range. Restored, failed and skipped items by VB365's statistics; viewed items, and "
            f"bytes that were exported, saved and sent, by its events. {_NEEDS_BOTH}",
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


def views_by_session() -> timeseries.Panel:
    """Who reads instead of restoring."""
    views = open_or_ended_in_last_day(series(_EVENTS, operation="View"))
    return (
        coarse(
            chart(
                f"Views by session, the {_MOST_VIEWS} most",
                f"Items that were opened for viewing; the table below names the organizations. {_WHICH} each moment. Whoever looks at hundreds may be "
                f"reading other people's data. {_NEEDS_EVENTS}",
                {"{{session_id}}": f"topk({_MOST_VIEWS}, sum by (session_id) ({views}))"},
            )
        )
        .decimals(0)
        .span(8)
        .height(8)
    )


def most_active_sessions() -> table.Panel:
    """The sessions that let out most."""
    let_out = open_or_ended_in_last_day(series(_BYTES, operation=_LET_OUT))
    sessions = f"sum by ({', '.join(_SESSION_LABELS)}) ({let_out})"
    return (
        data_table(
            "What each session did, last 24 hours",
            f"{_WHICH} the end of the time range. Let out: bytes that were exported, saved or sent. Sort by a column to find "
            f"who viewed or let out most. {_NEEDS_BOTH}",
            [
                Column(header="Let out", expression=sessions, unit=units.BytesIEC, width=100),
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
            sort_by="Let out",
            descending=True,
        )
        .span(24)
        .height(10)
    )


def _of_session(header: str, metric: str, color: str = "", **equal: str) -> Column:
    return replace(_column(header, _SESSION_LABELS, metric, color, **equal), width=80)
