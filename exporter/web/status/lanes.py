"""The lanes of the timeline: the sessions of each organization as marks on a common axis, in percent of its width."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from exporter.text import human_duration
from exporter.web.status.formatting import clock_time, product_name
from exporter.web.status.page import SessionRow

RUNNING = "running"
"""The kind of a session that has no result yet."""

KINDS = (RUNNING, "Success", "Warning", "Failed")
"""The usual kinds, in the order in which they are listed."""

_MAX_ROWS = 6
_MAX_RUNNING_ROWS = 3
# The width of a mark on a phone, whatever time it stands for.
_GAP_PERCENT = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The time from `begin` to `end`."""

    begin: datetime
    end: datetime

    def position(self, moment: datetime) -> float:
        """Return the position of a moment in percent; moments outside the axis are at its edges."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, share)), 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One session."""

    kind: str
    """`running`, or the result."""
    start: float
    end: float
    earlier: bool
    """Whether the session started before the axis begins."""
    row: int
    text: str


@dataclass(slots=True)
class Lane:
    """The sessions of one organization of one server."""

    server: str
    organization: str
    marks: list[Mark] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    """The number of sessions of each kind, drawn or not."""
    left_out: int = 0
    left_open: bool = False
    """Whether a running session has been left open."""
    _left_edges: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows in use; overlapping marks are in different rows."""
        return len(self._left_edges)

    @property
    def in_trouble(self) -> bool:
        """Whether a session failed or has been left open."""
        return self.left_open or "Failed" in self.counts

    @property
    def tally(self) -> tuple[tuple[str, int], ...]:
        """The number of sessions of each kind, running ones first."""
        kinds = [*KINDS, *sorted(self.counts.keys() - set(KINDS))]
        return tuple((kind, self.counts[kind]) for kind in kinds if kind in self.counts)

    @property
    def text(self) -> str:
        """The lane in words."""
        text = ", ".join(f"{count} {kind}" for kind, count in self.tally)
        return f"{text}; {self.left_out} of them not drawn" if self.left_out else text

    def draw(self, row: SessionRow, axis: Axis) -> None:
        """Draw a session, or count it as left out if there is no room. Newer sessions must be drawn first."""
        kind = RUNNING if row.result is None else row.result
        self.counts[kind] += 1
        self.left_open |= row.left_open
        start = axis.position(row.created)
        end = 100.0 if kind == RUNNING else axis.position(row.end)
        max_rows = _MAX_RUNNING_ROWS if kind == RUNNING else _MAX_ROWS
        row_number = self._reserve_row(start, end, max_rows=max_rows)
        if row_number is None:
            self.left_out += 1
            return
        self.marks.append(
            Mark(
                kind=kind,
                start=start,
                end=end,
                earlier=row.created < axis.begin,
                row=row_number,
                text=_mark_text(row, axis.end),
            )
        )

    def _reserve_row(self, start: float, end: float, *, max_rows: int) -> int | None:
        """Reserve the first row with room left of its marks: rows fill from the right."""
        for row, left_edge in enumerate(self._left_edges):
            if end + _GAP_PERCENT <= left_edge:
                self._left_edges[row] = start
                return row
        if len(self._left_edges) < max_rows:
            self._left_edges.append(start)
            return len(self._left_edges) - 1
        return None


def draw_lanes(rows: Iterable[SessionRow], axis: Axis) -> list[Lane]:
    """Draw sessions, and return the lanes: those in trouble first, then by name."""
    lanes: dict[tuple[str, str], Lane] = {}
    for row in rows:
        if row.result is not None and row.end < axis.begin:
            continue
        key = (row.server, row.organization)
        lane = lanes.setdefault(key, Lane(server=row.server, organization=row.organization))
        lane.draw(row, axis)
    return sorted(
        lanes.values(),
        key=lambda lane: (
            not lane.in_trouble,
            -lane.counts["Failed"],
            lane.organization.casefold(),
            lane.server,
        ),
    )


def _mark_text(row: SessionRow, now: datetime) -> str:
    """Return one session in words."""
    product = product_name(row.type)
    started = clock_time(row.created, now)
    if row.result is None:
        return f"{product}, running for {human_duration(row.duration_seconds)} since {started}"
    ended = "unknown" if row.ended is None else clock_time(row.ended, now)
    return f"{product}, {row.result}, {started} to {ended} ({human_duration(row.duration_seconds)})"
