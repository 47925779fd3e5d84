"""The families that summarize the restore sessions of each organization."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import product
from typing import Any

from exporter.metrics.catalogue.family import (
    RESULTS,
    TYPES,
    Family,
    Kind,
    Sample,
    SnapshotFamily,
)
from exporter.polling.snapshot import Snapshot, StartedKey
from exporter.vb365.records.extras import EventOperation

_OUTCOMES = ("restored", "failed", "skipped")
_OPERATIONS = tuple(one for one in EventOperation if one is not EventOperation.UNKNOWN)


def _with_zeros(
    snapshot: Snapshot, counts: Mapping[Any, float], *known: Iterable[str]
) -> Iterable[Sample]:
    """Return the counts, and 0 for each known combination of every organization that has none."""
    zeros = dict.fromkeys(product(snapshot.activity.organizations, *known), 0)
    return {**zeros, **counts}.items()


def _timestamps(moments: Mapping[Any, datetime]) -> Iterable[Sample]:
    return [(key, moment.timestamp()) for key, moment in moments.items()]


def _working(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    counts = Counter((one.session.organization, one.session.type) for one in snapshot.running)
    samples = _with_zeros(snapshot, counts, TYPES)
    return [sample for sample in samples if sample[0] not in snapshot.working_unknown]


def _stopped(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    return _with_zeros(snapshot, snapshot.stopped, TYPES, RESULTS)


def _oldest_working(snapshot: Snapshot) -> Iterable[Sample]:
    if not snapshot.listed:
        return ()
    oldest: dict[StartedKey, datetime] = {}
    for running in snapshot.running:
        session = running.session
        key = (session.organization, session.type)
        if key not in snapshot.working_unknown:
            oldest[key] = min(session.creation_time, oldest.get(key, session.creation_time))
    return _timestamps(oldest)


def _restored_items(snapshot: Snapshot) -> Iterable[Sample]:
    activity = snapshot.activity
    if "statistics" not in activity.extras:
        return ()
    return _with_zeros(snapshot, activity.restored_items, TYPES, _OUTCOMES)


def _event_bytes(snapshot: Snapshot) -> Iterable[Sample]:
    activity = snapshot.activity
    if "events" not in activity.extras:
        return ()
    return _with_zeros(snapshot, activity.event_bytes, TYPES, _OPERATIONS)


ORGANIZATION_FAMILIES: tuple[SnapshotFamily, ...] = (
    SnapshotFamily(
        name="vb365_restore_sessions_working",
        help="Running restore sessions: every API state except Stopped.",
        labels=("organization", "type"),
        samples=_working,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_stopped",
        help="Finished restore sessions within lookback, and those configured by id; an Explorer that was opened and "
        "closed counts as Success, whether or not items were restored.",
        labels=("organization", "type", "result"),
        samples=_stopped,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_oldest_working_start_timestamp_seconds",
        help="Unix time at which the oldest running restore session was opened (API field creationTime).",
        labels=("organization", "type"),
        samples=_oldest_working,
        merge=min,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_last_end_timestamp_seconds",
        help="Unix time at which the latest finished restore session ended (API field endTime).",
        labels=("organization", "type", "result"),
        samples=lambda snapshot: _timestamps(snapshot.last_end),
        merge=max,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_last_restored_timestamp_seconds",
        help="Unix time at which the latest restore session that restored at least one item ended with Success or Warning; "
        "of all sessions that the server lists, however old (API fields endTime and details, or extras).",
        labels=("organization", "type"),
        samples=lambda snapshot: _timestamps(snapshot.last_restored),
        merge=max,
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_started_total",
        kind=Kind.COUNTER,
        help="Restore sessions observed to start since the exporter started.",
        labels=("organization", "type"),
        samples=lambda snapshot: _with_zeros(snapshot, snapshot.activity.started, TYPES),
    ),
    SnapshotFamily(
        name="vb365_restore_sessions_finished_total",
        kind=Kind.COUNTER,
        help="Restore sessions observed to finish since the exporter started.",
        labels=("organization", "type", "result"),
        samples=lambda snapshot: _with_zeros(snapshot, snapshot.activity.finished, TYPES, RESULTS),
    ),
    SnapshotFamily(
        name="vb365_restored_items_total",
        kind=Kind.COUNTER,
        help="Items of restore sessions observed to finish since the exporter started; each session is counted once, when its Statistics "
        "are final (API fields restoredItemsCount, failedItemsCount and skippedItemsCount).",
        labels=("organization", "type", "outcome"),
        samples=_restored_items,
    ),
    SnapshotFamily(
        name="vb365_restore_event_bytes_total",
        kind=Kind.COUNTER,
        help="Total size of the items in the events of restore sessions observed to finish since the exporter started; each session is "
        "counted once, when its Events are final (API field itemSizeBytes).",
        labels=("organization", "type", "operation"),
        samples=_event_bytes,
    ),
)

FINISHED_DURATION = Family(
    name="vb365_restore_sessions_finished_duration_seconds",
    kind=Kind.HISTOGRAM,
    help="Durations of restore sessions observed to finish since the exporter started (API fields endTime minus creationTime).",
    labels=("server", "type"),
)
