"""The families of single restore sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TypeVar

from exporter.metrics.catalogue.rows import (
    AS_OF_THE_LAST_POLL,
    NO_SAMPLES,
    RESULTS,
    Kind,
    Sample,
    SessionFamily,
)
from exporter.vb365.model import RestoreSession, SessionResult, SessionState

__all__ = ["SESSION_FAMILIES", "SESSION_LABELS", "session_info_family"]

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


def session_info_family(info_labels: Sequence[str]) -> SessionFamily:
    """The family of the personal data that the configuration allows; `info_labels` name fields of the session."""
    fields = tuple(info_labels)
    return SessionFamily(
        name="vb365_restore_session_info",
        kind=Kind.GAUGE,
        help="Always 1; the labels are the API fields of the restore session that info_labels allows.",
        labels=fields,
        samples=lambda session: ((tuple(getattr(session, field) for field in fields), 1.0),),
    )
