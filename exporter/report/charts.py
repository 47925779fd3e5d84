"""The geometry of the report's two charts: restores over time, and the age of the last proven restore."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from exporter.report.summarize import Report
from exporter.vb365.records.restore_session import RestoreSession, SessionResult
from exporter.web.status.formatting import day_and_month

HEIGHT = 150
"""The height of the area of the bars in pixels. Widths are percentages."""
_MAX_WEEKS = 60
_MAX_MONTHS = 180
_MAX_LABELS = 9
_GAP_SHARE = 0.28
_MIN_TOP = 4  # so that a single session does not fill the chart
# The axis of ages has equal steps: on a linear axis, the first three would be squeezed into a quarter.
_AGE_STEPS_DAYS = (0.0, 7.0, 30.0, 90.0, 365.0)

KINDS = ("failed", "warning", "success", "nothing", "unknown")
"""The kinds of finished sessions, from the bottom of a bar: failures are easiest to compare on the baseline."""


@dataclass(slots=True, kw_only=True)
class Segment:
    """A part of a bar: sessions of one kind."""

    kind: str
    count: int
    y: float
    height: float


@dataclass(slots=True, kw_only=True)
class Bar:
    """The finished sessions of a week, month or year."""

    start: date
    label: str
    x: float
    """The centre, in percent of the chart's width, as is `width`."""
    width: float
    labelled: bool
    second_label: bool
    """Whether a narrow screen omits the label, as it does with every second label."""
    segments: list[Segment] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the bar shows, in words."""
        parts = [f"{one.count:,} {one.kind}" for one in reversed(self.segments)]
        return f"{self.label}: {', '.join(parts) or 'none'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Stacked bars over time."""

    unit: str
    bars: Sequence[Bar]
    ticks: Sequence[tuple[int, float]]
    """The values on the vertical axis, each with its y."""
    kinds: Sequence[str]
    """The kinds that appear, for the legend."""


def kind_of(session: RestoreSession) -> str:
    """Return the kind of a finished session: its result, or that it restored nothing."""
    if session.proves_restore:
        return "success" if session.result is SessionResult.SUCCESS else "warning"
    if session.result is SessionResult.FAILED:
        return "failed"
    if session.result is SessionResult.UNKNOWN or session.processed_items is None:
        return "unknown"
    return "nothing"


def bar_chart(report: Report) -> BarChart:
    """Return the finished sessions of the period per week or, if there are too many weeks, per month or year.

    A bar shows the sessions that ended in it. The first bar is the first with a session if any session finished.
    """
    last = report.scope.until.date()
    counts: Counter[tuple[date, str]] = Counter()
    for _, session in report.sessions():
        if session.stopped:
            # The server's clock may be ahead.
            day = min(last, (session.ended_at or session.creation_time).date())
            counts[day, kind_of(session)] += 1
    since = report.scope.since.date()
    first = max(since, min((day for day, _ in counts), default=since))
    unit, start_of = _unit(first, last)
    days = (first + timedelta(days=number) for number in range((last - first).days + 1))
    by_start: dict[date, Counter[str]] = {start_of(day): Counter() for day in days}
    for (day, kind), count in counts.items():
        by_start[start_of(day)][kind] += count
    top, step = _scale(max(found.total() for found in by_start.values()))
    bars = [
        _bar(start, place, len(by_start), found, top, unit)
        for place, (start, found) in enumerate(by_start.items())
    ]
    return BarChart(
        unit=unit,
        bars=bars,
        ticks=[(value, HEIGHT - HEIGHT * value / top) for value in range(0, top + 1, step)],
        kinds=[kind for kind in KINDS if any(kind in found for found in by_start.values())],
    )


def age_percent(days: float) -> float:
    """Return the place of an age on the axis, in percent: 7, 30, 90 and 365 days are a quarter apart."""
    for place, (low, high) in enumerate(itertools.pairwise(_AGE_STEPS_DAYS)):
        if days < high:
            return 25 * (place + max(0.0, days - low) / (high - low))
    return 100.0


def _unit(first: date, last: date) -> tuple[str, Callable[[date], date]]:
    days = (last - first).days
    if days <= _MAX_WEEKS * 7:
        return "week", lambda day: day - timedelta(days=min(day.weekday(), day.toordinal() - 1))
    if days <= _MAX_MONTHS * 31:
        return "month", lambda day: day.replace(day=1)
    return "year", lambda day: day.replace(month=1, day=1)


def _scale(highest: int) -> tuple[int, int]:
    """Return the end of the vertical axis and the distance between its ticks: 1, 2 or 5 times a power of ten."""
    steps = (factor * 10**exponent for exponent in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if highest <= 4 * step)
    return max(_MIN_TOP, -(-highest // step) * step), step


def _bar(start: date, place: int, bars: int, counts: Mapping[str, int], top: int, unit: str) -> Bar:
    slot = 100 / bars
    every = -(-bars // _MAX_LABELS)
    bar = Bar(
        start=start,
        label=_label(start, unit),
        x=round((place + 0.5) * slot, 2),
        width=round(min(6.0, slot * (1 - _GAP_SHARE)), 2),
        labelled=place % every == 0,
        second_label=place // every % 2 == 1,
    )
    y = float(HEIGHT)
    for kind in [kind for kind in KINDS if kind in counts]:
        height = HEIGHT * counts[kind] / top
        y -= height
        segment = Segment(kind=kind, count=counts[kind], y=round(y, 2), height=round(height, 2))
        bar.segments.append(segment)
    return bar


def _label(start: date, unit: str) -> str:
    if unit == "year":
        return f"{start.year}"
    day = day_and_month(start)
    return f"{day.split()[1]} {start.year}" if unit == "month" else day
