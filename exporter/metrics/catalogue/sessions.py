"""The families of single restore sessions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter

from exporter.config import Extra
from exporter.metrics.catalogue.family import (
    AS_OF_THE_LAST_POLL,
    NO_SAMPLES,
    RESULTS,
    Kind,
    LabelValues,
    Sample,
    SessionFamily,
    SessionSamples,
    SessionStateSet,
    SessionValue,
)
from exporter.vb365.records.restore_session import RestoreSession, SessionResult, SessionState

__all__ = ["SESSION_LABELS", "session_families"]

SESSION_LABELS = ("server", "session_id", "organization", "type")


def _end(session: RestoreSession) -> float | None:
    if session.end_time is None or not session.stopped:
        return None
    return session.end_time.timestamp()


_ALWAYS: tuple[SessionFamily, ...] = (
    SessionStateSet(
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
    SessionStateSet(
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


def _items(session: RestoreSession) -> Iterable[Sample]:
    statistics = session.statistics
    if statistics is None:
        return NO_SAMPLES
    outcomes = {
        "restored": statistics.restored,
        "failed": statistics.failed,
        "skipped": statistics.skipped,
    }
    return [((outcome,), float(items)) for outcome, items in outcomes.items() if items is not None]


def _events(session: RestoreSession) -> Iterable[Sample]:
    if session.events is None:
        return NO_SAMPLES
    return [
        ((operation.value, status.value), float(count))
        for (operation, status), count in sorted(session.events.counts.items())
    ]


def _event_bytes(session: RestoreSession) -> Iterable[Sample]:
    if session.events is None:
        return NO_SAMPLES
    return [
        ((operation.value,), float(size))
        for operation, size in sorted(session.events.size_bytes.items())
    ]


_OF_EXTRAS: Mapping[Extra, Sequence[SessionFamily]] = {
    "statistics": (
        SessionSamples(
            name="vb365_restore_session_items",
            kind=Kind.GAUGE,
            help="Items of the restore session by what came of them: API fields restoredItemsCount, failedItemsCount and skippedItemsCount of its Statistics.",
            labels=("outcome",),
            samples=_items,
        ),
    ),
    "events": (
        SessionSamples(
            name="vb365_restore_session_events",
            kind=Kind.GAUGE,
            help="Events of the restore session by API fields type and status of its Events; what has not happened has no series.",
            labels=("operation", "status"),
            samples=_events,
        ),
        SessionSamples(
            name="vb365_restore_session_event_bytes",
            kind=Kind.GAUGE,
            help="Sum of API field itemSizeBytes over the restore session's Events.",
            labels=("operation",),
            samples=_event_bytes,
        ),
    ),
}


def session_families(
    info_labels: Sequence[str] = (), extras: Collection[Extra] = ()
) -> tuple[SessionFamily, ...]:
    """The families that a configuration has.

    Args:
        info_labels: the fields of a session that may become labels of `vb365_restore_session_info`.
        extras: what is asked for beyond the sessions themselves, of any server.
    """
    info = (_info_family(info_labels),) if info_labels else ()
    more = (
        family for extra, families in _OF_EXTRAS.items() if extra in extras for family in families
    )
    return (*_ALWAYS, *info, *more)


def _info_family(info_labels: Sequence[str]) -> SessionFamily:
    """The family of the personal data that the configuration allows; `info_labels` name fields of the session."""
    values = attrgetter(*info_labels) if len(info_labels) > 1 else _alone(info_labels[0])
    return SessionSamples(
        name="vb365_restore_session_info",
        kind=Kind.GAUGE,
        help="Always 1; the labels are the API fields of the restore session that info_labels allows.",
        labels=tuple(info_labels),
        samples=lambda session: ((values(session), 1.0),),
    )


def _alone(field: str) -> Callable[[RestoreSession], LabelValues]:
    return lambda session: (getattr(session, field),)
