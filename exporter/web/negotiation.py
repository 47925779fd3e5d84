"""Content negotiation: the format and the coding of a response, from `Accept` and `Accept-Encoding`.

RFC 9110, section 12.5: the most specific matching range decides the weight of an offer, the offer
with the greatest weight wins, and a weight of 0 rejects an offer. No header raises an error: a
malformed one gets text 0.0.4 without compression, which every Prometheus understands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from exporter.metrics.text_format import Format

MAX_HEADER_CHARACTERS = 4096  # Prometheus 3 sends about 400

# A scraper sends the same header every time, and parsing it is a sixth of the work of a small scrape.
_CACHE_SIZE = 64

# Possessive throughout: matching takes linear time, whatever the header.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105 - a grammar rule of RFC 9110, not a password
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_PARAMETER = rf"[ \t]*+;[ \t]*+(?:({_TOKEN})=({_TOKEN}|{_QUOTED}))?+"
_ELEMENT = re.compile(rf"[ \t]*+({_TOKEN}(?:/{_TOKEN})?+)((?:{_PARAMETER})*+)[ \t]*+(?:,|\Z)")
_EMPTY_ELEMENT = re.compile(r"[ \t]*+(?:,|\Z)")
_PARAMETERS = re.compile(_PARAMETER)
_ESCAPED = re.compile(r"\\(.)")
_WEIGHT = re.compile(r"0(?:\.[0-9]{0,9})?|1(?:\.0{0,9})?")

_NAMED = 3  # a range of at least this specificity names the media type, without a wildcard


class _Range(NamedTuple):
    """One element of a header: a media range or a coding, the parameter `version`, and the weight."""

    name: str  # in lower case
    version: str | None
    weight: float


class _Match(NamedTuple):
    """How well a range matches an offer; the greatest match decides."""

    specificity: int  # 0: no match at all
    weight: float


_NO_MATCH = _Match(specificity=0, weight=0.0)


@functools.lru_cache(maxsize=_CACHE_SIZE)
def choose_format(accept: str | None) -> Format:
    """Return the format of the response to an `Accept` header (None: there was none).

    A request for OpenMetrics 0.0.1, or without a version, gets 1.0.0, which is a superset. Other
    versions of either format are not offered. With equal weights, OpenMetrics wins only if the client
    names it. A client that accepts neither format gets text 0.0.4, as from every Prometheus library.
    """
    try:
        ranges = _parse(accept or "")
    except ValueError:
        return Format.TEXT
    openmetrics = _best(ranges, _openmetrics_specificity)
    text = _best(ranges, _text_specificity)
    if openmetrics.weight > text.weight:
        return Format.OPENMETRICS
    named = openmetrics.specificity >= _NAMED and openmetrics.weight > 0
    return Format.OPENMETRICS if named and openmetrics.weight == text.weight else Format.TEXT


@functools.lru_cache(maxsize=_CACHE_SIZE)
def prefers_json(accept: str | None) -> bool:
    """Return whether the client names JSON and prefers it to HTML."""
    try:
        ranges = _parse(accept or "")
    except ValueError:
        return False
    json = _best(ranges, lambda found: _media_specificity(found.name, "application", "json"))
    html = _best(ranges, lambda found: _media_specificity(found.name, "text", "html"))
    return (
        json.specificity >= _NAMED
        and json.weight > 0
        and (
            json.weight > html.weight or (html.specificity < _NAMED and json.weight == html.weight)
        )
    )


@functools.lru_cache(maxsize=_CACHE_SIZE)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether the client accepts gzip, and does not prefer the uncompressed body."""
    try:
        ranges = _parse(accept_encoding or "")
    except ValueError:
        return False
    gzip = _best(ranges, _gzip_specificity)
    identity = _best(ranges, lambda found: 2 if found.name == "identity" else 0)
    return gzip.weight > 0 and gzip.weight >= identity.weight


def _best(ranges: list[_Range], specificity: Callable[[_Range], int]) -> _Match:
    matches = (_Match(specificity=specificity(found), weight=found.weight) for found in ranges)
    return max((match for match in matches if match.specificity), default=_NO_MATCH)


def _openmetrics_specificity(found: _Range) -> int:
    if found.name == "application/openmetrics-text":
        # The response is 1.0.0, so the weight of 1.0.0 takes precedence over that of 0.0.1.
        return {"1.0.0": 5, "0.0.1": 4, None: 3}.get(found.version, 0)
    return {"application/*": 2, "*/*": 1}.get(found.name, 0)


def _text_specificity(found: _Range) -> int:
    if found.name == "text/plain":
        return {"0.0.4": 4, None: 3}.get(found.version, 0)
    return {"text/*": 2, "*/*": 1}.get(found.name, 0)


def _media_specificity(name: str, type_: str, subtype: str) -> int:
    return {f"{type_}/{subtype}": _NAMED, f"{type_}/*": 2, "*/*": 1}.get(name, 0)


def _gzip_specificity(found: _Range) -> int:
    return {"gzip": 2, "x-gzip": 2, "*": 1}.get(found.name, 0)


def _parse(header: str) -> list[_Range]:
    """Return the elements of a header; raise ValueError if it is malformed."""
    if len(header) > MAX_HEADER_CHARACTERS:
        raise ValueError
    ranges = []
    position = 0
    while position < len(header):
        if empty := _EMPTY_ELEMENT.match(header, position):  # RFC 9110 allows `a,,b`
            position = empty.end()
            continue
        element = _ELEMENT.match(header, position)
        if element is None:
            raise ValueError
        position = element.end()
        ranges.append(_range(element[1], element[2]))
    return ranges


def _range(name: str, parameters: str) -> _Range:
    values: dict[str, str] = {}
    for parameter, value in _PARAMETERS.findall(parameters):
        values.setdefault(parameter.lower(), _unquote(value))
    weight = values.get("q", "1")
    if not _WEIGHT.fullmatch(weight):
        raise ValueError
    return _Range(name=name.lower(), version=values.get("version"), weight=float(weight))


def _unquote(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
