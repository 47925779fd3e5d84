"""The status page as JSON, for scripts; docs/status-page.md describes the properties."""

from __future__ import annotations

import json
from dataclasses import asdict

from exporter.text import format_instant, json_value, replace_surrogates
from exporter.web.status.formatting import product_name
from exporter.web.status.page import ServerCard, SessionRow, StatusPage
from exporter.web.status.thresholds import RECENT_SECONDS
from exporter.web.status.verdict import Finding, verdict

_FORMAT = 1


def render_json(page: StatusPage) -> str:
    """Render the page's data. Lists are as long as in `StatusPage`; totals are complete."""
    judged = verdict(page)
    document = {
        "format": _FORMAT,
        "exporter_version": page.version,
        "generated": format_instant(page.generated),
        "verdict": {
            "level": judged.headline.level,
            "findings": [_finding(one) for one in (judged.headline, *judged.also)],
        },
        "servers": [_server(one) for one in page.servers],
        "missing": [{"server": one.server, "id": one.session_id} for one in page.missing],
        "failed": {
            "period_seconds": RECENT_SECONDS,
            "total": page.failed_total,
            "sessions": [_session(row, page) for row in page.failed],
            "without_series": [
                {
                    "server": one.server,
                    "organization": one.organization,
                    "type": one.type,
                    "workload": product_name(one.type),
                    "ended": format_instant(one.ended),
                }
                for one in page.unlisted_failures
            ],
        },
        "running": {
            "total": page.running_total,
            "left_open": page.left_open_total,
            "sessions": [_session(row, page) for row in page.running],
        },
        "finished": {
            "period_seconds": RECENT_SECONDS,
            "complete": not page.recent_partial,
            "results": {result.lower(): count for result, count in page.recent_totals},
            "sessions": [_session(row, page) for row in page.finished],
        },
        "organizations": {
            "total": page.organizations_total,
            "organizations": [
                {
                    "server": one.server,
                    "organization": one.name,
                    "last_restored": json_value(one.last_restored),
                }
                for one in page.organizations
            ],
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _finding(one: Finding) -> dict[str, str]:
    return {"level": one.level, "text": replace_surrogates(one.text)}


def _server(card: ServerCard) -> dict[str, object]:
    fields = asdict(card)
    renamed = {"reason": "failure_reason", "detail": "failure_message"}
    return {renamed.get(name, name): json_value(value) for name, value in fields.items()}


def _session(row: SessionRow, page: StatusPage) -> dict[str, object]:
    fields = {
        "server": row.server,
        "id": row.session_id,
        "organization": row.organization,
        "type": row.type,
        "workload": product_name(row.type),
        "state": row.state,
        "result": row.result,
        "created": row.started,
        "ended": row.ended,
        "duration_seconds": row.duration_seconds,
        "idle_seconds": row.idle_seconds,
        "left_open": row.left_open,
        "configured": row.configured,
        "items_processed": row.items_processed,
        "items_failed": row.items_failed,
        **dict(zip(page.info_labels, row.info, strict=True)),
    }
    return {name: json_value(value) for name, value in fields.items()}
