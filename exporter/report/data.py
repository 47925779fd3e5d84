"""The report as data: a table of its sessions in CSV, or everything in JSON, which `report.schema.json` describes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from exporter import __version__
from exporter.report.collect import ServerEvidence
from exporter.report.summarize import FailedServer, OrganizationSummary, Report, TypeSummary
from exporter.text import format_instant, json_value, label_value
from exporter.vb365.records.restore_session import RestoreSession, SessionResult

_FORMAT = 1

_FIELDS: Mapping[str, Callable[[RestoreSession], object]] = {
    "id": lambda one: one.id,
    "organization": lambda one: one.organization,
    "type": lambda one: one.type,
    "state": lambda one: one.state,
    "result": lambda one: one.result,
    "created": lambda one: one.creation_time,
    "ended": lambda one: one.ended_at,
    "duration_seconds": lambda one: one.duration_seconds,
    "active_seconds": lambda one: one.events and one.events.active_seconds,
    "proves_restore": lambda one: one.proves_restore,
    "items_processed": lambda one: one.processed_items,
    "items_restored": lambda one: one.statistics and one.statistics.restored,
    "items_failed": lambda one: one.statistics and one.statistics.failed,
    "items_skipped": lambda one: one.statistics and one.statistics.skipped,
}
"""The fields of every session, between its server and its `info_labels`; None means unknown or not applicable."""

# Spreadsheets take these for the start of a formula, in full width too, and skip white space before them.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", " ", "＝", "＋", "－", "＠")  # noqa: RUF001


def render_csv(report: Report) -> Iterator[bytes]:
    """Yield the header, then one row per session, newest first (RFC 4180, UTF-8)."""
    yield _line(["server", *_FIELDS, *report.scope.info_labels])
    for session in _sessions(report):
        yield _line(map(_cell, session.values()))


def render_json(report: Report) -> Iterator[bytes]:
    """Yield the document in parts: first all but the sessions, then one line per session, newest first."""
    scope = report.scope
    head = {
        "format": _FORMAT,
        "exporter_version": __version__,
        "since": format_instant(scope.since),
        "until": format_instant(scope.until),
        "only_organizations": [label_value(one) for one in scope.organizations],
        "unknown_organizations": [label_value(one) for one in report.unknown_organizations],
        "complete": report.is_complete,
        "servers": [*map(_server, report.servers), *map(_failed, report.failed_servers)],
        "organizations": [_organization(one, scope.until) for one in report.organizations],
    }
    yield json.dumps(head, indent=2).removesuffix("\n}").encode() + b',\n  "sessions": ['
    separator = b"\n    "
    for session in _sessions(report):
        yield separator + json.dumps(session).encode()
        separator = b",\n    "
    yield b"\n  ]\n}\n"


def _sessions(report: Report) -> Iterator[Mapping[str, object]]:
    """Yield the fields of each session, newest first."""
    for server, session in report.sessions():
        fields = {name: json_value(read(session)) for name, read in _FIELDS.items()}
        info = {name: label_value(getattr(session, name)) for name in report.scope.info_labels}
        yield {"server": label_value(server), **fields, **info}


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _line(cells: Iterable[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()


def _server(one: ServerEvidence) -> dict[str, object]:
    return {
        "server": label_value(one.server),
        "error": None,
        "version": one.version or None,
        "api_version": one.api_version,
        "sessions_listed": one.listed,
        "oldest_session": json_value(one.oldest),
        "organizations_known": one.organizations_known,
        "records_rejected": one.rejected,
        "sessions_without_extras": one.without_extras,
    }


def _failed(one: FailedServer) -> dict[str, object]:
    error = {"reason": one.reason, "message": one.message}
    return {"server": label_value(one.server), "error": error}


def _organization(one: OrganizationSummary, now: datetime) -> dict[str, object]:
    return {
        "server": label_value(one.server),
        "organization": one.organization,
        "types": [_type(summary, now) for summary in one.types],
    }


def _type(one: TypeSummary, now: datetime) -> dict[str, object]:
    age = None if one.last_proven is None else max(0.0, (now - one.last_proven).total_seconds())
    return {
        "type": one.type,
        "sessions": one.sessions,
        "open": one.open,
        "results": {result.lower(): one.results[result] for result in SessionResult},
        "proven": one.proven,
        "items_processed": one.items_processed,
        "median_duration_seconds": json_value(one.median_seconds),
        "longest_duration_seconds": json_value(one.longest_seconds),
        "last_proven": json_value(one.last_proven),
        "last_proven_age_seconds": json_value(age),
    }
