"""Strategies for response bodies: valid documents, corrupted ones, any JSON, any bytes."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from support.sample_sessions import session_id

PAYLOADS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vb365" / "payloads.json").read_text(encoding="utf-8")
)

IDS = tuple(session_id(number) for number in (0xA, 0xB, 0xC, 0xD))
"""Few, so that lists and single requests concern the same sessions; with letters, because case must not matter."""

LARGE_BYTES = 8_000
"""Maximum body size in these tests, so that examples stay small."""

# Numbers that Python values cannot produce in JSON; they are replaced in the text.
_RAW = re.compile('"raw:([^"]*)"')
_RAW_NUMBERS = ("1e999", "-1e999", "-0", "1E400", "9" * 400, "NaN", "Infinity", "-Infinity", "01")

_texts = st.text(st.characters(), max_size=12) | st.sampled_from(
    [
        "",
        "\n",
        '"',
        "\\",
        "\x00\x1b[31m",
        "\ud800",
        "\udfff\ud800",
        "\u2028\u202e",
        "\U0001f600" * 300,
        "x" * 513,
        "x" * 3000,
        "\u0130",
        "Unknown",
        "null",
        "{}",
        "7 items processed",
        "9" * 16 + " items processed",
        "\u0661 items processed",
        *(f"raw:{number}" for number in _RAW_NUMBERS),
    ]
)
_near_times = st.datetimes(datetime(2026, 2, 27), datetime(2026, 3, 2)).map(  # noqa: DTZ001 - gets its zone below
    lambda moment: f"{moment.isoformat()}Z"
)
_odd_times = st.sampled_from(
    [
        "2022-02-22T15:40:25.1612392Z",
        "2026-03-01T12:00:00.5+14:00",
        "2026-03-01T12:00:00-23:59",
        "2026-03-01 11:59:59",
        "9999-12-31T23:59:59.9999999Z",
        "9998-12-31T23:59:59.9999999-23:59",
        "9990-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0002-01-01T00:00:00+23:59",
        "2026-03-01T23:59:60Z",
        "2026-03-01T24:00:00Z",
        "2026-W09-7T12:00:00Z",
        "2026-02-30T00:00:00Z",
    ]
)
_times = _near_times | _near_times | _odd_times
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3000)
    | st.floats()
    | _texts
    | _times
    | st.sampled_from(["Vex", "Vet", "Working", "Stopped", "Success", "Failed", *IDS])
)
_anything = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def records(draw: st.DrawFn, session_id: str | None = None) -> dict[str, Any]:
    """A restore session as sent by real servers, with this id or one of `IDS`."""
    record: dict[str, Any] = deepcopy(draw(st.sampled_from(list(PAYLOADS.values()))))
    record["id"] = session_id or draw(st.sampled_from(IDS))
    record["creationTime"] = draw(_times)
    record["state"] = draw(st.sampled_from(["Working", "Stopped", "Stopped", "Paused"]))
    record["endTime"] = draw(_times)
    if draw(st.booleans()):
        record["organization"] = draw(_texts)
    return record


@st.composite
def pages(draw: st.DrawFn) -> dict[str, Any]:
    """A page of the list, perhaps with a next link."""
    results = draw(st.lists(records(), max_size=3))
    href = draw(
        st.sampled_from(
            [
                *(None,) * 8,
                "/v8/RestoreSessions?offset=1&limit=3",
                "v8/restoresessions?offset=2",
                "https://elsewhere.invalid/v8/RestoreSessions",
                "//[",
                "/%",
            ]
        )
    )
    links = {} if href is None else {"next": {"href": href}}
    limit = draw(st.sampled_from([1000, 1000, 1000, 1000, 3, 0, "30"]))
    return {"offset": 0, "limit": limit, "results": results, "_links": links}


def grants() -> st.SearchStrategy[dict[str, Any]]:
    """Responses of the token endpoint."""
    return st.fixed_dictionaries(
        {
            "access_token": st.just("access"),
            "token_type": st.just("bearer"),
            "expires_in": st.sampled_from([3600, 3599, 1, "900", 0, 10**30]),
        },
        optional={"refresh_token": st.just("refresh") | _texts, ".expires": _times},
    )


def instances() -> st.SearchStrategy[dict[str, Any]]:
    """Responses of ServiceInstance."""
    return st.fixed_dictionaries({"version": st.just("8.0.2") | _texts, "installationId": _texts})


def organization_lists() -> st.SearchStrategy[Any]:
    """Responses of Organizations: an array, or a page."""
    organization = st.fixed_dictionaries(
        {"id": _texts},
        optional={
            "name": _texts,
            "officeName": _texts | st.none(),
            "isBackedup": st.booleans() | st.none(),
        },
    )
    arrays = st.lists(organization, max_size=3)
    return arrays | arrays.map(lambda results: {"offset": 0, "limit": 1000, "results": results})


@st.composite
def _corrupted(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> object:
    """A valid document with up to three values replaced, removed or duplicated."""
    whole = {"": draw(documents)}
    for _ in range(draw(st.integers(1, 3))):
        locations = list(_locations(whole))
        container, key = locations[draw(st.integers(0, len(locations) - 1))]
        change = draw(st.sampled_from(["replace", "replace", "remove", "double"]))
        if change == "replace" or container is whole:
            container[key] = draw(_anything)
        elif change == "remove":
            del container[key]
        elif isinstance(container, list):
            container.insert(key, deepcopy(container[key]))
        else:
            container[draw(_texts)] = deepcopy(container[key])
    return whole[""]


def _locations(value: Any) -> Any:
    """Yield every value of a document as container and key."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _locations(inner)


@st.composite
def _encoded(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> bytes:
    """A document as bytes, in a valid or invalid encoding of JSON."""
    text = json.dumps(draw(documents), ensure_ascii=draw(st.booleans()))
    text = _RAW.sub(lambda raw: raw[1], text)
    prefix = draw(st.sampled_from(["", "", "", "\ufeff", "\r\n"]))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "latin-1", "utf-16"]))
    errors = "surrogatepass" if encoding.startswith("utf") else "replace"
    return (prefix + text).encode(encoding, errors)


@st.composite
def _damaged(draw: st.DrawFn, encoded: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a part removed, inserted or replaced."""
    body = draw(encoded)
    begin = draw(st.integers(0, len(body)))
    end = draw(st.just(len(body)) | st.integers(begin, min(len(body), begin + 8)))
    return body[:begin] + draw(st.binary(max_size=4)) + body[end:]


def bodies(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Response bodies, most of them nearly valid."""
    return st.one_of(
        valid.map(lambda document: json.dumps(document).encode()),
        _encoded(valid),
        _encoded(_corrupted(valid)),
        _encoded(_corrupted(valid)),
        _damaged(_encoded(valid)),
        _encoded(_anything),
        st.binary(max_size=100),
        st.sampled_from(
            [
                b"<!DOCTYPE html><html></html>",
                b"[" * 3_000,
                b'{"results":' * 500,
                b'{"results": [' + b" " * LARGE_BYTES + b"]}",
                b'{"limit": 1000, "results": [' + b"{}," * 500 + b"{}]}",
            ]
        ),
    )
