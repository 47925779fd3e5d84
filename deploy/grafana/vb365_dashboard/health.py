"""Polls, API requests and exporter instances."""

from __future__ import annotations

from grafana_foundation_sdk.builders import table, timeseries
from grafana_foundation_sdk.models import units

from vb365_dashboard.look import (
    BLUE,
    GRAY,
    ORANGE,
    PALE_GREEN,
    RED,
    chart,
    in_colors,
    stacked,
    thresholds_of,
)
from vb365_dashboard.promql import (
    by_exporter,
    per_minute,
    quantile_of_histogram,
    series,
)
from vb365_dashboard.tables import Column, data_table

__all__ = ["charts", "exporters", "optional_charts", "scrapes"]

_DAY_SECONDS = 86_400
_NAME_WIDTH = 260
_SHORT_OPERATIONS = ("token", "service_instance", "list", "get", "statistics", "events")
_NO_FAILURES = {"^none$": GRAY}


def charts() -> list[timeseries.Panel]:
    """Return the charts of polls and API requests."""
    panels = (_failures(), _requests(), _latency(), _poll_duration(), _retries(), _rejected())
    return [panel.span(8).height(7) for panel in panels]


def _failures() -> timeseries.Panel:
    failures = "vb365_poll_failures_total"
    return in_colors(
        stacked(
            chart(
                "Failed polls per minute by reason",
                "Polls that did not succeed completely, by the reason for their first failure.",
                {
                    "{{server}}: {{reason}}": f"{per_minute(failures, 'server', 'reason')} > 0",
                    "none": f"{per_minute(failures)} == 0",
                },
                shades=RED,
            )
        ),
        _NO_FAILURES,
    )


def _requests() -> timeseries.Panel:
    requests = per_minute("vb365_api_requests_total", "code")
    return in_colors(
        stacked(
            chart(
                "API requests per minute by status",
                "Requests to the VB365 API by HTTP status code; error: no response.",
                {"{{code}}": requests},
            )
        ),
        {"^2": BLUE, "^[13]": "purple", "^4": ORANGE, "^5": RED, "^error$": "dark-red"},
    )


def _latency() -> timeseries.Panel:
    return chart(
        "API response time by operation",
        "95 percent of requests, including those without a response, took no longer. Change feed requests are excluded: the "
        "server holds them until there is an event.",
        {
            "{{operation}}": quantile_of_histogram(
                0.95,
                "vb365_api_request_duration_seconds",
                "operation",
                operation=_SHORT_OPERATIONS,
            )
        },
        unit=units.Seconds,
    )


def _poll_duration() -> timeseries.Panel:
    return chart(
        "Poll duration by server",
        "Duration of the last poll. A poll that takes longer than the poll interval delays the next one.",
        {"{{server}}": series("vb365_last_poll_duration_seconds")},
        unit=units.Seconds,
    )


def _retries() -> timeseries.Panel:
    retries = per_minute("vb365_api_retries_total", "server")
    none = per_minute("vb365_api_requests_total", "server")
    return chart(
        "API retries per minute by server",
        "Retries of requests after a transient failure.",
        {"{{server}}": f"{retries} or 0 * {none}"},
    )


def _rejected() -> timeseries.Panel:
    rejected, unknown = "vb365_records_rejected_total", "vb365_unknown_values_total"
    return in_colors(
        chart(
            "Rejected records and unknown values per minute",
            "Records in API responses that are not valid restore sessions or organizations, by reason, and unknown enum values, "
            "by field. Each one is counted by every poll that reads it.",
            {
                "{{server}}: {{reason}}": f"{per_minute(rejected, 'server', 'reason')} > 0",
                "{{server}}: unknown {{field}}": f"{per_minute(unknown, 'server', 'field')} > 0",
                "none": f"{per_minute(rejected)} + {per_minute(unknown)} == 0",
            },
            shades=ORANGE,
        ),
        _NO_FAILURES,
    )


def optional_charts() -> list[timeseries.Panel]:
    """Return the charts of the change feed and of extras, whose failures do not fail a poll."""
    return [panel.span(12).height(7) for panel in (_feed(), _extras())]


def _feed() -> timeseries.Panel:
    events = per_minute("vb365_change_feed_events_total", "server", "event")
    return chart(
        "Change feed events per minute",
        "Updates and deletions of restore sessions. Empty without a change feed: before VB365 8, or with change_feed: never in "
        "the exporter's configuration.",
        {"{{server}}: {{event}}": events},
    )


def _extras() -> timeseries.Panel:
    failures = "vb365_extras_failures_total"
    return in_colors(
        chart(
            "Failed requests for extras per minute",
            "Failed requests for statistics and events of sessions, by reason; they do not fail a poll. Empty without "
            "extras: [statistics, events] in the exporter's configuration.",
            {
                "{{server}}: {{extra}}, {{reason}}": f"{per_minute(failures, 'server', 'extra', 'reason')} > 0",
                "none": f"{per_minute(failures)} == 0",
            },
            shades=ORANGE,
        ),
        _NO_FAILURES,
    )


def exporters() -> table.Panel:
    """Return a table with a row for each exporter instance."""
    return (
        data_table(
            "Exporter instances",
            "Exporters of the selected jobs and instances. Audit failures: failed writes to the audit log in the last 24 hours; what "
            "was not written is retried.",
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
                    header="Poll interval",
                    expression=by_exporter("vb365_exporter_poll_interval_seconds"),
                    unit=units.Seconds,
                ),
                Column(
                    header="Audit failures",
                    expression=by_exporter("vb365_exporter_audit_write_failures_total", "1d"),
                    unit=units.NoUnit,
                    decimals=0,
                    colors=thresholds_of("text", (0.5, RED)),
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
        .span(24)
        .height(5)
    )


def scrapes() -> timeseries.Panel:
    """Return the chart of scrape durations."""
    return (
        chart(
            "Scrape duration by exporter instance",
            "Time Prometheus took to fetch /metrics. A scrape never causes requests to VB365.",
            {"{{instance}}": by_exporter("scrape_duration_seconds")},
            unit=units.Seconds,
        )
        .span(24)
        .height(6)
    )
