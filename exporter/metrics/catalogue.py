"""Every metric family the exporter serves: one row each, with its name, help, labels and where its value comes from.

Rows of restore sessions tell their samples from a `RestoreSession`, those of organizations and servers from a
`Snapshot`; those of the exporter itself are counted where things happen (`telemetry`) and stand here for their names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import TypeVar

from exporter.polling.snapshot import Snapshot
from exporter.vb365.model import RestoreSession, SessionResult, SessionState, SessionType

__all__ = [
    "EXPORTER_FAMILIES",
    "FINISHED_DURATION",
    "ORGANIZATION_FAMILIES",
    "SERVER_FAMILIES",
    "SESSION_FAMILIES",
    "SESSION_LABELS",
    "Family",
    "Kind",
    "Merge",
    "SessionFamily",
    "SnapshotFamily",
    "all_families",
    "exporter_family",
    "session_info_family",
]


class Kind(Enum):
    """The type of a family."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


class Merge(Enum):
    """What becomes of values whose labels are equal once they are fit to be labels."""

    SUM = "sum"
    OLDEST = "oldest"
    NEWEST = "newest"


LabelValues = tuple[str, ...]
Sample = tuple[LabelValues, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """A metric family."""

    name: str
    """With `_total` where it is a counter."""
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFamily(Family):
    """A family with samples for single sessions; `labels` are those beyond `SESSION_LABELS`."""

    samples: Callable[[RestoreSession], Sequence[Sample]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotFamily(Family):
    """A family with samples for a server or its organizations; `labels` are those beyond `server`."""

    samples: Callable[[Snapshot], Iterable[Sample]]
    merge: Merge = Merge.SUM


SESSION_LABELS = ("server", "session_id", "organization", "type")

TYPES: tuple[SessionType, ...] = tuple(
    kind for kind in SessionType if kind is not SessionType.UNKNOWN
)
RESULTS: tuple[SessionResult, ...] = tuple(
    result for result in SessionResult if result is not SessionResult.UNKNOWN
)

_NONE: Sequence[Sample] = ()
_AS_OF_THE_LAST_POLL = " (as of the last poll)"

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
    return _NONE if session.result is None else _RESULT_SAMPLES[session.result]


def _duration(session: RestoreSession) -> Sequence[Sample]:
    seconds = session.duration_seconds
    return _NONE if seconds is None else (((), seconds),)


def _start(session: RestoreSession) -> Sequence[Sample]:
    return (((), session.creation_time.timestamp()),)


def _end(session: RestoreSession) -> Sequence[Sample]:
    if session.end_time is None or not session.stopped:
        return _NONE
    return (((), session.end_time.timestamp()),)


def _processed_items(session: RestoreSession) -> Sequence[Sample]:
    items = session.processed_items
    return _NONE if items is None else (((), float(items)),)


SESSION_FAMILIES: tuple[SessionFamily, ...] = (
    SessionFamily(
        name="vb365_restore_session_state",
        kind=Kind.GAUGE,
        help="1 at the state the restore session is in, 0 at the others; API field state"
        + _AS_OF_THE_LAST_POLL
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


# Organizations


def _with_zeros(
    organizations: Iterable[str], counts: Mapping[tuple[str, SessionType], float]
) -> Iterator[Sample]:
    for organization in organizations:
        unknown = (organization, SessionType.UNKNOWN) in counts
        for kind in (*TYPES, SessionType.UNKNOWN) if unknown else TYPES:
            yield (organization, kind.value), float(counts.get((organization, kind), 0))


def _with_zeros_by_result(
    organizations: Iterable[str], counts: Mapping[tuple[str, SessionType, SessionResult], float]
) -> Iterator[Sample]:
    for organization in organizations:
        for kind in TYPES:
            for result in RESULTS:
                yield (
                    (organization, kind.value, result.value),
                    float(counts.get((organization, kind, result), 0)),
                )
    for (organization, kind, result), count in counts.items():
        if kind is SessionType.UNKNOWN or result is SessionResult.UNKNOWN:
            yield (organization, kind.value, result.value), float(count)


def _working(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    counts = Counter((one.session.organization, one.session.type) for one in snapshot.running)
    return _with_zeros(snapshot.activity.organizations, counts)


def _stopped(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    return _with_zeros_by_result(snapshot.activity.organizations, snapshot.stopped)


def _oldest_working(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    oldest: dict[tuple[str, SessionType], datetime] = {}
    for running in snapshot.running:
        session = running.session
        key = (session.organization, session.type)
        oldest[key] = min(session.creation_time, oldest.get(key, session.creation_time))
    return [
        ((organization, kind.value), created.timestamp())
        for (organization, kind), created in oldest.items()
    ]


def _last_end(snapshot: Snapshot) -> Iterable[Sample]:
    return [
        ((organization, kind.value, result.value), ended.timestamp())
        for (organization, kind, result), ended in snapshot.last_end.items()
    ]


def _started(snapshot: Snapshot) -> Iterable[Sample]:
    return _with_zeros(snapshot.activity.organizations, snapshot.activity.started)


def _finished(snapshot: Snapshot) -> Iterable[Sample]:
    return _with_zeros_by_result(snapshot.activity.organizations, snapshot.activity.finished)


ORGANIZATION_FAMILIES: tuple[SnapshotFamily, ...] = (
    SnapshotFamily(
        name="vb365_restore_sessions_working",
        kind=Kind.GAUGE,
        help="Restore sessions that run: every API state but Stopped" + _AS_OF_THE_LAST_POLL + ".",
        labels=("organization", "type"),
        samples=_working,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_stopped",
        kind=Kind.GAUGE,
        help="Restore sessions that ended within lookback, and configured ones that have ended; an Explorer that was "
        "opened and closed counts as Success, whether items were restored or not.",
        labels=("organization", "type", "result"),
        samples=_stopped,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_oldest_working_start_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the restore session that has been running longest was opened, in Unix time; API field creationTime.",
        labels=("organization", "type"),
        samples=_oldest_working,
        merge=Merge.OLDEST,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_last_end_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the newest ended restore session ended, in Unix time; API field endTime.",
        labels=("organization", "type", "result"),
        samples=_last_end,
        merge=Merge.NEWEST,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_started_total",
        kind=Kind.COUNTER,
        help="Restore sessions seen to start since the exporter started.",
        labels=("organization", "type"),
        samples=_started,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_finished_total",
        kind=Kind.COUNTER,
        help="Restore sessions seen to finish since the exporter started.",
        labels=("organization", "type", "result"),
        samples=_finished,
    ),
)

FINISHED_DURATION = Family(
    name="vb365_restore_sessions_finished_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="Durations of the restore sessions seen to finish since the exporter started: endTime minus creationTime.",
    labels=("server", "type"),
)


# Servers


def _optional(value: float | None) -> Sequence[Sample]:
    return _NONE if value is None else (((), float(value)),)


def _found(snapshot: Snapshot) -> Iterable[Sample]:
    return [((found.session_id,), float(found.found)) for found in snapshot.found_ids]


def _server_info(snapshot: Snapshot) -> Sequence[Sample]:
    status = snapshot.status
    if status.api_version is None:
        return _NONE
    return (((status.version or "", status.api_version), 1.0),)


def _certificate(snapshot: Snapshot) -> Sequence[Sample]:
    expires = snapshot.status.certificate_not_after
    return _optional(expires.timestamp() if expires else None)


SERVER_FAMILIES: tuple[SnapshotFamily, ...] = (
    SnapshotFamily(
        name="vb365_restore_session_found",
        kind=Kind.GAUGE,
        help="Whether a configured restore session exists on the server: 0 when the API answers 404.",
        labels=("session_id",),
        samples=_found,
    ),
    SnapshotFamily(
        name="vb365_up",
        kind=Kind.GAUGE,
        help="Whether the last poll of the server got everything it asked for.",
        samples=lambda snapshot: _optional(snapshot.status.up),
    ),
    SnapshotFamily(
        name="vb365_server_info",
        kind=Kind.GAUGE,
        help="Always 1; version is API field version of ServiceInstance, api_version the prefix that is used.",
        labels=("version", "api_version"),
        samples=_server_info,
    ),
    SnapshotFamily(
        name="vb365_server_tls_verified",
        kind=Kind.GAUGE,
        help="Whether the server's certificate is verified: 0 when insecure_skip_verify is set.",
        samples=lambda snapshot: _optional(snapshot.status.tls_verified),
    ),
    SnapshotFamily(
        name="vb365_server_certificate_not_after_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the server's certificate expires, in Unix time.",
        samples=_certificate,
    ),
    SnapshotFamily(
        name="vb365_last_poll_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the last poll ended, in Unix time; polls follow the exporter's own timer, not the scrapes.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_successful_poll_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the last poll that got everything it asked for ended, in Unix time.",
        samples=lambda snapshot: _optional(snapshot.status.last_success_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_poll_duration_seconds",
        kind=Kind.GAUGE,
        help="How long the last poll took.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_duration_seconds),
    ),
    SnapshotFamily(
        name="vb365_sessions_known",
        kind=Kind.GAUGE,
        help="Restore sessions the exporter keeps of the server; what it can see depends on the account.",
        samples=lambda snapshot: _optional(snapshot.sessions_known),
    ),
    SnapshotFamily(
        name="vb365_sessions_without_series",
        kind=Kind.GAUGE,
        help="Restore sessions that are counted but have no series of their own, because of max_series.",
        samples=lambda snapshot: _optional(snapshot.sessions_without_series),
    ),
    SnapshotFamily(
        name="vb365_sessions_not_kept",
        kind=Kind.GAUGE,
        help="Restore sessions that are left out altogether, because of max_sessions.",
        samples=lambda snapshot: _optional(snapshot.sessions_not_kept),
    ),
)


# The exporter itself

EXPORTER_FAMILIES: tuple[Family, ...] = (
    Family(
        name="vb365_polls_total",
        kind=Kind.COUNTER,
        help="Polls of the server that have ended, well or not.",
        labels=("server",),
    ),
    Family(
        name="vb365_poll_failures_total",
        kind=Kind.COUNTER,
        help="Polls that did not get everything they asked for, by the reason of their first failure.",
        labels=("server", "reason"),
    ),
    Family(
        name="vb365_polls_overrun_total",
        kind=Kind.COUNTER,
        help="Polls that took longer than the poll interval.",
        labels=("server",),
    ),
    Family(
        name="vb365_api_requests_total",
        kind=Kind.COUNTER,
        help="Requests sent to the API, by HTTP status; error when there was no answer.",
        labels=("server", "operation", "code"),
    ),
    Family(
        name="vb365_api_request_duration_seconds",
        kind=Kind.HISTOGRAM,
        help="How long requests to the API took, answered or not.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_api_retries_total",
        kind=Kind.COUNTER,
        help="Requests to the API that repeated one that had failed.",
        labels=("server", "operation"),
    ),
    Family(
        name="vb365_records_rejected_total",
        kind=Kind.COUNTER,
        help="Records in answers of the API that could not be read as restore sessions, each time they were read.",
        labels=("server", "reason"),
    ),
    Family(
        name="vb365_unknown_values_total",
        kind=Kind.COUNTER,
        help="Enum values in answers of the API that are not known and shown as Unknown, each time they were read.",
        labels=("server", "field"),
    ),
    Family(
        name="vb365_exporter_build_info",
        kind=Kind.GAUGE,
        help="Always 1; the version of the exporter and of the Python it runs on.",
        labels=("version", "python_version"),
    ),
    Family(
        name="vb365_exporter_poll_interval_seconds",
        kind=Kind.GAUGE,
        help="How often servers are polled unless their own poll_interval says otherwise.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_successful",
        kind=Kind.GAUGE,
        help="Whether the last attempt to load the configuration succeeded.",
    ),
    Family(
        name="vb365_exporter_config_last_reload_success_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the configuration was last loaded successfully, in Unix time.",
    ),
)

_EXPORTER_FAMILIES_BY_NAME = {family.name: family for family in EXPORTER_FAMILIES}


def exporter_family(name: str) -> Family:
    """The row of one of the exporter's own families.

    Raises:
        KeyError: there is no such row.
    """
    return _EXPORTER_FAMILIES_BY_NAME[name]


def all_families(info_labels: Sequence[str] = ()) -> tuple[Family, ...]:
    """Every family but those of the process and the interpreter, which the client library names."""
    info = (session_info_family(info_labels),) if info_labels else ()
    return (
        *SESSION_FAMILIES,
        *info,
        *ORGANIZATION_FAMILIES,
        FINISHED_DURATION,
        *SERVER_FAMILIES,
        *EXPORTER_FAMILIES,
    )
