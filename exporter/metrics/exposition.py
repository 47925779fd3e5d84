"""What `/metrics` answers: made when a snapshot is published, only handed out when it is asked for.

The body is a row of pieces. Finished sessions never change: the pieces of a block of them are rendered and compressed
once and kept as long as the block lives. Only what runs, the organizations and the servers are rendered again.
The exporter's own metrics close the body; they are rendered at most once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from exporter.config import Extra
from exporter.metrics.catalogue import SESSION_LABELS, session_families
from exporter.metrics.families import SnapshotCollector, empty_family
from exporter.metrics.formats import Format
from exporter.metrics.gzipping import GZIP_HEADER, Piece, crc_of_all, gzip_trailer, piece
from exporter.metrics.sessions import render_sessions
from exporter.polling.blocks import Block
from exporter.polling.snapshot import Snapshot

__all__ = ["Exposition", "Publisher"]

_SEALED_LEVEL = 6
_LIVE_LEVEL = 1
_OWN_METRICS_SECONDS = 1.0
# Names need no escaping here, and this is the scheme that leaves them alone.
_ESCAPING = "allow-utf-8"
_END = {Format.TEXT: b"", Format.OPENMETRICS: b"# EOF\n"}


@dataclass(frozen=True, slots=True)
class Exposition:
    """One answer to a scrape, as bytes that are shared with all others."""

    pieces: Sequence[Piece]
    raw_length: int
    deflated_length: int
    crc: int

    @classmethod
    def of(cls, pieces: Sequence[Piece]) -> Exposition:
        """The pieces as one body."""
        return cls(
            pieces=pieces,
            raw_length=sum(len(one.raw) for one in pieces),
            deflated_length=sum(len(one.deflated) for one in pieces),
            crc=crc_of_all(pieces),
        )

    def followed_by(self, last: Piece) -> Exposition:
        """This body with one more piece behind it."""
        return Exposition(
            pieces=(*self.pieces, last),
            raw_length=self.raw_length + len(last.raw),
            deflated_length=self.deflated_length + len(last.deflated),
            crc=crc_of_all((last,), self.crc),
        )

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of one body
        """Bytes on the wire."""
        if gzip:
            return len(GZIP_HEADER) + self.deflated_length + len(gzip_trailer(0, 0))
        return self.raw_length

    def chunks(self, gzip: bool) -> Iterator[bytes]:  # noqa: FBT001 - two forms of one body
        """The body; compressed it is one gzip member."""
        if not gzip:
            return (one.raw for one in self.pieces)
        return chain(
            (GZIP_HEADER,),
            (one.deflated for one in self.pieces),
            (gzip_trailer(self.crc, self.raw_length),),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """All that is handed out, replaced as a whole by one assignment: readers need no lock."""

    snapshots: tuple[Snapshot, ...]
    bodies: Mapping[Format, Exposition]
    valid_until: float
    """Monotonic seconds at which the first statement in it gets too old."""
    own: dict[Format, tuple[float, Piece]] = field(default_factory=dict)
    """The exporter's own metrics and when they were rendered; new here, so that counters and snapshot appear together."""


class Publisher:
    """Takes in snapshots, hands out expositions. Safe to use from any thread.

    Args:
        own_metrics: the registry of the exporter's own metrics.
        info_labels: fields of a session that may become labels of `vb365_restore_session_info`.
        extras: what any server is asked for beyond the sessions themselves.
        monotonic: seconds on the clock that ages are measured with.
        snapshots: what is said from the start.
    """

    def __init__(
        self,
        own_metrics: CollectorRegistry,
        *,
        info_labels: Sequence[str],
        extras: Collection[Extra] = (),
        monotonic: Callable[[], float],
        snapshots: Iterable[Snapshot] = (),
    ) -> None:
        self._own_metrics = own_metrics
        self._monotonic = monotonic
        self._families = session_families(info_labels, extras)
        self._headers = {
            form: [
                piece(
                    _generate(form, _Fixed(empty_family(row, (*SESSION_LABELS, *row.labels)))),
                    _SEALED_LEVEL,
                )
                for row in self._families
            ]
            for form in Format
        }
        self._sealed: WeakKeyDictionary[Block, list[Piece]] = WeakKeyDictionary()
        self._rendering = threading.Lock()
        self._snapshots: Mapping[str, Snapshot] = {
            snapshot.server: snapshot for snapshot in snapshots
        }
        self._published = self._render(self._snapshots)

    def publish(self, snapshot: Snapshot) -> None:
        """Replace what is said of a server. What cannot be rendered is not kept: it would spoil what others publish."""
        with self._rendering:
            self._say({**self._snapshots, snapshot.server: snapshot})

    def withdraw(self, server: str) -> None:
        """End all that is said of a server."""
        with self._rendering:
            self._say({name: one for name, one in self._snapshots.items() if name != server})

    def own_metrics_changed(self) -> None:
        """Render the exporter's own metrics again for the next scrape, however new the last ones are."""
        self._published.own.clear()

    def snapshots(self) -> tuple[Snapshot, ...]:
        """What may be said of each server right now."""
        now = self._monotonic()
        return tuple(snapshot.fresh(now) for snapshot in self._published.snapshots)

    def exposition(self, form: Format) -> Exposition:
        """What a scrape gets now; never waits for a server, nor for a publish under way."""
        now = self._monotonic()
        if now >= self._published.valid_until:
            with self._rendering:
                if now >= self._published.valid_until:
                    self._say(self._snapshots)
        published = self._published
        made, own = published.own.get(form, (-inf, None))
        if own is None or now - made >= _OWN_METRICS_SECONDS:
            own = piece(_generate(form, self._own_metrics) + _END[form], _LIVE_LEVEL)
            published.own[form] = (now, own)
        return published.bodies[form].followed_by(own)

    def _say(self, snapshots: Mapping[str, Snapshot]) -> None:
        self._published = self._render(snapshots)
        self._snapshots = snapshots

    def _render(self, known: Mapping[str, Snapshot]) -> _Published:
        now = self._monotonic()
        snapshots = tuple(snapshot.fresh(now) for snapshot in known.values())
        sessions = [list(self._session_pieces(snapshot)) for snapshot in snapshots]
        collector = SnapshotCollector(snapshots)
        return _Published(
            snapshots=snapshots,
            bodies={form: self._body(form, sessions, collector) for form in Format},
            valid_until=min((snapshot.expires_at for snapshot in snapshots), default=inf),
        )

    def _body(
        self, form: Format, sessions: Iterable[list[list[Piece]]], collector: Collector
    ) -> Exposition:
        pieces: list[Piece] = []
        for number, header in enumerate(self._headers[form]):
            pieces.append(header)
            pieces.extend(
                of_families[number] for of_server in sessions for of_families in of_server
            )
        pieces.append(piece(_generate(form, collector), _LIVE_LEVEL))
        return Exposition.of([one for one in pieces if one.raw])

    def _session_pieces(self, snapshot: Snapshot) -> Iterator[list[Piece]]:
        """For what runs and for each block of what has finished: a piece for each family."""
        running = [running.session for running in snapshot.running_with_series]
        yield [
            piece(lines, _LIVE_LEVEL)
            for lines in render_sessions(snapshot.server, running, self._families)
        ]
        for block in snapshot.finished:
            sealed = self._sealed.get(block)
            if sealed is None:
                sealed = self._sealed[block] = [
                    piece(lines, _SEALED_LEVEL)
                    for lines in render_sessions(snapshot.server, block.sessions, self._families)
                ]
            yield sealed


class _Fixed(Collector):
    """A collector of one given family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


def _generate(form: Format, source: Collector | CollectorRegistry) -> bytes:
    """The client library's rendering; for OpenMetrics without the end mark, which closes the body."""
    if isinstance(source, CollectorRegistry):
        registry = source
    else:
        registry = CollectorRegistry()
        registry.register(source)
    if form is Format.TEXT:
        return generate_text(registry, escaping=_ESCAPING)
    body: bytes = generate_openmetrics(registry, escaping=_ESCAPING)  # type: ignore[no-untyped-call] # the library does not type it
    return body.removesuffix(b"# EOF\n")
