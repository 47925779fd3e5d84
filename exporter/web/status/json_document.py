"""The status page as JSON, for scripts; docs/status-page.md describes the properties."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields

from exporter.text import format_instant, json_value, replace_surrogates
from exporter.web.status.formatting import product_name
from exporter.web.status.page import (
    MissingSession,
    Organization,
    ServerCard,
    SessionRow,
    StatusPage,
)
from exporter.web.status.thresholds import RECENT_SECONDS
from exporter.web.status.verdict import verdict

_FORMAT = 1


def render_json(page: StatusPage) -> str:
    """Render the page's data. Lists are as long as in `StatusPage`; totals are complete."""
    findings = verdict(page)
    document = {
        "format": _FORMAT,
        "exporter_version": page.version,
        "generated": format_instant(page.generated),
        "verdict": {
            "level": findings[0].level,
            "findings": [
                {"level": one.level, "text": replace_surrogates(one.text)} for one in findings
            ],
        },
        "servers": _objects(page.servers),
        "missing": _objects(page.missing),
        "failed": {
            "period_seconds": RECENT_SECONDS,
            "total": page.failed_total,
            "sessions": _objects(page.failed),
        },
        "running": {
            "total": page.running_total,
            "left_open": page.left_open_total,
            "sessions": _objects(page.running),
        },
        "finished": {
            "period_seconds": RECENT_SECONDS,
            "complete": not page.recent_partial,
            "results": {result.lower(): count for result, count in page.recent_totals.items()},
            "sessions": _objects(page.finished),
        },
        "organizations": {
            "total": page.organizations_total,
            "organizations": _objects(page.organizations),
        },
    }
    return json.dumps(document, indent=2) + "\n"


def _objects(
    records: Iterable[ServerCard | MissingSession | SessionRow | Organization],
) -> list[dict[str, object]]:
    """Return records as JSON objects. A session's type is followed by its name in words; `info` is spread."""
    objects = []
    for record in records:
        values: dict[str, object] = {}
        for field in fields(record):
            value = getattr(record, field.name)
            if field.name == "info":
                values |= value
            else:
                values[field.name] = json_value(value)
            if field.name == "type":
                values["workload"] = product_name(value)
        objects.append(values)
    return objects
