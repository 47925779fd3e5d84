"""The report as one HTML file for print and screen: no scripts, no external resources, every value escaped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from exporter import __version__
from exporter.report import charts
from exporter.report.summarize import OrganizationSummary, Report
from exporter.text import human_duration, label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionType
from exporter.web.status.formatting import counted, read_template, template_environment

_BUFFERED_PARTS = 1_000
_TYPES = tuple(one for one in SessionType if one is not SessionType.UNKNOWN)
_KIND_NAMES = {
    "success": "restored",
    "warning": "restored with a warning",
    "failed": "failed",
    "nothing": "nothing restored",
    "unknown": "result or items unknown",
}


def render_html(report: Report) -> Iterator[bytes]:
    """Yield the page in parts, so that a long page is never in memory as a whole."""
    environment = template_environment(
        "exporter.report",
        day="{:%Y-%m-%d}".format,
        duration=human_duration,
        items=_items,
        label=label_value,
        minute="{:%Y-%m-%d %H:%M}".format,
    )
    stream = environment.get_template("report.html").stream(
        report=report,
        scope=report.scope,
        totals=report.totals,
        proven_organizations=sum(_is_proven_in_period(report, one) for one in report.organizations),
        types=_types(report),
        chart=charts.bar_chart(report),
        chart_height=charts.HEIGHT,
        kind_names=_KIND_NAMES,
        kind_of=charts.kind_of,
        since_of=lambda moment: max(0.0, (report.scope.until - moment).total_seconds()),
        age=lambda moment: _age(report.scope.until, moment),
        age_percent=lambda moment: charts.age_percent(
            (report.scope.until - moment).total_seconds() / 86_400
        ),
        several_servers=len(report.servers) + len(report.failed_servers) > 1,
        program_version=__version__,
        style=read_template("exporter.report", "report.css"),
    )
    stream.enable_buffering(_BUFFERED_PARTS)
    return (part.encode() for part in stream)


def _types(report: Report) -> tuple[SessionType, ...]:
    """Return the types that have a column: all known types, and Unknown if a session has it."""
    found = {summary.type for one in report.organizations for summary in one.types}
    return _TYPES if found.issubset(_TYPES) else (*_TYPES, SessionType.UNKNOWN)


def _is_proven_in_period(report: Report, organization: OrganizationSummary) -> bool:
    return any(ended >= report.scope.since for ended in organization.last_proven_by_type.values())


def _age(now: datetime, moment: datetime) -> str:
    """Return an age in calendar days: hours do not matter to a reader of evidence."""
    days = max(0, (now.date() - moment.date()).days)
    return "today" if days == 0 else counted(days, "day")


def _items(session: RestoreSession) -> str:
    """Return the number of items by outcome or, if that is unknown, the number of processed items."""
    if session.statistics is not None and session.statistics.by_outcome():
        counts = session.statistics.by_outcome().items()
        return ", ".join(
            f"{count:,} {outcome}" for outcome, count in counts if count or outcome == "restored"
        )
    return "" if session.processed_items is None else f"{session.processed_items:,}"
