"""The families of single restore sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain

from exporter.config import Extra
from exporter.metrics.catalogue.family import (
    RESULTS,
    Sample,
    SessionFamily,
    SessionSamples,
    SessionStateSet,
    SessionValue,
)
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionState

SESSION_LABELS = ("server", "session_id", "organization", "type")


def _end(session: RestoreSession) -> float | None:
    return None if session.ended_at is None else session.ended_at.timestamp()


_ALWAYS: tuple[SessionFamily, ...] = (
    SessionStateSet(
        name="vb365_restore_session_state",
        help="State of the restore session (API field state): 1 for the current state, 0 for the others.",
        labels=("state",),
        current=lambda session: session.state,
        known=(SessionState.WORKING, SessionState.STOPPED),
        unknown=SessionState.UNKNOWN,
    ),
    SessionStateSet(
        name="vb365_restore_session_result",
        help="Result of the finished restore session (API field result): 1 for its result, 0 for the others.",
        labels=("result",),
        current=lambda session: session.result,
        known=RESULTS,
        unknown=SessionResult.UNKNOWN,
    ),
    SessionValue(
        name="vb365_restore_session_duration_seconds",
        help="Duration of the finished restore session (API fields endTime minus creationTime).",
        value=lambda session: session.duration_seconds,
    ),
    SessionValue(
        name="vb365_restore_session_start_timestamp_seconds",
        help="Unix time at which the restore session was opened (API field creationTime).",
        value=lambda session: session.creation_time.timestamp(),
    ),
    SessionValue(
        name="vb365_restore_session_end_timestamp_seconds",
        help="Unix time at which the finished restore session ended (API field endTime).",
        value=_end,
    ),
    SessionValue(
        name="vb365_restore_session_processed_items",
        help='Items processed by the restore session; only if API field details has the form "N items processed".',
        value=lambda session: session.processed_items,
    ),
)


def _items(session: RestoreSession) -> Iterable[Sample]:
    if session.statistics is None:
        return ()
    return [((outcome,), items) for outcome, items in session.statistics.by_outcome().items()]


def _events(session: RestoreSession) -> Iterable[Sample]:
    if session.events is None:
        return ()
    return sorted(session.events.counts.items())


def _event_bytes(session: RestoreSession) -> Iterable[Sample]:
    if session.events is None:
        return ()
    return [((operation,), size) for operation, size in sorted(session.events.size_bytes.items())]


def _last_event(session: RestoreSession) -> float | None:
    if session.events is None or session.events.last_event_at is None:
        return None
    return session.events.last_event_at.timestamp()


_OF_EXTRAS: Mapping[Extra, Sequence[SessionFamily]] = {
    "statistics": (
        SessionSamples(
            name="vb365_restore_session_items",
            help="Items of the restore session by outcome (API fields restoredItemsCount, failedItemsCount and skippedItemsCount of Statistics).",
            labels=("outcome",),
            samples=_items,
        ),
    ),
    "events": (
        SessionSamples(
            name="vb365_restore_session_events",
            help="Events of the restore session (API fields type and status of Events); combinations without events have no series.",
            labels=("operation", "status"),
            samples=_events,
        ),
        SessionSamples(
            name="vb365_restore_session_event_bytes",
            help="Total size of the items in the restore session's events (API field itemSizeBytes of Events).",
            labels=("operation",),
            samples=_event_bytes,
        ),
        SessionValue(
            name="vb365_restore_session_last_event_timestamp_seconds",
            help="Unix time of the newest event of the restore session, including the event that opens it (API fields startTime and endTime of Events).",
            value=_last_event,
        ),
        SessionValue(
            name="vb365_restore_session_active_duration_seconds",
            help="Time from the start of the first item event of the restore session to the end of the last; item events have an API field type other than None.",
            value=lambda session: None if session.events is None else session.events.active_seconds,
        ),
    ),
}


def session_families(
    info_labels: Sequence[str] = (), extras: Collection[Extra] = ()
) -> tuple[SessionFamily, ...]:
    """Return the families of single sessions that a configuration enables.

    Args:
        info_labels: fields of a session that become labels of `vb365_restore_session_info`.
        extras: the extras that are requested for sessions of any server.
    """
    info = (_info_family(info_labels),) if info_labels else ()
    of_extras = chain.from_iterable(_OF_EXTRAS[extra] for extra in _OF_EXTRAS if extra in extras)
    return (*_ALWAYS, *info, *of_extras)


def _info_family(info_labels: Sequence[str]) -> SessionFamily:
    """Return the family with the personal data that the configuration allows."""
    return SessionSamples(
        name="vb365_restore_session_info",
        help="Always 1; the labels are the API fields of the restore session listed in info_labels.",
        labels=tuple(info_labels),
        samples=lambda session: [(tuple([getattr(session, field) for field in info_labels]), 1.0)],
    )
