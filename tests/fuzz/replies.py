"""Strategies for whole responses on the wire: status line, headers, encoding, framing."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass
from typing import Any

from fuzz.documents import IDS, bodies, grants, instances, organization_lists, pages, records
from hypothesis import strategies as st

from exporter.config import SessionsConfig
from exporter.config.model import ApiVersionChoice


@dataclass(frozen=True)
class Reply:
    """One response."""

    body: bytes
    """The body before encoding and framing."""
    wire: bytes
    closes: bool = False
    """Whether the connection must be closed afterwards, because nothing else marks the end."""


@dataclass(frozen=True)
class Script:
    """How a server is polled, and its replies: in order for each path, repeating the last one."""

    api_version: ApiVersionChoice
    sessions: SessionsConfig
    token: tuple[Reply, ...]
    instance: tuple[Reply, ...]
    lists: tuple[Reply, ...]
    gets: dict[str, tuple[Reply, ...]]
    organizations: tuple[Reply, ...]

    def replies(self, path: str) -> tuple[Reply, ...]:
        """Return the replies for a path of the API."""
        _, _, resource = path.strip("/").partition("/")
        name, _, rest = resource.partition("/")
        if name == "RestoreSessions" and rest:
            return self.gets.get(rest, self.lists)
        others = {
            "token": self.token,
            "ServiceInstance": self.instance,
            "Organizations": self.organizations,
        }
        return others.get(name, self.lists)


_STATUSES = st.sampled_from(
    [
        "200 OK",
        "201 Created",
        "204 No Content",
        "206 Partial Content",
        "299 ",
        "301 Moved Permanently",
        "304 Not Modified",
        "307 Temporary Redirect",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "404",
        "418 \xff\xfe",
        "429 API calls quota exceeded! maximum admitted 1 per Second.",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "599 x",
        "600 x",
        "999 x",
        "099 x",
        "20 OK",
        "-200 OK",
        "2e2 OK",
    ]
)
# Header values: anything except a line end, and folded lines.
_header_texts = st.text(
    st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=20
) | st.sampled_from(["", "a\r\n b", "x" * 70_000])
_dates = st.sampled_from(
    [
        "Tue, 14 Nov 2023 22:14:20 GMT",
        "Sun, 01 Mar 2026 12:00:30 GMT",
        "Sun, 01 Mar 2026 12:00:30 -0000",
        "Fri, 31 Dec 99999 22:13:20 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Sun, 01 Mar 2026 12:00:30 +999999999999",
        "Sun, 99 Mar 2026 99:99:99 GMT",
        "1 1 1 1:1",
        "Sun, 01 Mar",
        ",",
    ]
)
_values = st.one_of(
    _header_texts,
    _dates,
    st.integers(-5, 2000).map(str),
    st.floats().map(str),
    st.sampled_from(["9" * 500, "1e3", "0x10", "1_000", "\u00b2", "application/json"]),
)
_cookies = st.one_of(
    _header_texts,
    st.sampled_from(
        [
            "XSRF-TOKEN=abc; Secure; HttpOnly",
            "a=b; Max-Age=99999999999999999999",
            "a=b; Expires=Sun, 99 Mar 2026 99:99:99 GMT",
            "a=b; Expires=Fri, 31-Dec-99999 22:13:20 GMT",
            'a=b; Domain=127.0.0.1; Path=/; Port="x"; Version=1',
            'a="\\"; $Version=1, b=c',
            "=; ;=",
            "a=\xff",
        ]
    ),
)
_HEADERS = st.one_of(
    _values.map(lambda value: f"Retry-After: {value}"),
    _values.map(lambda value: f"Date: {value}"),
    _values.map(lambda value: f"Content-Type: {value}"),
    _cookies.map(lambda value: f"Set-Cookie: {value}"),
    _header_texts.map(lambda value: f"X-Other: {value}"),
    _header_texts,
    st.sampled_from(
        [
            "Content-Type: application/json; charset=utf-7",
            "Content-Type: text/html",
            "Location: https://elsewhere.invalid/",
            "Location: //[",
            "WWW-Authenticate: Bearer",
            "Connection: close",
            "Content-Encoding: br",
            "Content-Encoding: gzip, gzip",
            "Content-Encoding: GZIP",
            "Content-Length: 7",
            "Content-Length: -1",
            "Content-Length: x",
            "Transfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Trailer: X",
        ]
    ),
)
_PRELUDES = st.sampled_from(
    [
        b"",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
        b"\r\n",
    ]
)
_PROTOCOLS = st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2", "HTTP/9.9", "ICY", ""])
_ENCODINGS = st.sampled_from(["gzip", "deflate", "bare", "two members", "cut"])
_FRAMINGS = st.sampled_from(["close", "chunked", "short", "long", "broken chunks"])


def _packed(body: bytes, encoding: str) -> tuple[bytes, str | None]:
    match encoding:
        case "gzip":
            return gzip.compress(body, mtime=0), "gzip"
        case "deflate":
            return zlib.compress(body), "deflate"
        case "bare":
            return zlib.compress(body)[2:-4], "deflate"
        case "two members":
            return gzip.compress(body, mtime=0) * 2, "gzip"
        case "cut":
            return gzip.compress(body, mtime=0)[:-5], "gzip"
    return body, None


def _framed(body: bytes, framing: str) -> tuple[bytes, str | None, bool]:
    match framing:
        case "close":
            return body, None, True
        case "chunked":
            half = len(body) // 2
            parts = [part for part in (body[:half], body[half:]) if part]
            chunks = b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts)
            return chunks + b"0\r\nX-Trailer: y\r\n\r\n", "Transfer-Encoding: chunked", False
        case "broken chunks":
            return b"-1\r\n" + body, "Transfer-Encoding: chunked", True
        case "short":
            return body, f"Content-Length: {len(body) + 5}", True
        case "long":
            return body, f"Content-Length: {len(body) // 2}", True
    return body, f"Content-Length: {len(body)}", False


_ODD_ASPECTS = st.sampled_from(
    [
        *({"body"}, {"refusal"}) * 4,
        {"status", "headers"},
        {"body", "encoding"},
        {"headers"},
        {"encoding"},
        {"framing"},
        {"protocol"},
        {"body", "status", "headers", "encoding", "framing", "protocol"},
    ]
)
_refusals = st.tuples(
    st.sampled_from(["401 Unauthorized", "404 Not Found", "429 Slow", "503 Busy", "500 Bad"]),
    st.none() | st.integers(0, 100).map(str) | _dates | _values,
)


@st.composite
def _odd(draw: st.DrawFn, right: st.SearchStrategy[Any]) -> Reply:
    """An answer in which something may be wrong, or all."""
    odd = draw(_ODD_ASPECTS)
    body = draw(bodies(right)) if "body" in odd else json.dumps(draw(right)).encode()
    packed, encoding = _packed(body, draw(_ENCODINGS) if "encoding" in odd else "plain")
    framed, frame, until_the_end = _framed(
        packed, draw(_FRAMINGS) if "framing" in odd else "length"
    )
    status = draw(_STATUSES) if "status" in odd else "200 OK"
    headers = draw(st.lists(_HEADERS, max_size=2)) if "headers" in odd else []
    if "refusal" in odd:
        status, retry_after = draw(_refusals)
        headers = [] if retry_after is None else [f"Retry-After: {retry_after}"]
    protocol = draw(_PROTOCOLS) if "protocol" in odd else "HTTP/1.1"
    named = [line for line in (encoding and f"Content-Encoding: {encoding}", frame) if line]
    head = "\r\n".join([f"{protocol} {status}", *headers, *named]).encode("latin-1")
    return Reply(
        body=body,
        wire=(draw(_PRELUDES) if "protocol" in odd else b"") + head + b"\r\n\r\n" + framed,
        # A malformed head may change where the body ends.
        closes=until_the_end or not {"status", "headers", "protocol", "refusal"}.isdisjoint(odd),
    )


def valid_reply(document: object) -> Reply:
    """Return a valid response."""
    body = json.dumps(document).encode()
    return Reply(
        body=body, wire=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )


_SESSIONS = st.builds(
    SessionsConfig,
    ids=st.sampled_from([(), (), IDS[:2]]),
    discover=st.sampled_from([True, True, False]),
    lookback=st.sampled_from([7 * 86400.0, 60.0, 3650 * 86400.0]),
    max_series=st.sampled_from([1000, 1]),
    max_sessions=st.sampled_from([1000, 2]),
)
_MALFORMED_OPERATIONS = st.sampled_from(
    [
        *({"list"}, {"get"}, {"list", "get"}) * 2,
        {"token"},
        {"service_instance"},
        {"organizations"},
        {"token", "service_instance", "organizations", "list", "get"},
    ]
)
"""Operations with malformed responses: without a valid token the others would never be requested."""


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """The replies of a server in a few polls."""
    odd = draw(_MALFORMED_OPERATIONS)

    def some(operation: str, right: st.SearchStrategy[Any], most: int) -> tuple[Reply, ...]:
        each = right.map(valid_reply)
        if operation in odd:
            each |= _odd(right)
        return tuple(draw(st.lists(each, min_size=1, max_size=most)))

    return Script(
        api_version=draw(st.sampled_from(["v8", "v8", "v6", "auto"])),
        sessions=draw(_SESSIONS),
        token=some("token", grants(), 2),
        instance=some("service_instance", instances(), 2),
        lists=some("list", pages(), 3),
        gets={each: some("get", records(each), 2) for each in IDS},
        organizations=some("organizations", organization_lists(), 2),
    )
