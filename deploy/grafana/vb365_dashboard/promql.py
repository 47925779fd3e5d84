"""Expressions that panels share.

Rules that every expression keeps:

* It knows no job name, and takes the maximum of a series over whatever labels scrapers and stores add: a session counts
  once, however many of them bring it.
* Where there are no series it has no result. 0 comes only from series that say 0.
* Restore sessions are counted by their timestamps, not by the growth of counters: that gives whole numbers, and the right
  ones after the exporter was restarted or down.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.metrics.catalogue import (
    SESSION_LABELS,
    Family,
    Kind,
    SessionFamily,
    SnapshotFamily,
    all_families,
)

__all__ = [
    "LABELS",
    "SELECTED",
    "by_exporter",
    "ended_in_last_day",
    "ended_in_range",
    "open_or_ended_in_last_day",
    "open_sessions",
    "per_minute",
    "quantile_of_histogram",
    "selector",
    "series",
    "started_in_last_day",
]

_LAST_DAY = "> time() - 86400"

# Raw strings and the format "regex": organizations have quotes and backslashes in their names, and what Grafana escapes
# by itself is not safe within a quoted string.
SELECTED = {name: f"{name}=~`${{{name}:regex}}`" for name in ("server", "organization", "type")}


def _labels_of(family: Family) -> tuple[str, ...]:
    if isinstance(family, SessionFamily):
        return (*SESSION_LABELS, *family.labels)
    return ("server", *family.labels) if isinstance(family, SnapshotFamily) else family.labels


LABELS: Mapping[str, tuple[str, ...]] = {
    **{family.name: _labels_of(family) for family in all_families()},
    **{
        f"{family.name}_bucket": (*_labels_of(family), "le")
        for family in all_families()
        if family.kind is Kind.HISTOGRAM
    },
}


def selector(metric: str, **equal: str | tuple[str, ...]) -> str:
    """The series of a metric, of what is selected at the top of the dashboard; a label is one of several values.

    Raises:
        KeyError: the exporter has no such metric.
    """
    selected = [matcher for label, matcher in SELECTED.items() if label in LABELS[metric]]
    matchers = ", ".join([*selected, *(_matcher(*one) for one in equal.items())])
    return f"{metric}{{{matchers}}}" if matchers else metric


def _matcher(label: str, value: str | tuple[str, ...]) -> str:
    return f'{label}="{value}"' if isinstance(value, str) else f'{label}=~"{"|".join(value)}"'


def series(metric: str, **equal: str | tuple[str, ...]) -> str:
    """The same, each series once.

    Raises:
        KeyError: the exporter has no such metric.
    """
    return f"max by ({', '.join(LABELS[metric])}) ({selector(metric, **equal)})"


def open_sessions() -> str:
    """Sessions that are not Stopped, those in an unknown state too."""
    return f"{selector('vb365_restore_session_state', state='Stopped')} == 0"


def started_in_last_day() -> str:
    """When sessions started, of those that did in the 24 hours before the moment that is looked at."""
    return f"{series('vb365_restore_session_start_timestamp_seconds')} {_LAST_DAY}"


def ended_in_last_day(of: str) -> str:
    """Those of these series whose sessions ended in the 24 hours before the moment that is looked at."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    return f"{of} and on (server, session_id) ({ended} {_LAST_DAY})"


def open_or_ended_in_last_day(of: str) -> str:
    """Those of these series whose sessions are open, or ended in the 24 hours before the moment that is looked at."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    return f"{of} unless on (server, session_id) ({ended} <= time() - 86400)"


def ended_in_range(of: str) -> str:
    """Those of these series whose sessions ended in the time range of the dashboard."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    return f"{of} and on (server, session_id) ({ended} >= ${{__from}} / 1000)"


def per_minute(counter: str, *by: str) -> str:
    """How often a minute servers' counters grow; what several exporters send to one server adds up.

    Raises:
        KeyError: the exporter has no such metric.
    """
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"60 * sum{grouping} ({_rates(counter)})"


def quantile_of_histogram(
    quantile: float, histogram: str, *by: str, **equal: str | tuple[str, ...]
) -> str:
    """A quantile of what a server's histogram has counted lately.

    Raises:
        KeyError: the exporter has no such metric.
    """
    buckets = f"sum by ({', '.join((*by, 'le'))}) ({_rates(f'{histogram}_bucket', **equal)})"
    return f"histogram_quantile({quantile}, {buckets}) >= 0"  # it is NaN where nothing was counted


def _rates(counter: str, **equal: str | tuple[str, ...]) -> str:
    labels = ", ".join((*LABELS[counter], "instance"))
    return f"max by ({labels}) (rate({selector(counter, **equal)}[$__rate_interval]))"


def by_exporter(metric: str) -> str:
    """A metric of the targets that are exporters, by instance and with the exporter's version."""
    return (
        "max by (instance, version, python_version) ("
        f"max by (job, instance) ({metric}) * on (job, instance) group_left (version, python_version) "
        "max by (job, instance, version, python_version) (vb365_exporter_build_info))"
    )
