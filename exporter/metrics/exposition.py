"""The body of `/metrics`: assembled when a snapshot is published or data becomes stale, not on every scrape.

The body is a sequence of compressed segments, one for each family of each server. Publishing a snapshot renders the
segments of its server only, and of the finished sessions only new blocks. The exporter's own metrics come last; a scrape
renders them if they are a second old or older than the last publish.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf

from prometheus_client import CollectorRegistry

from exporter.config import Extra
from exporter.metrics.catalogue import SNAPSHOT_FAMILIES
from exporter.metrics.catalogue.sessions import session_families
from exporter.metrics.gzip_parts import EMPTY, Segment, compress, join, join_columns
from exporter.metrics.rendered_blocks import RenderedBlocks
from exporter.metrics.rendering import render_sessions, render_snapshot
from exporter.metrics.text_format import Format, family_header, registry_text
from exporter.polling.snapshot import Snapshot

_LEVEL = 1  # fast: these texts are soon replaced
_OWN_METRICS_MAX_AGE_SECONDS = 1.0
# A single scrape of plain text must not double the memory use permanently.
_PLAIN_RELEASE_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _RenderedServer:
    snapshot: Snapshot
    """Without the data that was stale when it was rendered."""
    stale_at: float
    """Monotonic seconds at which the next part of the snapshot becomes stale."""
    segments: Sequence[Segment]
    """One for each family, in the order in which they are served."""
    finished: Sequence[Segment]
    """The part of them with the finished sessions, one for each family of single sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """Everything that is served. It is replaced by a single assignment, so readers need no lock."""

    servers: Mapping[str, _RenderedServer]
    bodies: Mapping[Format, Segment]
    stale_at: float
    with_own_metrics: dict[Format, tuple[float, Segment]] = field(default_factory=dict)
    """Complete bodies, and when their copy of the exporter's own metrics was rendered.

    Empty after a publish, so that a snapshot and the counters of its poll appear together.
    """


class Publisher:
    """Turns snapshots into expositions. Thread-safe.

    Args:
        own_metrics: the registry of the exporter's own metrics.
        info_labels: fields of a session that become labels of `vb365_restore_session_info`.
        extras: the extras that are requested for sessions of any server.
        monotonic: the clock that ages of data are measured with, in seconds.
        snapshots: published from the start.
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
        families = (*self._session_families, *SNAPSHOT_FAMILIES)
        self._headers = {
            form: [compress(family_header(form, family), _LEVEL) for family in families]
            for form in Format
        }
        self._nothing = [EMPTY] * len(families)
        self._finished_blocks: dict[str, RenderedBlocks] = {}
        self._no_sessions = [EMPTY] * len(self._session_families)
        self._render_lock = threading.Lock()
        # Held only for an assignment, as scrapes wait for it.
        self._assign_lock = threading.Lock()
        self._release_plain_at = monotonic() + _PLAIN_RELEASE_SECONDS
        self._published = self._assemble(
            {snapshot.server: self._render(snapshot) for snapshot in snapshots}
        )

    def publish(self, snapshot: Snapshot) -> None:
        """Replace one server's metrics. If rendering fails, the previous ones stay and other servers are unaffected."""
        with self._render_lock:
            self._replace(self._render(snapshot))
            self._release_plain_text()

    def mark_down(self, server: str, message: str) -> None:
        """Show a server as down until its next snapshot, with the reason for it as a message; its other metrics stay."""
        with self._render_lock:
            before = self._published.servers.get(server)
            snapshot = before.snapshot if before else Snapshot(server=server)
            snapshot = snapshot.down(message, since=self._monotonic())
            finished = before.finished if before else self._no_sessions
            self._replace(self._render_with(snapshot, finished))

    def remove(self, server: str) -> None:
        """Remove one server's metrics."""
        with self._render_lock:
            self._finished_blocks.pop(server, None)
            servers = self._published.servers
            self._serve({name: servers[name] for name in servers if name != server})

    def invalidate_own_metrics(self) -> None:
        """Have the next scrape render the exporter's own metrics, however recent they are."""
        with self._assign_lock:
            # A new dict: a scrape that is rendering the old values stores them in the old one.
            self._published = replace(self._published, with_own_metrics={})

    def snapshots(self) -> tuple[Snapshot, ...]:
        """Return the current snapshot of each server, without stale data."""
        now = self._monotonic()
        return tuple(
            server.snapshot.without_stale(now) for server in self._published.servers.values()
        )

    def exposition(self, form: Format) -> Segment:
        """Return the current body, without stale data. Never waits for a server or for a publish under way."""
        now = self._monotonic()
        published = self._published
        if now >= published.stale_at:
            published = self._drop_stale(published, now)
        rendered_at, body = published.with_own_metrics.get(form, (now, None))
        if body is None or now - rendered_at >= _OWN_METRICS_MAX_AGE_SECONDS:
            own = compress(registry_text(form, self._own_metrics), _LEVEL)
            body = join((published.bodies[form], own))
            published.with_own_metrics[form] = (now, body)
        return body

    def _drop_stale(self, published: _Published, now: float) -> _Published:
        """Return what was published without the data that is stale at `now`, and keep it unless it was just replaced."""
        current = self._assemble(
            {
                name: server if now < server.stale_at else self._without_stale(server, now)
                for name, server in published.servers.items()
            }
        )
        with self._assign_lock:
            if self._published is published:
                self._published = current
        return current

    def _without_stale(self, server: _RenderedServer, now: float) -> _RenderedServer:
        snapshot = server.snapshot.without_stale(now)
        return self._render_with(
            snapshot, server.finished if snapshot.finished_with_series else self._no_sessions
        )

    def _replace(self, server: _RenderedServer) -> None:
        self._serve({**self._published.servers, server.snapshot.server: server})

    def _serve(self, servers: Mapping[str, _RenderedServer]) -> None:
        published = self._assemble(servers)
        with self._assign_lock:
            self._published = published

    def _release_plain_text(self) -> None:
        """Release, every `_PLAIN_RELEASE_SECONDS`, the plain text that no client has requested since the last release."""
        now = self._monotonic()
        if now < self._release_plain_at:
            return
        self._release_plain_at = now + _PLAIN_RELEASE_SECONDS
        for server in self._published.servers.values():
            for part in chain.from_iterable(segment.parts for segment in server.segments):
                part.drop_unused_plain()

    def _render(self, snapshot: Snapshot) -> _RenderedServer:
        snapshot = snapshot.without_stale(self._monotonic())
        server, families = snapshot.server, self._session_families
        blocks = self._finished_blocks.setdefault(server, RenderedBlocks(server, families))
        return self._render_with(snapshot, blocks.segments(snapshot.finished_with_series))

    def _render_with(self, snapshot: Snapshot, finished: Sequence[Segment]) -> _RenderedServer:
        """Render everything but the finished sessions, which are given. Thread-safe."""
        sessions = [running.session for running in snapshot.running_with_series]
        running = [
            compress(text, _LEVEL)
            for text in render_sessions(snapshot.server, sessions, self._session_families)
        ]
        return _RenderedServer(
            snapshot=snapshot,
            stale_at=snapshot.stale_at,
            segments=(
                *join_columns((running, finished)),
                *(compress(text, _LEVEL) for text in render_snapshot(snapshot)),
            ),
            finished=finished,
        )

    def _assemble(self, servers: Mapping[str, _RenderedServer]) -> _Published:
        """Join all servers' segments family by family, each behind its header."""
        rows = (server.segments for server in servers.values())
        families = join_columns((self._nothing, *rows))
        return _Published(
            servers=servers,
            bodies={
                form: join(chain.from_iterable(zip(headers, families, strict=True)))
                for form, headers in self._headers.items()
            },
            stale_at=min((server.stale_at for server in servers.values()), default=inf),
        )
