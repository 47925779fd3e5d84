"""Session families rendered as text, line by line as the client library's `generate_latest` writes them.

The library costs several microseconds a sample; a server may have a hundred thousand sessions with nine samples each.
Here the labels that all samples of a session share are written once, and what a choice looks like is written once for
all sessions.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from itertools import repeat

from exporter.metrics.catalogue import (
    SESSION_LABELS,
    SessionFamily,
    SessionSamples,
    SessionStateSet,
    SessionValue,
)
from exporter.metrics.labels import escaped
from exporter.metrics.lines import label_pair, sample_lines
from exporter.metrics.numbers import go_float
from exporter.vb365.records.restore_session import RestoreSession, SessionType

__all__ = ["render_sessions"]

# generate_latest sorts labels by name; so do we, and the order of the shared ones never changes.
_SHARED = tuple(sorted(SESSION_LABELS))

_TYPE_PAIRS = {kind: label_pair("type", kind) for kind in SessionType}

Columns = Sequence[Sequence[str]]
"""For each of the labels `_SHARED` its pairs, one for each session."""


def render_sessions(
    server: str, sessions: Sequence[RestoreSession], families: Iterable[SessionFamily]
) -> list[bytes]:
    """The sample lines of each family, in the order of `families`."""
    columns = _shared_pairs(server, sessions)
    pairs = _side_by_side(columns)
    rendered = []
    for family in families:
        match family:
            case SessionValue():
                text = _values(family, sessions, pairs)
            case SessionStateSet():
                text = _choices(family, sessions, columns)
            case SessionSamples():
                text = _samples(family, sessions, columns)
            case _:
                raise TypeError(f"no way to render {type(family).__name__}")
        rendered.append(text.encode())
    return rendered


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


def _choices(family: SessionStateSet, sessions: Sequence[RestoreSession], columns: Columns) -> str:
    (label,) = family.labels
    place = bisect(_SHARED, label)
    before, after = _side_by_side(columns[:place]), _side_by_side(columns[place:])
    templates = _templates(family)
    return "".join(
        [
            lines % ((head, tail) * count)
            for head, tail, chosen in zip(before, after, map(family.chosen, sessions), strict=True)
            if chosen is not None
            for lines, count in (templates[chosen],)
        ]
    )


def _templates(family: SessionStateSet) -> Mapping[StrEnum, tuple[str, int]]:
    """For each value the lines that show it, with places for the labels before and behind its own, and how many."""
    (label,) = family.labels

    def lines(chosen: StrEnum) -> tuple[str, int]:
        shown = family.known if chosen in family.known else (*family.known, chosen)
        template = "".join(
            f"{family.name}{{%s,{label_pair(label, one)},%s}} {go_float(one is chosen)}\n"
            for one in shown
        )
        return template, len(shown)

    return {chosen: lines(chosen) for chosen in (*family.known, family.unknown)}


def _samples(family: SessionSamples, sessions: Sequence[RestoreSession], columns: Columns) -> str:
    return sample_lines(
        family.name,
        family.labels,
        (
            ((*pairs, *map(escaped, own)), value)
            for pairs, session in zip(zip(*columns, strict=True), sessions, strict=True)
            for own, value in family.samples(session)
        ),
        paired=_SHARED,
    )


def _shared_pairs(server: str, sessions: Sequence[RestoreSession]) -> Columns:
    return (
        [f'organization="{escaped(session.organization)}"' for session in sessions],
        list(repeat(label_pair("server", server), len(sessions))),
        [f'session_id="{session.id}"' for session in sessions],
        [_TYPE_PAIRS[session.type] for session in sessions],
    )


def _side_by_side(columns: Columns) -> list[str]:
    """For each session its pairs, joined."""
    return list(map(",".join, zip(*columns, strict=True)))
