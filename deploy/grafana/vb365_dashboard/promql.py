"""Expressions shared by panels.

Every expression follows these rules:

* It names no job, and takes the maximum of a series over all labels that scrapers and stores add, so that a session
  counts once, however many instances are scraped.
* Without series it has no result; a 0 comes only from series whose value is 0.
* Restore sessions are counted by their timestamps, not by the increase of counters: the counts are whole numbers and
  stay correct when the exporter was restarted or down.
"""

from __future__ import annotations

from collections.abc import Mapping

from exporter.metrics.catalogue import all_families
from exporter.metrics.catalogue.family import Family, Kind, SessionFamily, SnapshotFamily
from exporter.metrics.catalogue.sessions import SESSION_LABELS

__all__ = [
    "INSTANCE",
    "JOB",
    "LABELS",
    "RULES",
    "SELECTED",
    "by_exporter",
    "by_version",
    "ended_in_interval",
    "ended_in_last_day",
    "ended_in_range",
    "increase_in_range",
    "of_selected_results",
    "open_or_ended_in_last_day",
    "open_sessions",
    "per_minute",
    "quantile_of_histogram",
    "selector",
    "series",
    "started_in_last_day",
]

_LAST_DAY = "> time() - 86400"

# Raw strings and the format "regex": names of organizations contain quotes and backslashes, and Grafana's default escaping
# is not safe within a quoted string.
SELECTED = {name: f"{name}=~`${{{name}:regex}}`" for name in ("server", "organization", "type")}

# In the form that Grafana's dashboard linter expects.
JOB, INSTANCE = 'job=~"$job"', 'instance=~"$instance"'

RULES: Mapping[str, tuple[str, ...]] = {
    "vb365:restore_objective_threshold_seconds": ("type",),
    "organization:vb365_restore_sessions_with_objective:last_day": (
        "server",
        "organization",
        "type",
    ),
    "organization:vb365_restore_sessions_within_objective:last_day": (
        "server",
        "organization",
        "type",
    ),
    "organization:vb365_restore_sessions_within_objective:ratio30d": ("server", "organization"),
    "type:vb365_restore_sessions_within_objective:ratio30d": ("server", "type"),
}
"""Recording rules and their labels. They have a `job` but no `instance`; thresholds have neither."""


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
    **RULES,
}


def selector(metric: str, **equal: str | tuple[str, ...]) -> str:
    """Return a selector of a metric, limited to the dashboard's variables; a tuple matches any of its values.

    Raises:
        KeyError: neither a metric of the exporter nor a recording rule.
    """
    selected = [matcher for label, matcher in SELECTED.items() if label in LABELS[metric]]
    equals = (_matcher(*one) for one in equal.items())
    return f"{metric}{{{', '.join((*_of_scrape(metric), *selected, *equals))}}}"


def _of_scrape(metric: str) -> tuple[str, ...]:
    if metric not in RULES:
        return (JOB, INSTANCE)
    return (JOB,) if "server" in RULES[metric] else ()


def _matcher(label: str, value: str | tuple[str, ...]) -> str:
    return f'{label}="{value}"' if isinstance(value, str) else f'{label}=~"{"|".join(value)}"'


def series(metric: str, **equal: str | tuple[str, ...]) -> str:
    """Return the series that `selector` matches, without duplicates.

    Raises:
        KeyError: no such metric in the exporter.
    """
    return f"max by ({', '.join(LABELS[metric])}) ({selector(metric, **equal)})"


def open_sessions() -> str:
    """Return the sessions that are not Stopped, including those in an unknown state."""
    return f"{selector('vb365_restore_session_state', state='Stopped')} == 0"


def started_in_last_day() -> str:
    """Return the start times of sessions that started within 24 hours before the evaluation time."""
    return f"{series('vb365_restore_session_start_timestamp_seconds')} {_LAST_DAY}"


def ended_in_last_day(of: str) -> str:
    """Return those of the series whose sessions ended within 24 hours before the evaluation time."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    return f"{of} and on (server, session_id) ({ended} {_LAST_DAY})"


def ended_in_interval(result: str) -> str:
    """Return the number of sessions that ended with a result in the interval before the evaluation time."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    of_result = of_selected_results(series("vb365_restore_session_result", result=result))
    return f"count({of_result} == 1 and on (server, session_id) ({ended} > time() - $__interval_ms / 1000))"


def of_selected_results(of: str) -> str:
    """Return an expression whose first selector is limited to the results selected at the top of the dashboard."""
    return of.replace("{", "{result=~`${result:regex}`, ", 1)


def open_or_ended_in_last_day(of: str) -> str:
    """Return those of the series whose sessions are open or ended within 24 hours before the evaluation time."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    return f"{of} unless on (server, session_id) ({ended} <= time() - 86400)"


def ended_in_range(of: str) -> str:
    """Return those of the series whose sessions ended within the dashboard's time range with a selected result."""
    ended = selector("vb365_restore_session_end_timestamp_seconds")
    result = of_selected_results(selector("vb365_restore_session_result"))
    return f"{of} and on (server, session_id) ({ended} >= ${{__from}} / 1000) and on (server, session_id) ({result} == 1)"


def increase_in_range(counter: str, by: str, **equal: str) -> str:
    """Return the increase of a counter over the dashboard's time range, summed by a label.

    Raises:
        KeyError: no such metric in the exporter.
    """
    labels = ", ".join(LABELS[counter])
    return f"sum by ({by}) (max by ({labels}) (increase({selector(counter, **equal)}[$__range])))"


def per_minute(counter: str, *by: str) -> str:
    """Return the per-minute rate of a counter, summed over servers and exporter instances.

    Raises:
        KeyError: no such metric in the exporter.
    """
    grouping = f" by ({', '.join(by)})" if by else ""
    return f"60 * sum{grouping} ({_rates(counter)})"


def quantile_of_histogram(
    quantile: float, histogram: str, *by: str, **equal: str | tuple[str, ...]
) -> str:
    """Return a quantile of a histogram over the rate interval.

    Raises:
        KeyError: no such metric in the exporter.
    """
    buckets = f"sum by ({', '.join((*by, 'le'))}) ({_rates(f'{histogram}_bucket', **equal)})"
    return f"histogram_quantile({quantile}, {buckets}) >= 0"  # drops NaN, the quantile of an empty histogram


def _rates(counter: str, **equal: str | tuple[str, ...]) -> str:
    labels = ", ".join((*LABELS[counter], "instance"))
    return f"max by ({labels}) (rate({selector(counter, **equal)}[$__rate_interval]))"


def by_exporter(metric: str, window: str = "") -> str:
    """Return a metric of exporter instances, or the increase of a counter in a window, with the exporter's version as a label."""
    value = f"{metric}{{{JOB}, {INSTANCE}}}"
    if window:
        value = f"increase({value}[{window}])"
    return (
        "max by (instance, version, python_version) ("
        f"max by (job, instance) ({value}) * on (job, instance) group_left (version, python_version) "
        f"max by (job, instance, version, python_version) ({selector('vb365_exporter_build_info')}))"
    )


def by_version(of: str) -> str:
    """Return series with the label `server` alone, with the versions of VB365 and its API as labels."""
    info = series("vb365_server_info")
    return (
        "max by (server, version, api_version) "
        f"(({of}) * on (server) group_left (version, api_version) topk by (server) (1, {info}))"
    )
