"""Tables of single sessions: open ones, and those that ended within the time range."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import ORGANIZATION, SERVER, SESSION, TYPE
from vb365_dashboard.look import (
    GRAY,
    GREEN,
    IDLE,
    LEFT_OPEN,
    PALE_BLUE,
    PALE_GREEN,
    RED,
    RESULTS,
    thresholds_of,
)
from vb365_dashboard.promql import ended_in_range, open_sessions, selector, series
from vb365_dashboard.tables import Column, data_table

__all__ = ["configured_sessions_table", "finished_sessions_table", "open_sessions_table"]

_START = "vb365_restore_session_start_timestamp_seconds"
_LAST_EVENT = "vb365_restore_session_last_event_timestamp_seconds"
_STATES = {"1": ("Working", PALE_BLUE), "2": ("Unknown", GRAY)}
_RESULT_CODES = {
    str(code): (result, PALE_GREEN if color == GREEN else color)
    for code, (result, color) in enumerate(RESULTS.items(), 1)
}


def _codes(metric: str, label: str, values: list[str]) -> str:
    """Return the number of the value that each session has, counting from 1."""
    codes = " or ".join(
        f"{selector(metric, **{label: value})} * {code}" for code, value in enumerate(values, 1)
    )
    return f"max by (server, session_id, organization, type) ({codes}) > 0"


def open_sessions_table() -> table.Panel:
    """Return the table of open sessions, oldest first."""
    start = series(_START)

    def of_open(expression: str) -> str:
        return f"{expression} and on (server, session_id) ({open_sessions()})"

    states = [text for text, _ in _STATES.values()]
    return (
        data_table(
            "Open sessions, oldest first",
            "Restore sessions that are not Stopped and have series of their own (max_series prefers running sessions). "
            "Open for: orange after one day, red after three. Idle for: time since anything was opened or restored in the session, "
            "orange after 12 hours, red after a day; unknown without extras: [events] in the exporter's configuration.",
            [
                Column(
                    header="State",
                    expression=_codes("vb365_restore_session_state", "state", states),
                    words=_STATES,
                    width=90,
                ),
                Column(
                    header="Open for",
                    expression=of_open(f"time() - {start}"),
                    unit=units.DurationInDaysHoursMinutesSeconds,
                    colors=thresholds_of("text", *LEFT_OPEN),
                    width=140,
                ),
                Column(
                    header="Idle for",
                    expression=of_open(f"time() - {series(_LAST_EVENT)}"),
                    unit=units.DurationInDaysHoursMinutesSeconds,
                    colors=thresholds_of("text", *IDLE),
                    absent="Unknown",
                    width=140,
                ),
                ORGANIZATION,
                TYPE,
                Column(
                    header="Opened",
                    expression=of_open(f"1000 * {start}"),
                    unit=units.DatetimeISO,
                    width=170,
                ),
                SERVER,
                SESSION,
            ],
            sort_by="Open for",
            descending=True,
        )
        .span(24)
        .height(8)
    )


def finished_sessions_table() -> table.Panel:
    """Return the table of finished sessions, newest first."""
    end = series("vb365_restore_session_end_timestamp_seconds")
    return (
        data_table(
            "Sessions that ended in the time range, newest first",
            "Restore sessions that are Stopped with a selected result, within lookback, and have series of their own (max_series "
            "prefers new sessions).",
            [
                Column(
                    header="Result",
                    expression=ended_in_range(
                        f"({_codes('vb365_restore_session_result', 'result', list(RESULTS))})"
                    ),
                    words=_RESULT_CODES,
                    width=90,
                ),
                Column(
                    header="Ended",
                    expression=ended_in_range(f"1000 * {end}"),
                    unit=units.DateTimeFromNow,
                    width=150,
                ),
                ORGANIZATION,
                TYPE,
                Column(
                    header="Duration",
                    expression=ended_in_range(series("vb365_restore_session_duration_seconds")),
                    unit=units.DurationInDaysHoursMinutesSeconds,
                    width=100,
                ),
                Column(
                    header="Started",
                    expression=ended_in_range(f"1000 * {series(_START)}"),
                    unit=units.DatetimeISO,
                    width=170,
                ),
                Column(
                    header="Items",
                    expression=ended_in_range(series("vb365_restore_session_processed_items")),
                    unit=units.NoUnit,
                    width=80,
                ),
                SERVER,
                SESSION,
            ],
            sort_by="Ended",
            descending=True,
        )
        .span(24)
        .height(12)
    )


def configured_sessions_table() -> table.Panel:
    """Return the table of sessions with configured ids."""
    found = series("vb365_restore_session_found")

    def of_configured(expression: str) -> str:
        of_session = f"max by (server, session_id) ({expression})"
        return f"{of_session} and on (server, session_id) ({found})"

    return (
        data_table(
            "Sessions with configured ids",
            "Sessions listed under sessions.ids in the exporter's configuration. Missing: VB365 answers 404, because the session was "
            "deleted or its id is wrong; the alert Vb365ConfiguredSessionVanished fires.",
            [
                Column(
                    header="In VB365",
                    expression=found,
                    words={"1": ("Found", PALE_GREEN), "0": ("Missing", RED)},
                    width=100,
                ),
                Column(
                    header="Result",
                    expression=of_configured(
                        _codes("vb365_restore_session_result", "result", list(RESULTS))
                    ),
                    words=_RESULT_CODES,
                    absent="None yet",
                    width=100,
                ),
                Column(
                    header="Started",
                    expression=of_configured(f"1000 * {selector(_START)}"),
                    unit=units.DatetimeISO,
                    width=180,
                ),
                Column(
                    header="Ended",
                    expression=of_configured(
                        f"1000 * {selector('vb365_restore_session_end_timestamp_seconds')}"
                    ),
                    unit=units.DatetimeISO,
                    width=180,
                ),
                SERVER,
                SESSION,
            ],
            sort_by="In VB365",
            descending=False,
        )
        .span(24)
        .height(7)
    )
