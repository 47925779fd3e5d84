"""The families of single restore sessions."""

from __future__ import annotations

from collections.abc import Sequence

from exporter.metrics.catalogue.rows import (
    AS_OF_THE_LAST_POLL,
    RESULTS,
    Kind,
    SessionChoice,
    SessionFamily,
    SessionTexts,
    SessionValue,
)
from exporter.vb365.model import RestoreSession, SessionResult, SessionState

__all__ = ["SESSION_FAMILIES", "SESSION_LABELS", "session_info_family"]

SESSION_LABELS = ("server", "session_id", "organization", "type")


def _end(session: RestoreSession) -> float | None:
    if session.end_time is None or not session.stopped:
        return None
    return session.end_time.timestamp()


SESSION_FAMILIES: tuple[SessionFamily, ...] = (
    SessionChoice(
        name="vb365_restore_session_state",
        kind=Kind.GAUGE,
        help="1 at the state the restore session is in, 0 at the others; API field state"
        + AS_OF_THE_LAST_POLL
        + ".",
        labels=("state",),
        chosen=lambda session: session.state,
        known=(SessionState.WORKING, SessionState.STOPPED),
        unknown=SessionState.UNKNOWN,
    ),
    SessionChoice(
        name="vb365_restore_session_result",
        kind=Kind.GAUGE,
        help="1 at the result the restore session ended with, 0 at the others; only when it is Stopped; API field result.",
        labels=("result",),
        chosen=lambda session: session.result,
        known=RESULTS,
        unknown=SessionResult.UNKNOWN,
    ),
    SessionValue(
        name="vb365_restore_session_duration_seconds",
        kind=Kind.GAUGE,
        help="How long the restore session took: API field endTime minus creationTime; only when it has ended.",
        value=lambda session: session.duration_seconds,
    ),
    SessionValue(
        name="vb365_restore_session_start_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the restore session was opened, in Unix time; API field creationTime.",
        value=lambda session: session.creation_time.timestamp(),
    ),
    SessionValue(
        name="vb365_restore_session_end_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the restore session ended, in Unix time; only when it has; API field endTime.",
        value=_end,
    ),
    SessionValue(
        name="vb365_restore_session_processed_items",
        kind=Kind.GAUGE,
        help='Items the restore session processed; only when API field details has the form "N items processed".',
        value=lambda session: session.processed_items,
    ),
)


def session_info_family(info_labels: Sequence[str]) -> SessionFamily:
    """The family of the personal data that the configuration allows; `info_labels` name fields of the session."""
    fields = tuple(info_labels)
    return SessionTexts(
        name="vb365_restore_session_info",
        kind=Kind.GAUGE,
        help="Always 1; the labels are the API fields of the restore session that info_labels allows.",
        labels=fields,
        texts=lambda session: tuple(getattr(session, field) for field in fields),
    )
