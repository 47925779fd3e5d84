"""A session of the report as fields, the same in CSV and JSON."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.text import format_instant, label_value
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
    ended, seconds, items = session.ended_at, session.duration_seconds, session.statistics
    active = None if session.events is None else session.events.active_seconds
    values: tuple[object, ...] = (
        label_value(server),
        session.id,
        session.organization,
        session.type,
        session.state,
        session.result,
        format_instant(session.creation_time),
        None if ended is None else format_instant(ended),
        None if seconds is None else round(seconds, 3),
        None if active is None else round(active, 3),
        session.proves_restore,
        session.processed_items,
        items and items.restored,
        items and items.failed,
        items and items.skipped,
    )
    info: dict[str, object] = {name: label_value(getattr(session, name)) for name in info_labels}
    return {**dict(zip(FIELDS, values, strict=True)), **info}
