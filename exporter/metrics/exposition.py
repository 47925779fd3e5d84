"""What `/metrics` answers: made when a snapshot is published, only handed out when it is asked for.

The body is a row of pieces, one for each family of each server. A publish renders those of its own server, and of
its finished sessions only what is new; everything else is kept, rendered and compressed. The exporter's own metrics
close the body; they are rendered at most once a second.
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
    Piece,
    gzip_trailer,
    joined,
    joined_rows,
    piece,
)
from exporter.metrics.rendered_blocks import RenderedBlocks
from exporter.metrics.rendering import SNAPSHOT_FAMILIES, render_sessions, render_snapshot
from exporter.metrics.text_format import OPENMETRICS_END, Format, family_header, registry_text
from exporter.polling.snapshot import Snapshot

__all__ = ["Exposition", "Publisher"]

_LEVEL = 1  # of what will soon be rendered again
_OWN_METRICS_SECONDS = 1.0
# Near the square root of how many servers an instance may have.
_GROUP_SERVERS = 16
# Who looks at the text once must not double the memory for good; who scrapes it plain keeps it.
_PLAIN_SECONDS = 600.0
_RAW, _DEFLATED = attrgetter("raw"), attrgetter("deflated")
_END = {Format.TEXT: b"", Format.OPENMETRICS: OPENMETRICS_END}


@dataclass(frozen=True, slots=True)
class Exposition:
    """One answer to a scrape, as bytes that are shared with all others."""

    body: Piece

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of one body
        """Bytes on the wire."""
        if gzip:
            return len(GZIP_HEADER) + self.body.deflated_length + GZIP_TRAILER_BYTES
        return self.body.raw_length

    def chunks(self, gzip: bool) -> Iterator[bytes]:  # noqa: FBT001 - two forms of one body
        """The body; compressed it is one gzip member."""
        if not gzip:
            return map(_RAW, self.body.parts)
        trailer = gzip_trailer(self.body.crc, self.body.raw_length)
        return chain((GZIP_HEADER,), map(_DEFLATED, self.body.parts), (trailer,))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Said:
    """What is said of one server; compared by identity, because that is what groups of servers hang on."""

    snapshot: Snapshot
    shown: Snapshot
    """The snapshot without what was too old when this was rendered."""
    valid_until: float
    """Monotonic seconds at which the next statement in it gets too old."""
    pieces: Sequence[Piece]
    """One for each family, in the order in which they are served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Published:
    """All that is handed out, replaced as a whole by one assignment: readers need no lock."""

    of_servers: Mapping[str, _Said]
    bodies: Mapping[Format, Piece]
    valid_until: float
    own: dict[Format, tuple[float, Exposition]] = field(default_factory=dict)
    """With the exporter's own metrics, and when these were rendered; new here, so that counters and snapshot appear together."""


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
        self._session_families = session_families(info_labels, extras)
        families: tuple[Family, ...] = (*self._session_families, *SNAPSHOT_FAMILIES)
        self._headers = {
            form: [piece(family_header(form, family), _LEVEL) for family in families]
            for form in Format
        }
        self._nothing = [EMPTY] * len(families)
        self._sealed: dict[str, RenderedBlocks] = {}
        self._of_group: Mapping[tuple[_Said, ...], Sequence[Piece]] = {}
        self._rendering = threading.Lock()
        self._plain_until = monotonic() + _PLAIN_SECONDS
        self._published = self._put_together(
            {snapshot.server: self._say(snapshot) for snapshot in snapshots}
        )

    def publish(self, snapshot: Snapshot) -> None:
        """Replace what is said of a server. What cannot be rendered is not kept: it would spoil what others publish."""
        with self._rendering:
            said = self._say(snapshot)
            self._published = self._put_together(
                {**self._published.of_servers, snapshot.server: said}
            )
            self._let_go_of_plain_text()

    def remove(self, server: str) -> None:
        """End all that is said of a server."""
        with self._rendering:
            self._sealed.pop(server, None)
            of_servers = self._published.of_servers
            self._published = self._put_together(
                {name: said for name, said in of_servers.items() if name != server}
            )

    def invalidate_own_metrics(self) -> None:
        """Render the exporter's own metrics again for the next scrape, however new the last ones are."""
        with self._rendering:
            # Another place for them: who is just rendering them as they were must not leave that for the next scrape.
            self._published = replace(self._published, own={})

    def snapshots(self) -> tuple[Snapshot, ...]:
        """What may be said of each server right now."""
        now = self._monotonic()
        return tuple(said.shown.without_stale(now) for said in self._published.of_servers.values())

    def exposition(self, form: Format) -> Exposition:
        """What a scrape gets now; never waits for a server, nor for a publish under way."""
        now = self._monotonic()
        if now >= self._published.valid_until:
            with self._rendering:
                self._let_expire(now)
        published = self._published
        made, exposition = published.own.get(form, (-inf, None))
        if exposition is None or now - made >= _OWN_METRICS_SECONDS:
            own = piece(registry_text(form, self._own_metrics) + _END[form], _LEVEL)
            exposition = Exposition(joined((published.bodies[form], own)))
            published.own[form] = (now, exposition)
        return exposition

    def _let_expire(self, now: float) -> None:
        if now >= self._published.valid_until:
            of_servers = self._published.of_servers
            self._published = self._put_together(
                {
                    name: said if now < said.valid_until else self._say(said.snapshot)
                    for name, said in of_servers.items()
                }
            )

    def _let_go_of_plain_text(self) -> None:
        """Give back, now and then, what is kept plain and no client has asked for since the last time."""
        now = self._monotonic()
        if now < self._plain_until:
            return
        self._plain_until = now + _PLAIN_SECONDS
        for said in self._published.of_servers.values():
            for part in chain.from_iterable(one.parts for one in said.pieces):
                part.keep_while_wanted()

    def _say(self, snapshot: Snapshot) -> _Said:
        """Render a server."""
        shown = snapshot.without_stale(self._monotonic())
        server = shown.server
        families = self._session_families
        sealed = self._sealed.setdefault(server, RenderedBlocks(server, families))
        running = [one.session for one in shown.running_with_series]
        live = [piece(one, _LEVEL) for one in render_sessions(server, running, families)]
        of_server = [piece(one, _LEVEL) for one in render_snapshot(shown)]
        return _Said(
            snapshot=snapshot,
            shown=shown,
            valid_until=shown.expires_at,
            pieces=(
                *map(joined, zip(live, sealed.pieces(shown.finished), strict=True)),
                *of_server,
            ),
        )

    def _put_together(self, of_servers: Mapping[str, _Said]) -> _Published:
        """Everything that is said, family by family, in both formats."""
        self._of_group = {
            group: self._of_group.get(group) or joined_rows(said.pieces for said in group)
            for group in _groups(tuple(of_servers.values()))
        }
        families = joined_rows((self._nothing, *self._of_group.values()))
        return _Published(
            of_servers=of_servers,
            bodies={
                form: joined(chain.from_iterable(zip(headers, families, strict=True)))
                for form, headers in self._headers.items()
            },
            valid_until=min((said.valid_until for said in of_servers.values()), default=inf),
        )


def _groups(all_said: tuple[_Said, ...]) -> Iterator[tuple[_Said, ...]]:
    """Neighbouring servers: one that publishes leaves the other groups as they are."""
    for start in range(0, len(all_said), _GROUP_SERVERS):
        yield all_said[start : start + _GROUP_SERVERS]
