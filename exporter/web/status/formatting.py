"""How the status page says things: durations, times, counts, names and reasons, in the words of a person."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

__all__ = [
    "clock_time",
    "counted",
    "cut",
    "day_and_month",
    "full_time",
    "in_sentence",
    "info_label",
    "listed",
    "precise_time",
    "reason_in_words",
    "type_in_words",
]


def precise_time(moment: datetime) -> str:
    """Write a time for machines, as the `datetime` of a `<time>`."""
    return moment.isoformat(timespec="seconds")


def full_time(moment: datetime) -> str:
    """Write a time with its date."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def clock_time(moment: datetime, now: datetime) -> str:
    """Write a time no longer than it has to be: without the date when it is today's, without the year when it is this one's."""
    if moment.date() == now.date():
        return f"{moment:%H:%M:%S}"
    date = day_and_month(moment)
    return f"{date} {moment:%H:%M}" if moment.year == now.year else f"{date} {moment.year}"


def day_and_month(moment: datetime) -> str:
    """Write a date without its year."""
    return f"{moment.day} {_MONTHS[moment.month - 1]}"


# strftime would ask the locale.
_MONTHS: Final = (
    "Jan",
    "Feb",
    "Mar",
    "Apr",
    "May",
    "Jun",
    "Jul",
    "Aug",
    "Sep",
    "Oct",
    "Nov",
    "Dec",
)


def counted(count: int, one: str, many: str | None = None) -> str:
    """Write a number of things: `1 session`, `2 sessions`, `12,000 sessions`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Write names in a row: `a`, `a and b`, `a, b and 7 more`."""
    shown = [*names[:most], f"{len(names) - most} more"] if len(names) > most else list(names)
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last


def cut(text: str, characters: int) -> str:
    """Shorten a text that is longer than so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def in_sentence(name: str) -> str:
    """Make a name from elsewhere a part of a sentence: it cannot turn the direction of what follows, nor drown it."""
    return cut(_BIDI_CONTROLS.sub("", name), _MOST_NAME_CHARACTERS)


_BIDI_CONTROLS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MOST_NAME_CHARACTERS: Final = 64


def type_in_words(type_: str) -> str:
    """Name the product that a session's type stands for; types that are not known keep their names."""
    return _PRODUCTS.get(type_, type_)


_PRODUCTS: Final[Mapping[str, str]] = {
    "Vex": "Exchange",
    "Veod": "OneDrive",
    "Vesp": "SharePoint",
    "Vet": "Teams",
}


def info_label(label: str) -> str:
    """Name a field of a session as the heading of a column: `initiated_by` is `Initiated by`."""
    return label.replace("_", " ").capitalize()


def reason_in_words(reason: str | None) -> str:
    """Tell why a poll failed, as the end of a sentence."""
    return _REASONS.get(reason or "", "not everything could be read")


_REASONS: Final[Mapping[str, str]] = {
    "connect": "it cannot be reached",
    "timeout": "it does not answer in time",
    "tls": "no trusted connection can be made",
    "auth": "it refuses the login",
    "forbidden": "the account may not read everything",
    "throttled": "it wants fewer requests",
    "server_error": "it fails to answer",
    "bad_response": "its answers make no sense",
    "not_found": "its REST API is not there",
    "internal": "the exporter made a mistake, the log tells which",
}
