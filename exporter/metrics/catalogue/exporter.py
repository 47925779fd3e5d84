"""The families of the exporter itself: counted where things happen (`telemetry`), named here."""

from __future__ import annotations

from exporter.metrics.catalogue.family import Family, Kind

__all__ = ["EXPORTER_FAMILIES", "exporter_family"]


EXPORTER_FAMILIES: tuple[Family, ...] = (
    Family(
        name="vb365_polls_total",
        kind=Kind.COUNTER,
        help="Polls of the server that have ended, well or not.",
        labels=("server",),
    ),
    Family(
        name="vb365_poll_failures_total",
        kind=Kind.COUNTER,
        help="Polls that did not get everything they asked for, by the reason of their first failure.",
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
        help="Requests sent to the API, by HTTP status; error when there was no answer.",
        labels=("server", "operation", "code"),
    ),
    Family(
        name="vb365_api_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="How long requests to the API took, answered or not.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_api_retries_total",
        kind=Kind.COUNTER,
        help="Requests to the API that repeated one that had failed.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_records_rejected_total",
        kind=Kind.COUNTER,
        help="Records in answers of the API that could not be read as restore sessions, each time they were read.",
        labels=("server", "reason"),
    ),
    Family(
        name="vb365_unknown_values_total",
        kind=Kind.COUNTER,
        help="Enum values in answers of the API that are not known and shown as Unknown, each time they were read.",
        labels=("server", "field"),
    ),
    Family(
        name="vb365_extras_failures_total",
        kind=Kind.COUNTER,
        help="Extras of restore sessions (statistics, events) that the API did not answer, by reason; they do not fail a poll.",
        labels=("server", "extra", "reason"),
    ),
    Family(
        name="vb365_change_feed_connected",
        kind=Kind.GAUGE,
        help="Whether the server's change feed is followed; only where there is one.",
        labels=("server",),
    ),
    Family(
        name="vb365_change_feed_last_event_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the change feed last told of a restore session, in Unix time.",
        labels=("server",),
    ),
    Family(
        name="vb365_change_feed_events_total",
        kind=Kind.COUNTER,
        help="Updates and deletions of restore sessions that the change feed told of.",
        labels=("server", "event"),
    ),
    Family(
        name="vb365_exporter_build_info",
        kind=Kind.GAUGE,
        help="Always 1; the version of the exporter and of the Python it runs on.",
        labels=("version", "python_version"),
    ),
    Family(
        name="vb365_exporter_poll_interval_seconds",
        kind=Kind.GAUGE,
        help="How often servers are polled unless their own poll_interval says otherwise.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_successful",
        kind=Kind.GAUGE,
        help="Whether the last attempt to load the configuration succeeded.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_success_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the configuration was last loaded successfully, in Unix time.",
    ),
    Family(
        name="vb365_exporter_audit_write_failures_total",
        kind=Kind.COUNTER,
        help="Tries to write to the audit log that failed; what was to be written waits and is tried again.",
    ),
)

_EXPORTER_FAMILIES_BY_NAME = {family.name: family for family in EXPORTER_FAMILIES}


def exporter_family(name: str) -> Family:
    """The row of one of the exporter's own families.

    Raises:
        KeyError: there is no such row.
    """
    return _EXPORTER_FAMILIES_BY_NAME[name]
