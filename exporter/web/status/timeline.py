"""The timeline: how far its axis reaches back, and which lanes are folded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from exporter.web.status.formatting import day_and_month
from exporter.web.status.lanes import KINDS, Axis, Lane, draw_lanes
from exporter.web.status.page import SessionRow, StatusPage

# A day with fewer sessions is quiet: the axis reaches further back, to show about as many.
_FEW_SESSIONS = 10
# If more marks are above each other, their order in time is hard to see.
_LEGIBLE_ROWS = 3
_LEGIBLE_SHARE = 0.9
_MAX_LANES = 100
# Lanes without trouble fill up the unfolded ones to this number; a few more are not worth folding.
_UNFOLDED_LANES = 8
_WORTH_FOLDING = 3
# Further right, a label would overlap "now": on a phone, and on any screen.
_LATE_PERCENT = 80.0
_TOO_LATE_PERCENT = 94.0

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line of the axis."""

    at: float
    label: str = ""
    late: bool = False
    """Whether a narrow screen has no room for the label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The whole timeline."""

    begin: datetime
    end: datetime
    name: str
    """The span of the axis, such as `6 hours`."""
    ticks: tuple[Tick, ...]
    lanes: tuple[Lane, ...]
    """Organizations in trouble first."""
    folded: tuple[Lane, ...]
    """The lanes that are shown on request."""
    lanes_left_out: int
    running_left_out: int
    only_last_finished: bool
    """Whether the sessions that finished first within the axis are not drawn."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds in the legend: the usual ones, and others that occur."""
        others = {kind for lane in (*self.lanes, *self.folded) for kind in lane.counts} - set(KINDS)
        return (*KINDS, *sorted(others))


def timeline(page: StatusPage) -> Timeline | None:
    """Lay out the running and the latest finished sessions; return None if there is nothing to draw."""
    scale = _scale(page)
    axis = _axis(page, scale)
    lanes = draw_lanes((*page.running, *page.finished), axis)
    if not lanes:
        return None
    drawn = lanes[:_MAX_LANES]
    unfolded = max(_UNFOLDED_LANES, sum(lane.in_trouble for lane in drawn))
    if len(drawn) < unfolded + _WORTH_FOLDING:
        unfolded = len(drawn)
    return Timeline(
        begin=axis.begin,
        end=axis.end,
        name=scale.name,
        ticks=tuple(_ticks(axis, scale)),
        lanes=tuple(drawn[:unfolded]),
        folded=tuple(drawn[unfolded:]),
        lanes_left_out=len(lanes) - len(drawn),
        running_left_out=max(0, page.running_total - len(page.running)),
        only_last_finished=_is_partial(page) and page.finished[-1].end > axis.begin,
    )


def _axis(page: StatusPage, scale: Scale) -> Axis:
    return Axis(begin=page.generated - timedelta(seconds=scale.span), end=page.generated)


def _scale(page: StatusPage) -> Scale:
    """Return the longest scale up to a day on which a busy last hour is legible; on a quiet day, a longer scale.

    If the page has only some of the finished sessions, the scale ends before the first that is missing, unless that
    would be less than the shortest scale. Running sessions do not affect it.
    """
    ages = [page.age(row.end) for row in page.finished]
    day = next(scale for scale in _SCALES if scale.span == _DAY)
    if sum(age <= _DAY for age in ages) < _FEW_SESSIONS:
        wanted = [age for age in ages if age <= _SCALES[-1].span][:_FEW_SESSIONS]
        needed = max([day.span, *wanted])
        return next(scale for scale in _SCALES if scale.span >= needed)
    complete_seconds = ages[-1] if _is_partial(page) else math.inf
    last_hour = [row for row, age in zip(page.finished, ages, strict=True) if age <= _HOUR]
    for scale in reversed(_SCALES):
        if scale.span <= min(_DAY, complete_seconds) and _is_legible(last_hour, _axis(page, scale)):
            return scale
    return _SCALES[0]


def _is_legible(rows: Sequence[SessionRow], axis: Axis) -> bool:
    lanes = draw_lanes(rows, axis)
    legible = sum(mark.row < _LEGIBLE_ROWS for lane in lanes for mark in lane.marks)
    shown = sum(lane.counts.total() for lane in lanes)
    return legible >= _LEGIBLE_SHARE * shown


def _is_partial(page: StatusPage) -> bool:
    """Return whether the page has only some of the finished sessions."""
    return sum(page.finished_totals.values()) > len(page.finished) > 0


def _ticks(axis: Axis, scale: Scale) -> Iterable[Tick]:
    step = scale.tick_step
    first = -(-int(axis.begin.timestamp()) // step) * step
    for seconds in range(first, int(axis.end.timestamp()), step):
        moment = datetime.fromtimestamp(seconds, UTC)
        at = axis.position(moment)
        labelled = seconds % scale.label_step == 0 and at <= _TOO_LATE_PERCENT
        label = _tick_label(moment) if labelled else ""
        yield Tick(at=at, label=label, late=labelled and at > _LATE_PERCENT)


def _tick_label(moment: datetime) -> str:
    return f"{moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else day_and_month(moment)
