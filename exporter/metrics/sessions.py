"""Session families rendered as text, line by line as the client library's `generate_latest` writes them.

The client library costs about 5 microseconds a sample and renders everything anew; a server may have a hundred
thousand sessions with nine samples each. Here the labels that all samples of a session share are put together once.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Sequence

from exporter.metrics.catalogue import SESSION_LABELS, SessionFamily
from exporter.metrics.labels import escaped
from exporter.metrics.numbers import go_float
from exporter.vb365.model import RestoreSession

__all__ = ["render_sessions"]

# generate_latest sorts labels by name; so do we, and the order of the shared ones never changes.
_SHARED = tuple(sorted(SESSION_LABELS))


def render_sessions(
    server: str, sessions: Sequence[RestoreSession], families: Iterable[SessionFamily]
) -> list[bytes]:
    """The sample lines of each family, in the order of `families`."""
    shared = [_shared_labels(server, session) for session in sessions]
    whole = [",".join(labels) for labels in shared]
    return [_render_family(family, sessions, shared, whole) for family in families]


def _render_family(
    family: SessionFamily,
    sessions: Sequence[RestoreSession],
    shared: Sequence[tuple[str, ...]],
    whole: Sequence[str],
) -> bytes:
    name = family.name
    samples = family.samples
    lines: list[str] = []
    if not family.labels:
        for session, pairs in zip(sessions, whole, strict=True):
            lines += [f"{name}{{{pairs}}} {go_float(value)}\n" for _, value in samples(session)]
    elif len(family.labels) == 1:
        (label,) = family.labels
        place = bisect(_SHARED, label)
        for session, labels in zip(sessions, shared, strict=True):
            before = "".join(f"{pair}," for pair in labels[:place])
            after = "".join(f",{pair}" for pair in labels[place:])
            lines += [
                f"{name}{{{before}{_label(label, one)}{after}}} {go_float(value)}\n"
                for (one,), value in samples(session)
            ]
    else:
        for session, labels in zip(sessions, shared, strict=True):
            for values, value in samples(session):
                own = map(_label, family.labels, values)
                every = ",".join(sorted((*labels, *own), key=_label_name))
                lines.append(f"{name}{{{every}}} {go_float(value)}\n")
    return "".join(lines).encode()


def _shared_labels(server: str, session: RestoreSession) -> tuple[str, ...]:
    return (
        f'organization="{escaped(session.organization)}"',
        f'server="{escaped(server)}"',
        f'session_id="{session.id}"',
        f'type="{session.type.value}"',
    )


def _label(name: str, value: str) -> str:
    return f'{name}="{escaped(value)}"'


def _label_name(pair: str) -> str:
    return pair.partition("=")[0]
