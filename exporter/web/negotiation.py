"""Which format and which coding a client wants: pure functions over `Accept` and `Accept-Encoding`.

RFC 9110, section 12.5: the most specific matching range decides the weight of an offer, the
heaviest offer wins, and a weight of 0 refuses. Nothing here raises, whatever the header holds: a
header that cannot be read is answered with text 0.0.4 and without compression, which every
Prometheus understands.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporter.metrics.text_format import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_HEADER = 4096  # characters; what Prometheus 3 sends has about 400

# A scraper sends the same header every time, and reading it is a sixth of the work of a small scrape.
_REMEMBERED = 64

# Possessive throughout: no header makes the matching take more than linear time.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - a grammar rule of RFC 9110, not a password
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = rf"[ \t]*+;[ \t]*+(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?+"
_ELEMENT = re.compile(rf"[ \t]*+({_TOKEN}(?:/{_TOKEN})?+)((?:{_PARAMETER})*+)[ \t]*+(?:,|\Z)")
_EMPTY_ELEMENT = re.compile(r"[ \t]*+(?:,|\Z)")
_PARAMETERS = re.compile(_PARAMETER)
_ESCAPED = re.compile(r"\\(.)")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,9})?|1(?:\.0{0,9})?")

_NAMED = 3  # from this specificity on, a range names the media type and is no wildcard


class _UnreadableError(Exception):
    """The header does not follow the grammar; never leaves this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Range:
    """One element of the header: a media range or a coding, its parameters and its weight."""

    name: str  # lower case
    parameters: Mapping[str, str]  # names in lower case, without `q`
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Match:
    """How well a range matches an offer; the greatest one speaks for the offer."""

    specificity: int  # 0: no match at all
    weight: float


_NO_MATCH = _Match(specificity=0, weight=0.0)


@functools.lru_cache(maxsize=_REMEMBERED)
def choose_format(accept: str | None) -> Format:
    """Return the format to answer with, by the `Accept` header (None: there was none).

    OpenMetrics 1.0.0 is also what a request for OpenMetrics 0.0.1, or without a version, gets: the
    later one is a superset. Other versions of either format are not offered. On equal weight
    OpenMetrics wins only if the client named it; a client that accepts nothing of what is offered
    gets text 0.0.4, as every Prometheus library does it.
    """
    try:
        ranges = _parse(accept or "")
    except _UnreadableError:
        return Format.TEXT
    openmetrics = _best(ranges, _openmetrics_specificity)
    text = _best(ranges, _text_specificity)
    if openmetrics.weight > text.weight:
        return Format.OPENMETRICS
    named = openmetrics.specificity >= _NAMED and openmetrics.weight > 0
    return Format.OPENMETRICS if named and openmetrics.weight == text.weight else Format.TEXT


@functools.lru_cache(maxsize=_REMEMBERED)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Say whether the client takes gzip, and not less willingly than no coding at all."""
    try:
        ranges = _parse(accept_encoding or "")
    except _UnreadableError:
        return False
    gzip = _best(ranges, _gzip_specificity)
    identity = _best(ranges, lambda found: 2 if found.name == "identity" else 0)
    return gzip.weight > 0 and gzip.weight >= identity.weight


def _best(ranges: list[_Range], specificity: Callable[[_Range], int]) -> _Match:
    matches = (_Match(specificity=specificity(found), weight=found.weight) for found in ranges)
    return max((match for match in matches if match.specificity), default=_NO_MATCH)


def _openmetrics_specificity(found: _Range) -> int:
    if found.name == "application/openmetrics-text":
        # 1.0.0 is what would be sent, so a weight given to it beats one given to 0.0.1.
        return {"1.0.0": 5, "0.0.1": 4, None: 3}.get(found.parameters.get("version"), 0)
    return {"application/*": 2, "*/*": 1}.get(found.name, 0)


def _text_specificity(found: _Range) -> int:
    if found.name == "text/plain":
        return {"0.0.4": 4, None: 3}.get(found.parameters.get("version"), 0)
    return {"text/*": 2, "*/*": 1}.get(found.name, 0)


def _gzip_specificity(found: _Range) -> int:
    return {"gzip": 2, "x-gzip": 2, "*": 1}.get(found.name, 0)


def _parse(header: str) -> list[_Range]:
    if len(header) > LONGEST_HEADER:
        raise _UnreadableError
    ranges = []
    position = 0
    while position < len(header):
        if empty := _EMPTY_ELEMENT.match(header, position):  # RFC 9110 lets `a,,b` pass
            position = empty.end()
            continue
        element = _ELEMENT.match(header, position)
        if element is None:
            raise _UnreadableError
        position = element.end()
        ranges.append(_range(element.group(1), element.group(2)))
    return ranges


def _range(name: str, parameters: str) -> _Range:
    found: dict[str, str] = {}
    for parameter in _PARAMETERS.finditer(parameters):
        if parameter.group(1) is not None:
            found.setdefault(parameter.group(1).lower(), _unquote(parameter.group(2)))
    weight = found.pop("q", "1")
    if not _WEIGHT.fullmatch(weight):
        raise _UnreadableError
    return _Range(name=name.lower(), parameters=found, weight=float(weight))


def _unquote(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
