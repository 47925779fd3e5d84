"""The report as JSON; `report.schema.json` describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from exporter import __version__
from exporter.report.collect import ServerEvidence
from exporter.report.session_fields import session_fields
from exporter.report.summarize import FailedServer, OrganizationSummary, Report, TypeSummary
from exporter.text import format_instant, json_value, label_value
from exporter.vb365.records.restore_session import SessionResult

__all__ = ["render_json"]

_FORMAT = 1


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
    for server, session in report.sessions():
        fields = session_fields(server, session, scope.info_labels)
        yield separator + json.dumps(fields).encode()
        separator = b",\n    "
    yield b"\n  ]\n}\n"


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
