"""Content negotiation: the format and the coding of a response, from `Accept` and `Accept-Encoding`.

RFC 9110, section 12.5: the most specific matching range decides the weight of an offer, the offer
with the greatest weight wins, and a weight of 0 rejects an offer. No header raises an error: a
malformed one gets text 0.0.4 without compression, which every Prometheus understands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
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

# For each offer, the ranges that match it, and how specific they are. Of the most specific ranges in a header, that with
# the greatest weight decides.
_OPENMETRICS = {
    # The response is 1.0.0, so the weight of 1.0.0 takes precedence over that of 0.0.1.
    "application/openmetrics-text;version=1.0.0": 5,
    "application/openmetrics-text;version=0.0.1": 4,
    "application/openmetrics-text": 3,
    "application/*": 2,
    "*/*": 1,
}
_TEXT = {"text/plain;version=0.0.4": 4, "text/plain": 3, "text/*": 2, "*/*": 1}
_JSON = {"application/json": 3, "application/*": 2, "*/*": 1}
_HTML = {"text/html": 3, "text/*": 2, "*/*": 1}
_GZIP = {"gzip": 2, "x-gzip": 2, "*": 1}
_IDENTITY = {"identity": 2}
_NAMED = 3  # a range of at least this specificity names the media type, without a wildcard
_VERSIONED = {"application/openmetrics-text", "text/plain"}


class _Match(NamedTuple):
    """How well a header matches an offer."""

    specificity: int  # 0: no match at all
    weight: float


@functools.lru_cache(maxsize=_CACHE_SIZE)
def choose_format(accept: str | None) -> Format:
    """Return the format of the response to an `Accept` header (None: there was none).

    A request for OpenMetrics 0.0.1, or without a version, gets 1.0.0, which is a superset. Other
    versions of either format are not offered. With equal weights, OpenMetrics wins only if the client
    names it. A client that accepts neither format gets text 0.0.4, as from every Prometheus library.
    """
    ranges = _parse(accept)
    openmetrics = _best(ranges, _OPENMETRICS)
    text = _best(ranges, _TEXT)
    if openmetrics.weight > text.weight:
        return Format.OPENMETRICS
    named = openmetrics.specificity >= _NAMED and openmetrics.weight > 0
    return Format.OPENMETRICS if named and openmetrics.weight == text.weight else Format.TEXT


@functools.lru_cache(maxsize=_CACHE_SIZE)
def prefers_json(accept: str | None) -> bool:
    """Return whether the client names JSON and prefers it to HTML."""
    ranges = _parse(accept)
    json = _best(ranges, _JSON)
    html = _best(ranges, _HTML)
    if json.specificity < _NAMED or json.weight == 0:
        return False
    is_tie = json.weight == html.weight
    return json.weight > html.weight or (is_tie and html.specificity < _NAMED)


@functools.lru_cache(maxsize=_CACHE_SIZE)
def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether the client accepts gzip, and does not prefer the uncompressed body."""
    ranges = _parse(accept_encoding)
    gzip = _best(ranges, _GZIP)
    identity = _best(ranges, _IDENTITY)
    return gzip.weight > 0 and gzip.weight >= identity.weight


def _best(ranges: Iterable[tuple[str, float]], offer: Mapping[str, int]) -> _Match:
    matches = (_Match(offer[name], weight) for name, weight in ranges if name in offer)
    return max(matches, default=_Match(0, 0.0))


def _parse(header: str | None) -> list[tuple[str, float]]:
    """Return the name and the weight of each range; nothing if any of the header is malformed.

    Names are in lower case; those of the metrics formats include the parameter `version`.
    """
    if header is None or len(header) > MAX_HEADER_CHARACTERS:
        return []
    ranges = []
    position = 0
    while position < len(header):
        if empty := _EMPTY_ELEMENT.match(header, position):  # RFC 9110 allows `a,,b`
            position = empty.end()
            continue
        element = _ELEMENT.match(header, position)
        if element is None:
            return []
        position = element.end()
        values: dict[str, str] = {}
        for parameter, value in _PARAMETERS.findall(element[2]):
            values.setdefault(parameter.lower(), _unquote(value))
        weight = values.get("q", "1")
        if not _WEIGHT.fullmatch(weight):
            return []
        name = element[1].lower()
        if name in _VERSIONED and "version" in values:
            name += f";version={values['version']}"
        ranges.append((name, float(weight)))
    return ranges


def _unquote(value: str) -> str:
    return _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
