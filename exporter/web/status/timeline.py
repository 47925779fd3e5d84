"""The last sessions of each organization as marks on a common axis of time; where they are drawn, not how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from exporter.text import human_duration
from exporter.web.status.formatting import (
    clock_time,
    day_and_month,
    type_in_words,
)
from exporter.web.status.page import SessionRow, StatusPage

__all__ = ["RUNNING", "Lane", "Mark", "Tick", "Timeline", "timeline"]

RUNNING: Final = "running"
"""What stands for the result of a session that has none yet."""

# The newest sessions decide how far back the axis reaches; single old ones must not press them together.
_DECISIVE_SESSIONS: Final = 120
_MOST_LANES: Final = 40
_ROWS: Final = 6
_ROWS_OF_RUNNING: Final = 3
# A mark is wider than the moment it stands for: about this much of a phone's screen.
_GAP_PERCENT: Final = 3.0
# Closer to the right edge a label runs into that of the present: on a phone, and on any screen.
_LATE_PERCENT: Final = 80.0
_TOO_LATE_PERCENT: Final = 94.0

_KINDS: Final = (RUNNING, "Success", "Warning", "Failed")

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """How much time the axis shows, and how it is divided; seconds."""

    name: str
    span: int
    labelled: int
    divided: int


_SCALES: Final = tuple(
    Scale(name=name, span=span, labelled=labelled, divided=divided)
    for name, span, labelled, divided in (
        ("15 minutes", 15 * _MINUTE, 3 * _MINUTE, _MINUTE),
        ("30 minutes", 30 * _MINUTE, 5 * _MINUTE, _MINUTE),
        ("hour", _HOUR, 10 * _MINUTE, 5 * _MINUTE),
        ("3 hours", 3 * _HOUR, 30 * _MINUTE, 10 * _MINUTE),
        ("6 hours", 6 * _HOUR, _HOUR, 30 * _MINUTE),
        ("12 hours", 12 * _HOUR, 2 * _HOUR, _HOUR),
        ("24 hours", _DAY, 4 * _HOUR, _HOUR),
        ("2 days", 2 * _DAY, 12 * _HOUR, 4 * _HOUR),
        ("4 days", 4 * _DAY, _DAY, 12 * _HOUR),
        ("7 days", 7 * _DAY, 2 * _DAY, _DAY),
        ("14 days", 14 * _DAY, 3 * _DAY, _DAY),
        ("30 days", 30 * _DAY, 6 * _DAY, _DAY),
    )
)
_WITHOUT_FINISHED: Final = next(scale for scale in _SCALES if scale.span == _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line of the axis; `at` is its place in percent of the width."""

    at: float
    label: str = ""
    late: bool = False
    """True when there is no room for the label on a narrow screen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One session; its places are in percent of the width."""

    kind: str
    """`running`, or the result."""
    start: float
    end: float
    earlier: bool
    """It started before the axis does."""
    row: int
    text: str


@dataclass(slots=True)
class Lane:
    """One organization of one server."""

    server: str
    organization: str
    marks: list[Mark] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """How many sessions there are of each kind, drawn or not."""
    left_out: int = 0
    _left_edges: list[float] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """How many marks stand above each other."""
        return len(self._left_edges)

    @property
    def tally(self) -> tuple[tuple[str, int], ...]:
        """How many sessions there are of each kind, what runs first."""
        kinds = [*_KINDS, *sorted(self.counts.keys() - set(_KINDS))]
        return tuple((kind, self.counts[kind]) for kind in kinds if kind in self.counts)

    @property
    def text(self) -> str:
        """What is drawn, in words."""
        text = ", ".join(f"{count} {kind}" for kind, count in self.tally)
        return f"{text}; {self.left_out} of them not drawn" if self.left_out else text

    def free_row(self, end: float, *, most: int) -> int | None:
        """A row in which nothing stands left of `end`; filled from the right, so that the newest find room."""
        for row, left_edge in enumerate(self._left_edges):
            if end + _GAP_PERCENT <= left_edge:
                return row
        if len(self._left_edges) < most:
            self._left_edges.append(_BEYOND_PERCENT)
            return len(self._left_edges) - 1
        return None

    def occupy(self, row: int, start: float) -> None:
        """Note how far to the left a row is taken."""
        self._left_edges[row] = start


_BEYOND_PERCENT: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """All of it."""

    begin: datetime
    end: datetime
    name: str
    """How much time it shows: `6 hours`."""
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]
    lanes_left_out: int
    running_left_out: int
    only_last_finished: bool
    """True when more sessions than are drawn have finished since the axis begins."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """What marks may stand for: the known results, and others that are there."""
        others = {kind for lane in self.lanes for kind in lane.counts} - set(_KINDS)
        return (*_KINDS, *sorted(others))


def timeline(page: StatusPage) -> Timeline | None:
    """Lay out what runs and what ended last; None when there is nothing to draw."""
    now = page.generated
    scale = _scale(page)
    axis = _Axis(begin=now - timedelta(seconds=scale.span), end=now)
    lanes = list(_lanes((*page.running, *page.finished), axis))
    if not lanes:
        return None
    order = {server.name: number for number, server in enumerate(page.servers)}
    drawn = lanes[:_MOST_LANES]
    drawn.sort(key=lambda lane: (order.get(lane.server, 0), lane.organization.casefold()))
    return Timeline(
        begin=axis.begin,
        end=axis.end,
        name=scale.name,
        ticks=tuple(axis.ticks(scale)),
        lanes=tuple(drawn),
        lanes_left_out=len(lanes) - len(drawn),
        running_left_out=max(0, page.running_total - len(page.running)),
        only_last_finished=_is_part(page) and _ended(page.finished[-1]) > axis.begin,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    begin: datetime
    end: datetime

    def place(self, moment: datetime) -> float:
        """Where a moment stands, in percent; what lies outside stands at the edge."""
        share = (moment - self.begin) / (self.end - self.begin)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def ticks(self, scale: Scale) -> Iterable[Tick]:
        step = scale.divided
        first = -(-int(self.begin.timestamp()) // step) * step
        for seconds in range(first, int(self.end.timestamp()), step):
            moment = datetime.fromtimestamp(seconds, UTC)
            at = self.place(moment)
            labelled = seconds % scale.labelled == 0 and at <= _TOO_LATE_PERCENT
            label = _tick_label(moment) if labelled else ""
            yield Tick(at=at, label=label, late=labelled and at > _LATE_PERCENT)


def _tick_label(moment: datetime) -> str:
    return f"{moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else day_and_month(moment)


def _scale(page: StatusPage) -> Scale:
    """The smallest scale that shows the last sessions; none that reaches back to where the page knows only some."""
    if not page.finished:
        return _WITHOUT_FINISHED
    ages = [(page.generated - _ended(row)).total_seconds() for row in page.finished]
    scales = [one for one in _SCALES if not _is_part(page) or one.span <= ages[-1]] or _SCALES[:1]
    recent = [age for age in ages if age <= scales[-1].span][:_DECISIVE_SESSIONS]
    if not recent:
        return _WITHOUT_FINISHED
    return next(one for one in scales if recent[-1] <= one.span)


def _is_part(page: StatusPage) -> bool:
    """True when the page's finished sessions are not all there are."""
    return sum(count for _, count in page.finished_totals) > len(page.finished) > 0


def _ended(row: SessionRow) -> datetime:
    return row.ended or row.started


def _lanes(rows: Iterable[SessionRow], axis: _Axis) -> Iterable[Lane]:
    """The organizations in the order in which their sessions come."""
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
    start = axis.place(row.started)
    end = 100.0 if kind == RUNNING else axis.place(_ended(row))
    place = lane.free_row(end, most=_ROWS_OF_RUNNING if kind == RUNNING else _ROWS)
    if place is None:
        lane.left_out += 1
        return
    lane.occupy(place, start)
    lane.marks.append(
        Mark(
            kind=kind,
            start=start,
            end=end,
            earlier=row.started < axis.begin,
            row=place,
            text=_text(row, axis.end),
        )
    )


def _text(row: SessionRow, now: datetime) -> str:
    """One session in words."""
    product = type_in_words(row.type)
    started = clock_time(row.started, now)
    if row.result is None:
        return f"{product}, running for {human_duration(row.duration_seconds)} since {started}"
    ended = "unknown" if row.ended is None else clock_time(row.ended, now)
    return f"{product}, {row.result}, {started} to {ended} ({human_duration(row.duration_seconds)})"
