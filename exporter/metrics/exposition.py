"""The body of `/metrics`: assembled when a snapshot is published, only handed out when it is scraped.

The body is a sequence of compressed segments, one for each family of each server. A publish renders those of its own
server, and of its finished sessions only new ones; all others are kept. The exporter's own metrics end the body; they
are rendered at most once a second.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf
from operator import attrgetter

from prometheus_client import CollectorRegistry

from exporter.config import Extra
from exporter.metrics.catalogue import Family, session_families
from exporter.metrics.gzip_parts import (
    EMPTY,
    GZIP_HEADER,
    GZIP_TRAILER_BYTES,
    Segment,
    compress,
    gzip_trailer,
    join,
    join_columns,
)
from exporter.metrics.rendered_blocks import RenderedBlocks
from exporter.metrics.rendering import SNAPSHOT_FAMILIES, render_sessions, render_snapshot
from exporter.metrics.text_format import OPENMETRICS_END, Format, family_header, registry_text
from exporter.polling.snapshot import Snapshot

__all__ = ["Exposition", "Publisher"]

_LEVEL = 1  # fast: these texts are rendered again soon
_OWN_METRICS_SECONDS = 1.0
# A single plain scrape must not double the memory for good; a client that always scrapes plain text keeps it.
_PLAIN_SECONDS = 600.0
_PLAIN, _DEFLATED = attrgetter("plain"), attrgetter("deflated")
_END = {Format.TEXT: b"", Format.OPENMETRICS: OPENMETRICS_END}


@dataclass(frozen=True, slots=True)
class Exposition:
    """The body of one response; responses share its bytes."""

    body: Segment

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of one body
        """Return the number of bytes on the wire."""
        if gzip:
            return len(GZIP_HEADER) + self.body.deflated_length + GZIP_TRAILER_BYTES
        return self.body.plain_length

    def chunks(self, gzip: bool) -> Iterator[bytes]:  # noqa: FBT001 - two forms of one body
        """Iterate over the body; compressed, it is one gzip member."""
        if not gzip:
            return map(_PLAIN, self.body.chunks)
        trailer = gzip_trailer(self.body.crc, self.body.plain_length)
        return chain((GZIP_HEADER,), map(_DEFLATED, self.body.chunks), (trailer,))


@dataclass(frozen=True, slots=True, kw_only=True)
class _RenderedServer:
    snapshot: Snapshot
    fresh: Snapshot
    """The snapshot without what was stale when it was rendered."""
    valid_until: float
    """Monotonic seconds at which the next part of it becomes stale."""
    segments: Sequence[Segment]
    """One for each family, in the order in which they are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Everything that is handed out, replaced as a whole by one assignment: readers need no lock."""

    servers: Mapping[str, _RenderedServer]
    bodies: Mapping[Format, Segment]
    valid_until: float
    complete: dict[Format, tuple[float, Exposition]] = field(default_factory=dict)
    """Bodies with the exporter's own metrics, and when those were rendered.

    Starts empty, so that a snapshot and the counters that go with it appear together.
    """


class Publisher:
    """Turns snapshots into expositions. Thread-safe.

    Args:
        own_metrics: the registry of the exporter's own metrics.
        info_labels: fields of a session that become labels of `vb365_restore_session_info`.
        extras: the extras that are requested for sessions of any server.
        monotonic: the clock that ages are measured with, in seconds.
        snapshots: the initial ones.
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
        self._session_families = session_families(info_labels, extras)
        families: tuple[Family, ...] = (*self._session_families, *SNAPSHOT_FAMILIES)
        self._headers = {
            form: [compress(family_header(form, family), _LEVEL) for family in families]
            for form in Format
        }
        self._nothing = [EMPTY] * len(families)
        self._finished: dict[str, RenderedBlocks] = {}
        self._rendering = threading.Lock()
        self._plain_until = monotonic() + _PLAIN_SECONDS
        self._published = self._assemble(
            {snapshot.server: self._render(snapshot) for snapshot in snapshots}
        )

    def publish(self, snapshot: Snapshot) -> None:
        """Replace one server's metrics. If rendering fails, the previous ones stay and other servers are unaffected."""
        with self._rendering:
            servers = {**self._published.servers, snapshot.server: self._render(snapshot)}
            self._published = self._assemble(servers)
            self._release_plain_text()

    def remove(self, server: str) -> None:
        """Remove one server's metrics."""
        with self._rendering:
            self._finished.pop(server, None)
            servers = dict(self._published.servers)
            servers.pop(server, None)
            self._published = self._assemble(servers)

    def invalidate_own_metrics(self) -> None:
        """Render the exporter's own metrics again for the next scrape, even within the second."""
        with self._rendering:
            # A new dict: a scrape that is rendering the old values stores them in the old one.
            self._published = replace(self._published, complete={})

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the current snapshot of each server, without stale data."""
        now = self._monotonic()
        return tuple(server.fresh.without_stale(now) for server in self._published.servers.values())

    def exposition(self, form: Format) -> Exposition:
        """Return the current exposition; never waits for a server or for a publish under way."""
        now = self._monotonic()
        if now >= self._published.valid_until:
            with self._rendering:
                self._drop_expired(now)
        published = self._published
        rendered_at, exposition = published.complete.get(form, (now, None))
        if exposition is None or now - rendered_at >= _OWN_METRICS_SECONDS:
            own = compress(registry_text(form, self._own_metrics) + _END[form], _LEVEL)
            exposition = Exposition(join((published.bodies[form], own)))
            published.complete[form] = (now, exposition)
        return exposition

    def _drop_expired(self, now: float) -> None:
        if now >= self._published.valid_until:
            self._published = self._assemble(
                {
                    name: server if now < server.valid_until else self._render(server.snapshot)
                    for name, server in self._published.servers.items()
                }
            )

    def _release_plain_text(self) -> None:
        """Release, every `_PLAIN_SECONDS`, the plain text that no client has requested since the last time."""
        now = self._monotonic()
        if now < self._plain_until:
            return
        self._plain_until = now + _PLAIN_SECONDS
        for server in self._published.servers.values():
            for chunk in chain.from_iterable(segment.chunks for segment in server.segments):
                chunk.drop_unused_plain()

    def _render(self, snapshot: Snapshot) -> _RenderedServer:
        fresh = snapshot.without_stale(self._monotonic())
        server, families = fresh.server, self._session_families
        running = [one.session for one in fresh.running_with_series]
        finished = self._finished.setdefault(server, RenderedBlocks(server, families))
        live = [compress(text, _LEVEL) for text in render_sessions(server, running, families)]
        return _RenderedServer(
            snapshot=snapshot,
            fresh=fresh,
            valid_until=fresh.stale_at,
            segments=(
                *join_columns((live, finished.segments(fresh.finished))),
                *(compress(text, _LEVEL) for text in render_snapshot(fresh)),
            ),
        )

    def _assemble(self, servers: Mapping[str, _RenderedServer]) -> _Published:
        """Join all servers' segments family by family, each behind its header."""
        families = join_columns((self._nothing, *(one.segments for one in servers.values())))
        return _Published(
            servers=servers,
            bodies={
                form: join(chain.from_iterable(zip(headers, families, strict=True)))
                for form, headers in self._headers.items()
            },
            valid_until=min((server.valid_until for server in servers.values()), default=inf),
        )
