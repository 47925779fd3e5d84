"""Whether the exporter gets its answers, and what it costs."""

from __future__ import annotations

from dataclasses import replace

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.columns import SERVER
from vb365_dashboard.look import (
    BLUE,
    GRAY,
    ORANGE,
    PALE_GREEN,
    RED,
    bands,
    chart,
    in_colors,
    stacked,
)
from vb365_dashboard.promql import (
    by_exporter,
    per_minute,
    quantile_of_histogram,
    selector,
    series,
)
from vb365_dashboard.tables import Column, data_table

__all__ = ["beyond_polls", "charts", "exporters", "scrapes", "servers"]

_DAY_SECONDS = 86_400
_WIDTH_OF_NAMES = 260
_ANSWERED_AT_ONCE = ("token", "service_instance", "list", "get", "statistics", "events")
_NOTHING_HAPPENS = {"^none$": GRAY}


def servers() -> table.Panel:
    """A row for each server."""
    rejected = f"increase({selector('vb365_records_rejected_total')}[1d])"
    left_out = f"{series('vb365_sessions_without_series')} + {series('vb365_sessions_not_kept')}"
    expires = series("vb365_server_certificate_not_after_timestamp_seconds")
    return (
        data_table(
            "Polls of each server",
            "What the exporter knows of each server. Left out: sessions without series of their own (max_series) or not kept at "
            "all (max_sessions). Rejected: records of the last 24 hours that were no restore sessions. The change feed makes things "
            "faster and is not needed; only VB365 8 has one, and change_feed: never switches it off.",
            [
                replace(SERVER, width=_WIDTH_OF_NAMES),
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
                Column(
                    header="Sessions known",
                    expression=series("vb365_sessions_known"),
                    unit=units.NoUnit,
                ),
                Column(
                    header="Left out",
                    expression=left_out,
                    unit=units.NoUnit,
                    colors=bands("text", (1, ORANGE)),
                ),
                Column(
                    header="Rejected",
                    expression=f"sum by (server) (max by (server, reason) ({rejected}))",
                    unit=units.NoUnit,
                    decimals=0,
                    colors=bands("text", (0.5, ORANGE)),
                ),
                Column(
                    header="Change feed",
                    expression=series("vb365_change_feed_connected"),
                    words={"1": ("Connected", PALE_GREEN), "0": ("Lost", ORANGE)},
                    absent="None",
                ),
                Column(
                    header="Last change",
                    expression=f"1000 * {series('vb365_change_feed_last_event_timestamp_seconds')}",
                    unit=units.DateTimeFromNow,
                    absent="None",
                ),
                Column(
                    header="Certificate",
                    expression=series("vb365_server_tls_verified"),
                    words={"1": ("Verified", PALE_GREEN), "0": ("Not verified", ORANGE)},
                ),
                Column(
                    header="Expires in",
                    expression=f"{expires} - time()",
                    unit=units.Seconds,
                    decimals=0,
                    colors=bands(RED, (7 * _DAY_SECONDS, ORANGE), (30 * _DAY_SECONDS, "text")),
                    absent="Not known",
                ),
            ],
            sort_by="Last poll",
            descending=False,
        )
        .span(24)
        .height(6)
    )


def charts() -> list[timeseries.Panel]:
    """What happens between the exporter and the servers."""
    panels = (_failures(), _requests(), _latency(), _poll_duration(), _retries(), _rejected())
    return [panel.span(8).height(7) for panel in panels]


def _failures() -> timeseries.Panel:
    failures = "vb365_poll_failures_total"
    return in_colors(
        stacked(
            chart(
                "Failed polls per minute by reason",
                "Polls that did not get everything they asked for, by the reason of their first failure.",
                {
                    "{{server}}: {{reason}}": f"{per_minute(failures, 'server', 'reason')} > 0",
                    "none": f"{per_minute(failures)} == 0",
                },
                shades=RED,
            )
        ),
        _NOTHING_HAPPENS,
    )


def _requests() -> timeseries.Panel:
    requests = per_minute("vb365_api_requests_total", "code")
    return in_colors(
        stacked(
            chart(
                "API requests per minute by status",
                "Requests to the VB365 API by HTTP status; error: no answer.",
                {"{{code}}": requests},
            )
        ),
        {"^2": BLUE, "^[13]": "purple", "^4": ORANGE, "^5": RED, "^error$": "dark-red"},
    )


def _latency() -> timeseries.Panel:
    return chart(
        "API response time by operation (95th percentile)",
        "19 of 20 requests, answered or not, took no longer. Without the change feed, whose requests the server holds until "
        "something happens.",
        {
            "{{operation}}": quantile_of_histogram(
                0.95,
                "vb365_api_request_duration_seconds",
                "operation",
                operation=_ANSWERED_AT_ONCE,
            )
        },
        unit=units.Seconds,
    )


def _poll_duration() -> timeseries.Panel:
    return chart(
        "Poll duration by server",
        "How long the last poll took. One that takes longer than the poll interval delays the next.",
        {"{{server}}": series("vb365_last_poll_duration_seconds")},
        unit=units.Seconds,
    )


def _retries() -> timeseries.Panel:
    retries = per_minute("vb365_api_retries_total", "server")
    none = per_minute("vb365_api_requests_total", "server")
    return chart(
        "Repeated API requests per minute by server",
        "Requests that repeated one that had failed for a passing reason.",
        {"{{server}}": f"{retries} or 0 * {none}"},
    )


def _rejected() -> timeseries.Panel:
    rejected, unknown = "vb365_records_rejected_total", "vb365_unknown_values_total"
    return in_colors(
        chart(
            "Unreadable records per minute",
            "Records of the API that were no restore sessions, by reason, and values it used that the exporter does not know. "
            "Each is counted at every poll that reads it.",
            {
                "{{server}}: {{reason}}": f"{per_minute(rejected, 'server', 'reason')} > 0",
                "{{server}}: unknown {{field}}": f"{per_minute(unknown, 'server', 'field')} > 0",
                "none": f"{per_minute(rejected)} + {per_minute(unknown)} == 0",
            },
            shades=ORANGE,
        ),
        _NOTHING_HAPPENS,
    )


def beyond_polls() -> list[timeseries.Panel]:
    """What comes beside the polls and does not fail them."""
    return [panel.span(12).height(7) for panel in (_feed(), _extras())]


def _feed() -> timeseries.Panel:
    events = per_minute("vb365_change_feed_events_total", "server", "event")
    return chart(
        "Changes per minute that the change feed told of",
        "Updates and deletions of restore sessions, seen within seconds. Empty without a change feed: before VB365 8, and with "
        "change_feed: never in the exporter's configuration.",
        {"{{server}}: {{event}}": events},
    )


def _extras() -> timeseries.Panel:
    failures = "vb365_extras_failures_total"
    return in_colors(
        chart(
            "Extras per minute that were not answered",
            "Statistics and events of sessions that VB365 did not give, by reason; polls do not fail by that. Empty without "
            "extras: [statistics, events] in the exporter's configuration.",
            {
                "{{server}}: {{extra}}, {{reason}}": f"{per_minute(failures, 'server', 'extra', 'reason')} > 0",
                "none": f"{per_minute(failures)} == 0",
            },
            shades=ORANGE,
        ),
        _NOTHING_HAPPENS,
    )


def exporters() -> table.Panel:
    """A row for each instance of the exporter."""
    return (
        data_table(
            "Exporter instances",
            "Every instance that the data source knows of, whatever is selected above.",
            [
                Column(label="instance", header="Instance", width=200),
                Column(label="version", header="Version"),
                Column(label="python_version", header="Python"),
                Column(
                    header="Configuration",
                    expression=by_exporter("vb365_exporter_config_last_reload_successful"),
                    words={"1": ("Loaded", PALE_GREEN), "0": ("Reload failed", RED)},
                ),
                Column(
                    header="Loaded",
                    expression="1000 * "
                    + by_exporter("vb365_exporter_config_last_reload_success_timestamp_seconds"),
                    unit=units.DateTimeFromNow,
                ),
                Column(
                    header="Polls every",
                    expression=by_exporter("vb365_exporter_poll_interval_seconds"),
                    unit=units.Seconds,
                ),
                Column(
                    header="Memory",
                    expression=by_exporter("process_resident_memory_bytes"),
                    unit=units.BytesIEC,
                    decimals=0,
                ),
            ],
            sort_by="Instance",
            descending=False,
        )
        .span(16)
        .height(7)
    )


def scrapes() -> timeseries.Panel:
    """What Prometheus waits for."""
    return (
        chart(
            "Scrape duration by exporter instance",
            "How long Prometheus took to fetch /metrics. The exporter never asks VB365 for a scrape.",
            {"{{instance}}": by_exporter("scrape_duration_seconds")},
            unit=units.Seconds,
        )
        .span(8)
        .height(7)
    )
