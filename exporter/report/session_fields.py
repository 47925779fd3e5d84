"""A session of the report as fields, the same in CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.text import json_value, label_value
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["FIELDS", "session_fields"]

FIELDS = (
    "server",
    "id",
    "organization",
    "type",
    "state",
    "result",
    "created",
    "ended",
    "duration_seconds",
    "active_seconds",
    "proves_restore",
    "items_processed",
    "items_restored",
    "items_failed",
    "items_skipped",
)
"""The fields that every session has. The fields in `info_labels` follow."""


def session_fields(
    server: str, session: RestoreSession, info_labels: Sequence[str]
) -> dict[str, object]:
    """Return a session's fields by name; None means unknown or not applicable."""
    items, events = session.statistics, session.events
    values: tuple[object, ...] = (
        label_value(server),
        session.id,
        session.organization,
        session.type,
        session.state,
        session.result,
        session.creation_time,
        session.ended_at,
        session.duration_seconds,
        events and events.active_seconds,
        session.proves_restore,
        session.processed_items,
        items and items.restored,
        items and items.failed,
        items and items.skipped,
    )
    info: dict[str, object] = {name: label_value(getattr(session, name)) for name in info_labels}
    return {**dict(zip(FIELDS, map(json_value, values), strict=True)), **info}
