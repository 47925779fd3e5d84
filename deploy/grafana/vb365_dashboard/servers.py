"""Tables of VB365 servers: polls, versions and certificates."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import SERVER
from vb365_dashboard.look import ORANGE, PALE_GREEN, RED, thresholds_of
from vb365_dashboard.promql import LABELS, by_version, selector, series
from vb365_dashboard.tables import Column, data_table

__all__ = ["polls", "versions"]

_DAY_SECONDS = 86_400
_NAME_WIDTH = 260


def polls() -> table.Panel:
    """Return a table with a row for each server."""
    left_out = f"{series('vb365_sessions_without_series')} + {series('vb365_sessions_not_kept')}"
    return (
        data_table(
            "Polls of each server",
            "State of each server as of its last poll. Listed: sessions that the account can see. Left out: sessions without series of "
            "their own (max_series) or not tracked at all (max_sessions). Overruns, rejected and unknown: polls longer than the poll "
            "interval, invalid session records and unknown enum values in the last 24 hours.",
            [
                replace(SERVER, width=_NAME_WIDTH),
                Column(
                    header="Last poll",
                    expression=series("vb365_up"),
                    words={"1": ("Complete", PALE_GREEN), "0": ("Failed", RED)},
                ),
                Column(
                    header="Last success",
                    expression=f"1000 * {series('vb365_last_successful_poll_timestamp_seconds')}",
                    unit=units.DateTimeFromNow,
                    absent="Never",
                ),
                Column(
                    header="Poll duration",
                    expression=series("vb365_last_poll_duration_seconds"),
                    unit=units.Seconds,
                    decimals=2,
                ),
                _last_day("Overruns", "vb365_polls_overrun_total"),
                Column(
                    header="Listed",
                    expression=series("vb365_sessions_listed"),
                    unit=units.NoUnit,
                ),
                Column(
                    header="Known",
                    expression=series("vb365_sessions_known"),
                    unit=units.NoUnit,
                ),
                Column(
                    header="Left out",
                    expression=left_out,
                    unit=units.NoUnit,
                    colors=thresholds_of("text", (1, ORANGE)),
                ),
                _last_day("Rejected", "vb365_records_rejected_total"),
                _last_day("Unknown", "vb365_unknown_values_total"),
            ],
            sort_by="Last poll",
            descending=False,
        )
        .span(24)
        .height(6)
    )


def _last_day(header: str, counter: str) -> Column:
    labels = ", ".join(LABELS[counter])
    increase = f"increase({selector(counter)}[1d])"
    return Column(
        header=header,
        expression=f"sum by (server) (max by ({labels}) ({increase}))",
        unit=units.NoUnit,
        decimals=0,
        colors=thresholds_of("text", (0.5, ORANGE)),
    )


def versions() -> table.Panel:
    """Return a table with the versions and the certificate of each server."""
    expires = series("vb365_server_certificate_not_after_timestamp_seconds")
    return (
        data_table(
            "Version and certificate of each server",
            "As of the last response. The change feed is optional and only shortens delays; it needs VB365 8, and change_feed: never "
            "turns it off.",
            [
                replace(SERVER, width=_NAME_WIDTH),
                Column(label="version", header="VB365", width=130),
                Column(label="api_version", header="API", width=80),
                Column(
                    header="Certificate",
                    expression=by_version(series("vb365_server_tls_verified")),
                    words={"1": ("Verified", PALE_GREEN), "0": ("Not verified", ORANGE)},
                ),
                Column(
                    header="Expires in",
                    expression=by_version(f"{expires} - time()"),
                    unit=units.Seconds,
                    decimals=0,
                    colors=thresholds_of(
                        RED, (7 * _DAY_SECONDS, ORANGE), (30 * _DAY_SECONDS, "text")
                    ),
                    absent="Unknown",
                ),
                Column(
                    header="Change feed",
                    expression=by_version(series("vb365_change_feed_connected")),
                    words={"1": ("Connected", PALE_GREEN), "0": ("Lost", ORANGE)},
                    absent="None",
                ),
                Column(
                    header="Last change",
                    expression=by_version(
                        f"1000 * {series('vb365_change_feed_last_event_timestamp_seconds')}"
                    ),
                    unit=units.DateTimeFromNow,
                    absent="None",
                ),
            ],
            sort_by="Server",
            descending=False,
        )
        .span(24)
        .height(6)
    )
