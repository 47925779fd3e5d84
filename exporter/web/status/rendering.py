"""The status page as one HTML file: no script, nothing from elsewhere, every value escaped."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import jinja2

from exporter.text import human_duration
from exporter.web.status import formatting
from exporter.web.status.page import SessionRow, StatusPage
from exporter.web.status.style import STYLE, template
from exporter.web.status.timeline import timeline
from exporter.web.status.verdict import (
    LONG_RUNNING_SECONDS,
    certificate_level,
    nothing_finished,
    nothing_running,
    servers_without_data,
    verdict,
)

__all__ = ["render_status"]

_SHOWN_SERVERS: Final = 16
_SHOWN_SESSIONS: Final = 20
_SHOWN_FAILURES: Final = 12
# Personal data of one row; shared by its columns, so that a page with all of them stays small.
_INFO_CHARACTERS: Final = 160
_REFRESH_SECONDS: Final = (10, 60)


def render_status(page: StatusPage, *, telemetry_path: str, paused: bool = False) -> str:
    """Render the page.

    Args:
        page: what is shown; of long lists a part, and how much is left out.
        telemetry_path: where the metrics are.
        paused: whether the page stays as it is instead of renewing itself.
    """
    running, finished = page.running[:_SHOWN_SESSIONS], page.finished[:_SHOWN_SESSIONS]
    trouble_first = sorted(
        page.servers, key=lambda server: (server.up is not False, server.up is not None)
    )
    return _TEMPLATE.render(
        page=page,
        verdict=verdict(page),
        servers=trouble_first[:_SHOWN_SERVERS],
        servers_left_out=len(page.servers) - len(trouble_first[:_SHOWN_SERVERS]),
        running=running,
        finished=finished,
        # Totals rest on complete lists alone; before the first of those there may be more sessions than they say.
        finished_total=max(sum(count for _, count in page.finished_totals), len(page.finished)),
        failures=page.recent_failures[:_SHOWN_FAILURES],
        silent=servers_without_data(page),
        nothing_running=nothing_running(page),
        nothing_finished=nothing_finished(page),
        timeline=timeline(page),
        telemetry_path=telemetry_path,
        paused=paused,
        refresh_seconds=_refresh_seconds(page),
        info_characters=_INFO_CHARACTERS // max(1, len(page.info_labels)),
        style=STYLE,
    ).lstrip()


def _refresh_seconds(page: StatusPage) -> int:
    """How often the page renews itself: as often as there is something new, within reason."""
    least, most = _REFRESH_SECONDS
    return round(max(least, min([most, *(one.poll_interval_seconds for one in page.servers)])))


def _is_long(row: SessionRow) -> bool:
    """Tell whether a running session was probably forgotten."""
    return (row.duration_seconds or 0.0) >= LONG_RUNNING_SECONDS


def _seconds_since(moment: datetime, now: datetime) -> float:
    return (now - moment).total_seconds()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        auto_reload=False,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(template),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        clock=formatting.clock_time,
        cut=formatting.cut,
        duration=human_duration,
        full=formatting.full_time,
        heading=formatting.info_label,
        precise=formatting.precise_time,
        number="{:,}".format,
        product=formatting.type_in_words,
        reason=formatting.reason_in_words,
        since=_seconds_since,
    )
    environment.tests["long_running"] = _is_long
    environment.globals.update(
        certificate_level=certificate_level, counted=formatting.counted, listed=formatting.listed
    )
    return environment


_TEMPLATE: Final = _environment().get_template("status.html")
