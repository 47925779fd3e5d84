"""The families that sum up the restore sessions of an organization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import product

from exporter.metrics.catalogue.family import (
    RESULTS,
    TYPES,
    Family,
    Kind,
    Sample,
    SnapshotFamily,
)
from exporter.polling.snapshot import Snapshot
from exporter.vb365.records.restore_session import SessionResult, SessionType

__all__ = ["FINISHED_DURATION", "ORGANIZATION_FAMILIES"]


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
        for kind, result in product(TYPES, RESULTS):
            count = counts.get((organization, kind, result), 0)
            yield (organization, kind.value, result.value), float(count)
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
        help="Running restore sessions as of the last poll: every API state except Stopped.",
        labels=("organization", "type"),
        samples=_working,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_stopped",
        kind=Kind.GAUGE,
        help="Finished restore sessions within lookback, and those configured by id; an Explorer that was opened and "
        "closed counts as Success, whether or not items were restored.",
        labels=("organization", "type", "result"),
        samples=_stopped,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_oldest_working_start_timestamp_seconds",
        kind=Kind.GAUGE,
        help="Unix time at which the oldest running restore session was opened (API field creationTime).",
        labels=("organization", "type"),
        samples=_oldest_working,
        merge=min,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_last_end_timestamp_seconds",
        kind=Kind.GAUGE,
        help="Unix time at which the latest finished restore session ended (API field endTime).",
        labels=("organization", "type", "result"),
        samples=_last_end,
        merge=max,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_started_total",
        kind=Kind.COUNTER,
        help="Restore sessions observed to start since the exporter started.",
        labels=("organization", "type"),
        samples=_started,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_finished_total",
        kind=Kind.COUNTER,
        help="Restore sessions observed to finish since the exporter started.",
        labels=("organization", "type", "result"),
        samples=_finished,
    ),
)

FINISHED_DURATION = Family(
    name="vb365_restore_sessions_finished_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="Durations of restore sessions observed to finish since the exporter started (API fields endTime minus creationTime).",
    labels=("server", "type"),
)
