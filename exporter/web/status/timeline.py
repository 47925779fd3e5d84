"""The timeline: the latest sessions of each organization as marks on a common axis, in percent of its width."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from exporter.text import human_duration
from exporter.web.status.formatting import clock_time, day_and_month, product_name
from exporter.web.status.page import SessionRow, StatusPage

RUNNING = "running"
"""The kind of a session that has no result yet."""

# Only the newest sessions determine how far back the axis reaches: a few old ones do not squeeze them.
_SCALING_SESSIONS = 120
_MAX_LANES = 40
_MAX_ROWS = 6
_MAX_RUNNING_ROWS = 3
# A mark is wider than the time it stands for: about this much of a phone's screen.
_GAP_PERCENT = 3.0
# Further right, a label would overlap "now": on a phone, and on any screen.
_LATE_PERCENT = 80.0
_TOO_LATE_PERCENT = 94.0

_KINDS = (RUNNING, "Success", "Warning", "Failed")

_MINUTE = 60
_HOUR = 3600
_DAY = 86_400


class Scale(NamedTuple):
    """The span of the axis and its divisions, in seconds."""

    name: str
    span: int
    label_step: int
    tick_step: int


_SCALES = (
    Scale("15 minutes", 15 * _MINUTE, 3 * _MINUTE, _MINUTE),
    Scale("30 minutes", 30 * _MINUTE, 5 * _MINUTE, _MINUTE),
    Scale("hour", _HOUR, 10 * _MINUTE, 5 * _MINUTE),
    Scale("3 hours", 3 * _HOUR, 30 * _MINUTE, 10 * _MINUTE),
    Scale("6 hours", 6 * _HOUR, _HOUR, 30 * _MINUTE),
    Scale("12 hours", 12 * _HOUR, 2 * _HOUR, _HOUR),
    Scale("24 hours", _DAY, 4 * _HOUR, _HOUR),
    Scale("2 days", 2 * _DAY, 12 * _HOUR, 4 * _HOUR),
    Scale("4 days", 4 * _DAY, _DAY, 12 * _HOUR),
    Scale("7 days", 7 * _DAY, 2 * _DAY, _DAY),
    Scale("14 days", 14 * _DAY, 3 * _DAY, _DAY),
    Scale("30 days", 30 * _DAY, 6 * _DAY, _DAY),
)
_WITHOUT_FINISHED = next(scale for scale in _SCALES if scale.span == _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line of the axis."""

    at: float
    label: str = ""
    late: bool = False
    """A narrow screen has no room for the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One session."""

    kind: str
    """`running`, or the result."""
    start: float
    end: float
    earlier: bool
    """The session started before the axis begins."""
    row: int
    text: str


@dataclass(slots=True)
class Lane:
    """The sessions of one organization of one server."""

    server: str
    organization: str
    marks: list[Mark] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """The number of sessions of each kind, drawn or not."""
    left_out: int = 0
    _left_edges: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """The number of rows in use; overlapping marks are in different rows."""
        return len(self._left_edges)

    @property
    def tally(self) -> tuple[tuple[str, int], ...]:
        """The number of sessions of each kind, running ones first."""
        kinds = [*_KINDS, *sorted(self.counts.keys() - set(_KINDS))]
        return tuple((kind, self.counts[kind]) for kind in kinds if kind in self.counts)

    @property
    def text(self) -> str:
        """The lane in words."""
        text = ", ".join(f"{count} {kind}" for kind, count in self.tally)
        return f"{text}; {self.left_out} of them not drawn" if self.left_out else text

    def reserve_row(self, start: float, end: float, *, max_rows: int) -> int | None:
        """Reserve the first row with room left of its marks; return None if there is no room.

        The newest marks come first, so rows fill from the right.
        """
        for row, left_edge in enumerate(self._left_edges):
            if end + _GAP_PERCENT <= left_edge:
                self._left_edges[row] = start
                return row
        if len(self._left_edges) < max_rows:
            self._left_edges.append(start)
            return len(self._left_edges) - 1
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole timeline."""

    begin: datetime
    end: datetime
    name: str
    """The span of the axis, such as `6 hours`."""
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]
    lanes_left_out: int
    running_left_out: int
    only_last_finished: bool
    """The sessions that finished first within the axis are not drawn."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds in the legend: the usual ones, and others that occur."""
        others = {kind for lane in self.lanes for kind in lane.counts} - set(_KINDS)
        return (*_KINDS, *sorted(others))


def timeline(page: StatusPage) -> Timeline | None:
    """Lay out the running and the latest finished sessions; return None if there is nothing to draw."""
    now = page.generated
    scale = _scale(page)
    axis = _Axis(begin=now - timedelta(seconds=scale.span), end=now)
    lanes = list(_lanes((*page.running, *page.finished), axis))
    if not lanes:
        return None
    order = {server.name: number for number, server in enumerate(page.servers)}
    drawn = lanes[:_MAX_LANES]
    drawn.sort(key=lambda lane: (order.get(lane.server, 0), lane.organization.casefold()))
    return Timeline(
        begin=axis.begin,
        end=axis.end,
        name=scale.name,
        ticks=tuple(axis.ticks(scale)),
        lanes=tuple(drawn),
        lanes_left_out=len(lanes) - len(drawn),
        running_left_out=max(0, page.running_total - len(page.running)),
        only_last_finished=_is_partial(page) and _ended(page.finished[-1]) > axis.begin,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    begin: datetime
    end: datetime

    def position(self, moment: datetime) -> float:
        """Return the position of a moment in percent; moments outside the axis are at its edges."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def ticks(self, scale: Scale) -> Iterable[Tick]:
        step = scale.tick_step
        first = -(-int(self.begin.timestamp()) // step) * step
        for seconds in range(first, int(self.end.timestamp()), step):
            moment = datetime.fromtimestamp(seconds, UTC)
            at = self.position(moment)
            labelled = seconds % scale.label_step == 0 and at <= _TOO_LATE_PERCENT
            label = _tick_label(moment) if labelled else ""
            yield Tick(at=at, label=label, late=labelled and at > _LATE_PERCENT)


def _tick_label(moment: datetime) -> str:
    return f"{moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else day_and_month(moment)


def _scale(page: StatusPage) -> Scale:
    """Return the smallest scale that shows the latest sessions, within the time for which the page has all of them."""
    if not page.finished:
        return _WITHOUT_FINISHED
    ages = [(page.generated - _ended(row)).total_seconds() for row in page.finished]
    complete_seconds = ages[-1] if _is_partial(page) else math.inf
    scales = [scale for scale in _SCALES if scale.span <= complete_seconds] or [_SCALES[0]]
    recent = [age for age in ages if age <= scales[-1].span][:_SCALING_SESSIONS]
    if not recent:
        return _WITHOUT_FINISHED
    return next(scale for scale in scales if recent[-1] <= scale.span)


def _is_partial(page: StatusPage) -> bool:
    """Return whether the page has only some of the finished sessions."""
    return sum(count for _, count in page.finished_totals) > len(page.finished) > 0


def _ended(row: SessionRow) -> datetime:
    return row.ended or row.started


def _lanes(rows: Iterable[SessionRow], axis: _Axis) -> Iterable[Lane]:
    """Return the lanes in the order of their first sessions."""
    lanes: dict[tuple[str, str], Lane] = {}
    for row in rows:
        if row.result is not None and _ended(row) < axis.begin:
            continue
        lane = lanes.setdefault(
            (row.server, row.organization), Lane(server=row.server, organization=row.organization)
        )
        _draw(lane, row, axis)
    return lanes.values()


def _draw(lane: Lane, row: SessionRow, axis: _Axis) -> None:
    kind = RUNNING if row.result is None else row.result
    lane.counts[kind] = lane.counts.get(kind, 0) + 1
    start = axis.position(row.started)
    end = 100.0 if kind == RUNNING else axis.position(_ended(row))
    max_rows = _MAX_RUNNING_ROWS if kind == RUNNING else _MAX_ROWS
    row_number = lane.reserve_row(start, end, max_rows=max_rows)
    if row_number is None:
        lane.left_out += 1
        return
    lane.marks.append(
        Mark(
            kind=kind,
            start=start,
            end=end,
            earlier=row.started < axis.begin,
            row=row_number,
            text=_mark_text(row, axis.end),
        )
    )


def _mark_text(row: SessionRow, now: datetime) -> str:
    """Return one session in words."""
    product = product_name(row.type)
    started = clock_time(row.started, now)
    if row.result is None:
        return f"{product}, running for {human_duration(row.duration_seconds)} since {started}"
    ended = "unknown" if row.ended is None else clock_time(row.ended, now)
    return f"{product}, {row.result}, {started} to {ended} ({human_duration(row.duration_seconds)})"
