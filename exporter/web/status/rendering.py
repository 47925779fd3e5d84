"""The status page: the data that a service fills in, and its rendering as one HTML file."""

from __future__ import annotations

import base64
import hashlib
import itertools
import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

import jinja2
from markupsafe import Markup

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """One restore session in a table of the page."""

    session_id: str
    organization: str
    type: str
    state: str
    result: str | None  # None while it runs
    started: datetime  # UTC
    ended: datetime | None  # UTC; None: not ended
    duration_seconds: float | None  # until now while it runs; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One VB365 server: its health, how old its data are, and its sessions."""

    name: str
    up: bool | None  # whether the last poll got everything; None: not polled yet
    reason: str | None  # in words, what was wrong with the last poll
    version: str | None
    api_version: str | None
    tls_verified: bool
    last_poll_age_seconds: float | None
    last_success_age_seconds: float | None
    data_age_seconds: float | None  # None: no data are exposed
    poll_interval_seconds: float
    sessions_known: int
    running: tuple[SessionRow, ...]  # the longest-running first
    finished: tuple[SessionRow, ...]  # the newest first
    running_not_shown: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusPage:
    """Everything the status page shows."""

    version: str
    generated: datetime  # UTC
    servers: tuple[ServerStatus, ...]


def human_duration(seconds: float | None) -> str:
    """Write a time span by its two largest units: `2 d 3 h`, `4 min 5 s`, `12 s`.

    Negative spans, which clocks that disagree make, are `0 s`; None and NaN are `unknown`.
    """
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    rest = max(0, int(seconds))
    for (size, name), (small_size, small_name) in itertools.pairwise(_UNITS):
        if rest >= size:
            small = rest % size // small_size
            return f"{rest // size} {name}" + (f" {small} {small_name}" if small else "")
    return f"{rest} s"


_UNITS: Final = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def utc_time(moment: datetime) -> str:
    """Write a time in UTC to the second, without the zone (the page says it once)."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def render_status(page: StatusPage, *, telemetry_path: str) -> str:
    """Render the page; every value is escaped."""
    return _TEMPLATE.render(page=page, telemetry_path=telemetry_path, style=_STYLE).lstrip()


def _read(name: str) -> str:
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        auto_reload=False,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(_read),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["duration"] = human_duration
    environment.filters["utc"] = utc_time
    return environment


_STYLE: Final = Markup(_read("status.css"))  # noqa: S704 - our own file, no value goes into it
_TEMPLATE: Final = _environment().get_template("status.html")

STYLE_SOURCE: Final = (
    f"'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode('ascii')}'"
)
"""The style sheet as a source for the Content-Security-Policy: only this one applies."""
