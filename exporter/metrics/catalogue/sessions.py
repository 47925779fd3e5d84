"""The families of single restore sessions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from exporter.config import Extra
from exporter.metrics.catalogue.rows import (
    AS_OF_THE_LAST_POLL,
    NO_SAMPLES,
    RESULTS,
    Kind,
    Sample,
    SessionFamily,
)
from exporter.vb365.model import RestoreSession, SessionResult, SessionState

__all__ = ["SESSION_FAMILIES", "SESSION_LABELS", "session_families"]

SESSION_LABELS = ("server", "session_id", "organization", "type")

_Member = TypeVar("_Member", bound=StrEnum)


def _one_hot(known: Iterable[_Member], unknown: _Member) -> Mapping[_Member, Sequence[Sample]]:
    """For each value the samples that show it: 1 at its own label, 0 at those of the other known values."""
    known = tuple(known)
    samples: dict[_Member, Sequence[Sample]] = {
        value: tuple(((member.value,), float(member is value)) for member in known)
        for value in known
    }
    samples[unknown] = (*(((member.value,), 0.0) for member in known), ((unknown.value,), 1.0))
    return samples


_STATE_SAMPLES = _one_hot((SessionState.WORKING, SessionState.STOPPED), SessionState.UNKNOWN)
_RESULT_SAMPLES = _one_hot(RESULTS, SessionResult.UNKNOWN)


def _state(session: RestoreSession) -> Sequence[Sample]:
    return _STATE_SAMPLES[session.state]


def _result(session: RestoreSession) -> Sequence[Sample]:
    return NO_SAMPLES if session.result is None else _RESULT_SAMPLES[session.result]


def _duration(session: RestoreSession) -> Sequence[Sample]:
    seconds = session.duration_seconds
    return NO_SAMPLES if seconds is None else (((), seconds),)


def _start(session: RestoreSession) -> Sequence[Sample]:
    return (((), session.creation_time.timestamp()),)


def _end(session: RestoreSession) -> Sequence[Sample]:
    if session.end_time is None or not session.stopped:
        return NO_SAMPLES
    return (((), session.end_time.timestamp()),)


def _processed_items(session: RestoreSession) -> Sequence[Sample]:
    items = session.processed_items
    return NO_SAMPLES if items is None else (((), float(items)),)


SESSION_FAMILIES: tuple[SessionFamily, ...] = (
    SessionFamily(
        name="vb365_restore_session_state",
        kind=Kind.GAUGE,
        help="1 at the state the restore session is in, 0 at the others; API field state"
        + AS_OF_THE_LAST_POLL
        + ".",
        labels=("state",),
        samples=_state,
    ),
    SessionFamily(
        name="vb365_restore_session_result",
        kind=Kind.GAUGE,
        help="1 at the result the restore session ended with, 0 at the others; only when it is Stopped; API field result.",
        labels=("result",),
        samples=_result,
    ),
    SessionFamily(
        name="vb365_restore_session_duration_seconds",
        kind=Kind.GAUGE,
        help="How long the restore session took: API field endTime minus creationTime; only when it has ended.",
        samples=_duration,
    ),
    SessionFamily(
        name="vb365_restore_session_start_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the restore session was opened, in Unix time; API field creationTime.",
        samples=_start,
    ),
    SessionFamily(
        name="vb365_restore_session_end_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the restore session ended, in Unix time; only when it has; API field endTime.",
        samples=_end,
    ),
    SessionFamily(
        name="vb365_restore_session_processed_items",
        kind=Kind.GAUGE,
        help='Items the restore session processed; only when API field details has the form "N items processed".',
        samples=_processed_items,
    ),
)


def _items(session: RestoreSession) -> Sequence[Sample]:
    statistics = session.statistics
    if statistics is None:
        return NO_SAMPLES
    outcomes = {
        "restored": statistics.restored,
        "failed": statistics.failed,
        "skipped": statistics.skipped,
    }
    return [((outcome,), float(items)) for outcome, items in outcomes.items() if items is not None]


def _events(session: RestoreSession) -> Sequence[Sample]:
    if session.events is None:
        return NO_SAMPLES
    return [
        ((operation.value, status.value), float(count))
        for (operation, status), count in sorted(session.events.counts.items())
    ]


def _event_bytes(session: RestoreSession) -> Sequence[Sample]:
    if session.events is None:
        return NO_SAMPLES
    return [
        ((operation.value,), float(size))
        for operation, size in sorted(session.events.size_bytes.items())
    ]


_OF_EXTRAS: Mapping[Extra, Sequence[SessionFamily]] = {
    "statistics": (
        SessionFamily(
            name="vb365_restore_session_items",
            kind=Kind.GAUGE,
            help="Items of the restore session by what came of them: API fields restoredItemsCount, failedItemsCount and skippedItemsCount of its Statistics.",
            labels=("outcome",),
            samples=_items,
        ),
    ),
    "events": (
        SessionFamily(
            name="vb365_restore_session_events",
            kind=Kind.GAUGE,
            help="Events of the restore session by API fields type and status of its Events; what has not happened has no series.",
            labels=("operation", "status"),
            samples=_events,
        ),
        SessionFamily(
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
    return (*SESSION_FAMILIES, *info, *more)


def _info_family(info_labels: Sequence[str]) -> SessionFamily:
    """The family of the personal data that the configuration allows; `info_labels` name fields of the session."""
    fields = tuple(info_labels)
    return SessionFamily(
        name="vb365_restore_session_info",
        kind=Kind.GAUGE,
        help="Always 1; the labels are the API fields of the restore session that info_labels allows.",
        labels=fields,
        samples=lambda session: ((tuple(getattr(session, field) for field in fields), 1.0),),
    )
