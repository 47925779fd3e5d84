"""Sample lines of sessions and servers, byte for byte as the client library's `generate_latest` writes them.

The library takes several microseconds per sample, and a server may have a hundred thousand sessions with nine samples
each. Here the labels that a session's samples share are formatted once, and so are the lines of each state set value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from itertools import accumulate

from exporter.metrics.catalogue import SNAPSHOT_FAMILIES
from exporter.metrics.catalogue.family import (
    TYPES,
    Family,
    SessionFamily,
    SessionSamples,
    SessionStateSet,
    SessionValue,
    SnapshotFamily,
)
from exporter.metrics.catalogue.sessions import SESSION_LABELS
from exporter.metrics.text_format import escaped, go_float, sample_lines, series_template
from exporter.polling.snapshot import DURATION_BUCKETS_SECONDS, DurationHistogram, Snapshot
from exporter.vb365.records.restore_session import RestoreSession

_SHARED = tuple(sorted(SESSION_LABELS))
_Shared = tuple[str, str, str, str]
"""The `escaped` values of the `_SHARED` labels for one session."""
_BOUNDS = (*map(go_float, DURATION_BUCKETS_SECONDS), "+Inf")


def render_sessions(
    server: str, sessions: Sequence[RestoreSession], families: Iterable[SessionFamily]
) -> list[bytes]:
    """Return the sample lines of each family, in the order of `families`."""
    server = escaped(server)
    shared = [(escaped(one.organization), server, one.id, one.type.value) for one in sessions]
    pairs = [
        f'organization="{organization}",server="{server}",session_id="{session_id}",type="{kind}"'
        for organization, server, session_id, kind in shared
    ]
    rendered = []
    for family in families:
        match family:
            case SessionValue():
                text = _values(family, sessions, pairs)
            case SessionStateSet():
                text = _state_sets(family, sessions, shared)
            case SessionSamples():
                text = _samples_of_sessions(family, sessions, shared)
            case _:
                raise TypeError(f"cannot render {type(family).__name__}")
        rendered.append(text.encode())
    return rendered


def render_snapshot(snapshot: Snapshot) -> list[bytes]:
    """Return the sample lines of each family of a server and its organizations, in the order of `SNAPSHOT_FAMILIES`."""
    server = escaped(snapshot.server)
    return [
        (
            _samples_of_snapshot(family, server, snapshot)
            if isinstance(family, SnapshotFamily)
            else _finished_durations(family, server, snapshot)
        ).encode()
        for family in SNAPSHOT_FAMILIES
    ]


def _values(family: SessionValue, sessions: Sequence[RestoreSession], pairs: Sequence[str]) -> str:
    name = family.name
    values = map(family.value, sessions)
    return "".join(
        [
            f"{name}{{{labels}}} {go_float(value)}\n"
            for labels, value in zip(pairs, values, strict=True)
            if value is not None
        ]
    )


def _state_sets(
    family: SessionStateSet, sessions: Sequence[RestoreSession], shared: Sequence[_Shared]
) -> str:
    templates = {one: _state_set_template(family, one) for one in (*family.known, family.unknown)}
    return "".join(
        [
            lines % (labels * count)
            for labels, current in zip(shared, map(family.current, sessions), strict=True)
            if current is not None
            for lines, count in (templates[current],)
        ]
    )


def _state_set_template(family: SessionStateSet, current: StrEnum) -> tuple[str, int]:
    """Return the lines for sessions with this value, with placeholders for the shared labels, and the number of lines."""
    (label,) = family.labels
    shown = family.known if current in family.known else (*family.known, current)
    lines = (
        f"{series_template(family.name, _SHARED, **{label: one})} {go_float(one is current)}\n"
        for one in shown
    )
    return "".join(lines), len(shown)


def _samples_of_sessions(
    family: SessionSamples, sessions: Sequence[RestoreSession], shared: Sequence[_Shared]
) -> str:
    return sample_lines(
        family.name,
        (*_SHARED, *family.labels),
        (
            ((*labels, *map(escaped, own)), value)
            for labels, session in zip(shared, sessions, strict=True)
            for own, value in family.samples(session)
        ),
    )


def _samples_of_snapshot(family: SnapshotFamily, server: str, snapshot: Snapshot) -> str:
    merged: dict[tuple[str, ...], float] = {}
    for values, value in family.samples(snapshot):
        key = (server, *map(escaped, values))
        merged[key] = family.merge(merged[key], value) if key in merged else value
    return sample_lines(family.name, ("server", *family.labels), merged.items())


def _finished_durations(family: Family, server: str, snapshot: Snapshot) -> str:
    name, labels = family.name, family.labels
    lines = []
    histograms = {**dict.fromkeys(TYPES, DurationHistogram()), **snapshot.activity.durations}
    for kind, histogram in histograms.items():
        key = (server, kind.value)
        buckets = zip(_BOUNDS, accumulate(histogram.counts), strict=True)
        lines += [
            sample_lines(
                f"{name}_bucket",
                (*labels, "le"),
                (((*key, bound), count) for bound, count in buckets),
            ),
            sample_lines(f"{name}_count", labels, [(key, sum(histogram.counts))]),
            sample_lines(f"{name}_sum", labels, [(key, histogram.sum_seconds)]),
        ]
    return "".join(lines)
