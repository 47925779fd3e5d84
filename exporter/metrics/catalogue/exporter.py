"""The exporter's own families; `telemetry` sets their values."""

from __future__ import annotations

from exporter.metrics.catalogue.family import Family, Kind

EXPORTER_FAMILIES: tuple[Family, ...] = (
    Family(
        name="vb365_polls_total",
        kind=Kind.COUNTER,
        help="Completed polls of the server, successful or not.",
        labels=("server",),
    ),
    Family(
        name="vb365_poll_failures_total",
        kind=Kind.COUNTER,
        help="Failed polls of the server, labelled with the reason for the first failure.",
        labels=("server", "reason"),
    ),
    Family(
        name="vb365_polls_overrun_total",
        kind=Kind.COUNTER,
        help="Polls that took longer than the poll interval.",
        labels=("server",),
    ),
    Family(
        name="vb365_api_requests_total",
        kind=Kind.COUNTER,
        help="Requests sent to the API, by HTTP status code; code is error if there was no response.",
        labels=("server", "operation", "code"),
    ),
    Family(
        name="vb365_api_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="Duration of requests to the API, including those without a response.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_api_retries_total",
        kind=Kind.COUNTER,
        help="Retries of failed requests to the API.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_records_rejected_total",
        kind=Kind.COUNTER,
        help="Records in API responses that are not valid restore sessions or organizations, or exceed a limit; counted each "
        "time they are read.",
        labels=("server", "reason"),
    ),
    Family(
        name="vb365_unknown_values_total",
        kind=Kind.COUNTER,
        help="Unrecognised enum values in API responses, exposed as Unknown, and creation times in the future by the "
        "server's own time; counted each time they are read.",
        labels=("server", "field"),
    ),
    Family(
        name="vb365_extras_failures_total",
        kind=Kind.COUNTER,
        help="Failed requests for session extras (statistics, events), by reason; they do not fail a poll.",
        labels=("server", "extra", "reason"),
    ),
    Family(
        name="vb365_change_feed_connected",
        help="Whether the exporter is connected to the server's change feed; only for servers that have one.",
        labels=("server",),
    ),
    Family(
        name="vb365_change_feed_last_event_timestamp_seconds",
        help="Unix time at which the last change feed event for a restore session was received.",
        labels=("server",),
    ),
    Family(
        name="vb365_change_feed_events_total",
        kind=Kind.COUNTER,
        help="Change feed events received for restore sessions (updates and deletions).",
        labels=("server", "event"),
    ),
    Family(
        name="vb365_exporter_build_info",
        help="Always 1; the labels are the versions of the exporter and of Python.",
        labels=("version", "python_version"),
    ),
    Family(
        name="vb365_exporter_poll_interval_seconds",
        help="Interval between polls of servers without a poll_interval of their own.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_successful",
        help="Whether the last attempt to load the configuration succeeded.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_success_timestamp_seconds",
        help="Unix time at which the configuration was last loaded successfully.",
    ),
    Family(
        name="vb365_exporter_audit_write_failures_total",
        kind=Kind.COUNTER,
        help="Failed writes to the audit log; unwritten events are kept and retried.",
    ),
)
