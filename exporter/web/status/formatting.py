"""The text of times, counts, names and reasons on the status page and in the report, and their Jinja environment."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from functools import partial
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_MAX_NAME_CHARACTERS = 64
_MAX_LISTED = 3
_UNIT = re.compile(r"(?<=\d) (?=(?:d|h|min|s)\b)|(?<=\d (?:d|h)) (?=\d)|(?<=\d min) (?=\d)")
_BIDI_CONTROLS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# strftime depends on the locale.
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_PRODUCTS: Mapping[str, str] = {
    "Vex": "Exchange",
    "Veod": "OneDrive",
    "Vesp": "SharePoint",
    "Vet": "Teams",
}
_REASONS: Mapping[str, str] = {
    "connect": "it cannot be reached",
    "timeout": "it does not respond in time",
    "tls": "no trusted TLS connection can be established",
    "auth": "it refuses the login",
    "forbidden": "the account lacks permissions",
    "throttled": "it throttles requests",
    "server_error": "it responds with server errors",
    "bad_response": "its responses are unusable",
    "not_found": "its REST API was not found",
    "internal": "the exporter failed, see its log",
}


def clock_time(moment: datetime, now: datetime) -> str:
    """Return a short time: no date for today, no year for this year, no time of day for other years."""
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}"
    day = day_and_month(moment)
    return f"{day} {moment:%H:%M}" if moment.year == now.year else f"{day} {moment.year}"


def day_and_month(day: date) -> str:
    """Return a date without its year."""
    return f"{day.day} {_MONTHS[day.month - 1]}"


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 session`, `2 sessions`, `12,000 sessions`."""
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """Return names as part of a sentence: `a`, `a and b`, `a, b, c and 7 more`."""
    left_out = len(names) - _MAX_LISTED
    *first, last = [*names[:_MAX_LISTED], f"{left_out} more"] if left_out > 0 else names
    return f"{', '.join(first)} and {last}" if first else last


def cut(text: str, characters: int) -> str:
    """Truncate a text to this many characters, the last of them an ellipsis."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def in_sentence(name: str) -> str:
    """Make an untrusted name safe inside a sentence: remove its direction marks, and truncate it."""
    return cut(_BIDI_CONTROLS.sub("", name), _MAX_NAME_CHARACTERS)


def unbroken(text: str) -> str:
    """Replace hyphens, and the spaces of durations, with those at which a browser does not break the line."""
    return _UNIT.sub("\u00a0", text.replace("-", "\u2011"))


def product_name(type_: str) -> str:
    """Return the product that a session type stands for; return an unknown type unchanged."""
    return _PRODUCTS.get(type_, type_)


def info_label(label: str) -> str:
    """Return a session field as a column heading: `initiated_by` becomes `Initiated by`."""
    return label.replace("_", " ").capitalize()


def failure_reason(reason: str | None) -> str:
    """Return why a server could not be read, as the end of a sentence."""
    return _REASONS.get(reason or "", "some data could not be read")


def read_template(package: str, name: str) -> str:
    """Return a file in the `templates` directory of a package."""
    return resources.files(package).joinpath("templates", name).read_text(encoding="utf-8")


def template_environment(package: str, **filters: Callable[..., object]) -> jinja2.Environment:
    """Return an environment that loads the templates of a package, escapes every value, and has additional filters."""
    # Most instances are only scraped: importing Jinja here saves their start 60 ms and 2 MiB.
    import jinja2  # noqa: PLC0415

    environment = jinja2.Environment(
        autoescape=True,
        auto_reload=False,
        keep_trailing_newline=True,
        loader=jinja2.FunctionLoader(partial(read_template, package)),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update(
        clock=clock_time,
        cut=cut,
        full="{:%Y-%m-%d %H:%M:%S}".format,
        heading=info_label,
        number="{:,}".format,
        precise=partial(datetime.isoformat, timespec="seconds"),
        product=product_name,
        reason=failure_reason,
        unbroken=unbroken,
        **filters,
    )
    environment.globals.update(counted=counted, listed=listed)
    return environment
