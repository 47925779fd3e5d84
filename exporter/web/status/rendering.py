"""The status page as one HTML file, without scripts and external resources; caches it and its JSON form."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import math
import re
import time
from collections.abc import Callable, Iterable

from exporter.text import human_duration
from exporter.web.blocking import run_in_daemon_thread
from exporter.web.status.formatting import read_template, template_environment, unbroken
from exporter.web.status.json_document import render_json
from exporter.web.status.page import StatusPage
from exporter.web.status.timeline import timeline
from exporter.web.status.verdict import (
    absence,
    certificate_level,
    servers_without_data,
    verdict,
)

_MAX_SERVERS = 16
_MAX_SESSIONS = 20
_MAX_FAILED_UNFOLDED, _MAX_FAILED = 20, 100
_MAX_MISSING = 20
_MAX_QUIET_ORGANIZATIONS = 200
_MAX_ANCHOR_CHARACTERS = 200
# The characters of personal data in a row, shared among its columns: the page stays small with all of them.
_INFO_CHARACTERS = 160
_MIN_REFRESH_SECONDS, _MAX_REFRESH_SECONDS = 10, 60
_CACHE_SECONDS = 1.0

_PACKAGE = "exporter.web"
_STYLE = read_template(_PACKAGE, "status.css")

STYLE_SOURCE = (
    f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode('ascii')}'"
)
"""The style sheet as a Content-Security-Policy source: the browser applies no other."""


class StatusPageCache:
    """Renders the page in a worker thread, while the event loop serves scrapes, and keeps it for a second.

    Args:
        read: returns the data of the page; called in a worker thread, never concurrently.
        telemetry_path: the path of the metrics.
        monotonic: the clock of the cache.
    """

    def __init__(
        self,
        read: Callable[[], StatusPage],
        *,
        telemetry_path: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._telemetry_path = telemetry_path
        self._monotonic = monotonic
        self._rendering = asyncio.Lock()
        self._rendered: dict[str, tuple[float, str]] = {}

    async def html(self, *, paused: bool) -> str:
        """Return the page as of at most a second ago; `paused` as in `render_status`."""
        render = functools.partial(
            render_status, telemetry_path=self._telemetry_path, paused=paused
        )
        return await self._cached(f"html, paused: {paused}", render)

    async def json(self) -> str:
        """Return the JSON form of the page as of at most a second ago."""
        return await self._cached("json", render_json)

    async def _cached(self, form: str, render: Callable[[StatusPage], str]) -> str:
        async with self._rendering:
            rendered_at, text = self._rendered.get(form, (-math.inf, ""))
            if self._monotonic() - rendered_at >= _CACHE_SECONDS:
                rendered_at = self._monotonic()
                text = await run_in_daemon_thread(lambda: render(self._read()))
                self._rendered[form] = (rendered_at, text)
            return text


def render_status(page: StatusPage, *, telemetry_path: str, paused: bool = False) -> str:
    """Render the page.

    Args:
        page: the data; of a long list, the first entries and the number of the others are shown.
        telemetry_path: the path of the metrics.
        paused: whether the page does not refresh itself.
    """
    down_first = sorted(
        page.servers, key=lambda server: (server.up is not False, server.up is not None)
    )
    drawn = timeline(page)
    lanes = () if drawn is None else (*drawn.lanes, *drawn.folded)
    drawn_keys = {(lane.server, lane.organization) for lane in lanes}
    quiet = [one for one in page.organizations if (one.server, one.organization) not in drawn_keys]
    return _template()(
        page=page,
        findings=verdict(page),
        servers=down_first[:_MAX_SERVERS],
        servers_left_out=max(0, len(down_first) - _MAX_SERVERS),
        failed=page.failed[:_MAX_FAILED_UNFOLDED],
        failed_folded=page.failed[_MAX_FAILED_UNFOLDED:_MAX_FAILED],
        failed_left_out=page.failed_total - len(page.failed[:_MAX_FAILED]),
        missing=page.missing[:_MAX_MISSING],
        running=page.running[:_MAX_SESSIONS],
        finished=page.finished[:_MAX_SESSIONS],
        # The totals come from complete lists; until there is one, more sessions may be known.
        finished_total=max(sum(page.finished_totals.values()), len(page.finished)),
        recent_total=sum(page.recent_totals.values()),
        without_data=servers_without_data(page),
        nothing_running=absence(page, "No restore session is running"),
        nothing_finished=absence(
            page, "No restore session has finished within the lookback period"
        ),
        timeline=drawn,
        last_restored={
            (one.server, one.organization): one.last_restored for one in page.organizations
        },
        quiet_organizations=quiet[:_MAX_QUIET_ORGANIZATIONS],
        quiet_total=len(quiet) + page.organizations_total - len(page.organizations),
        never_restored=sum(one.last_restored is None for one in quiet),
        anchors=_anchors(
            [
                *drawn_keys,
                *((one.server, one.organization) for one in quiet[:_MAX_QUIET_ORGANIZATIONS]),
            ]
        ),
        telemetry_path=telemetry_path,
        paused=paused,
        refresh_seconds=_refresh_seconds(page),
        info_characters=_INFO_CHARACTERS // max(1, len(page.info_labels)),
        style=_STYLE,
    ).lstrip()


def _anchors(organizations: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the id of each organization's place on the page, `server/organization`; ids are unique and have no spaces."""
    of_id: dict[str, tuple[str, str]] = {}
    for server, organization in sorted(organizations):
        anchor = re.sub(r"\s", "-", f"{server}/{organization}")
        if len(anchor) <= _MAX_ANCHOR_CHARACTERS:
            of_id.setdefault(anchor, (server, organization))
    return {key: anchor for anchor, key in of_id.items()}


def _refresh_seconds(page: StatusPage) -> int:
    """Return the shortest poll interval within bounds: between polls, little changes."""
    intervals = (server.poll_interval_seconds for server in page.servers)
    return round(max(_MIN_REFRESH_SECONDS, min((_MAX_REFRESH_SECONDS, *intervals))))


@functools.cache
def _template() -> Callable[..., str]:
    """Return the function that renders the template from its variables."""
    environment = template_environment(
        _PACKAGE, duration=lambda seconds: unbroken(human_duration(seconds))
    )
    environment.globals.update(certificate_level=certificate_level)
    return environment.get_template("status.html").render
