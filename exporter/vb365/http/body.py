"""Response bodies: read up to a limit, decompressed up to the same limit, decoded as strict JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, Protocol

from pydantic_core import from_json

MAX_BODY_BYTES = 16 << 20
"""The limit of a page of a list, before and after decompression. A client requests one at a time."""
MAX_RECORD_BYTES = 1 << 20
"""The same for a single record, a token and an error, of which many arrive concurrently."""
_MAX_EXTRA_BYTES = 4 << 20
_MAX_BYTES = {
    "list": MAX_BODY_BYTES,
    "organizations": MAX_BODY_BYTES,
    "events": _MAX_EXTRA_BYTES,
    "statistics": _MAX_EXTRA_BYTES,
    "change_feed": _MAX_EXTRA_BYTES,
}
_CUT_OPERATIONS = frozenset({"statistics"})
"""What is used of their responses comes first, before a list of all restored items."""

_CHUNK_BYTES = 1 << 20  # a page of 1000 sessions is read as a whole


class BadBodyError(ValueError):
    """An unusable body; the message gives the reason and quotes nothing from the body."""


class _RawBody(Protocol):
    """The raw body of a response, as urllib3 provides it."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    def read(self, amt: int, decode_content: bool) -> bytes: ...  # noqa: FBT001 - urllib3's signature


class Body(NamedTuple):
    """A body, decompressed."""

    content: bytes
    is_cut: bool
    """Whether it is only what comes before the last comma within the limit."""


def limit_of(operation: str, *, is_success: bool) -> tuple[int, bool]:
    """Return how many bytes a response's body may have, and whether a larger one may be cut.

    All limits together bound the memory that one server can occupy.
    """
    if not is_success:
        return MAX_RECORD_BYTES, False
    return _MAX_BYTES.get(operation, MAX_RECORD_BYTES), operation in _CUT_OPERATIONS


def read_body(raw: _RawBody, *, limit: int, may_cut: bool = False) -> Body:
    """Read a body to its end and decompress it.

    Exceptions of `raw.read` propagate.

    Args:
        raw: the body.
        limit: its maximum size in bytes, before and after decompression.
        may_cut: whether a larger body is cut, instead of refused.

    Raises:
        BadBodyError: it is too large, broken, or has a content encoding that was not requested.
    """
    parts = []
    remaining = limit
    # Older versions of urllib3 decompress each chunk as a whole, whatever its size when decompressed.
    while part := raw.read(min(_CHUNK_BYTES, remaining + 1), decode_content=False):
        remaining -= len(part)
        parts.append(part)
        if remaining < 0:
            break
    if remaining < 0 and not may_cut:
        raise BadBodyError(f"the body is larger than {limit} bytes")
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = raw.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"} or not body:
        return _cut(body, limit) if remaining < 0 else Body(body, is_cut=False)
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return inflate(body, limit=limit, may_cut=may_cut)
    raise BadBodyError("the body has a content encoding that was not requested")


def _cut(body: bytes, limit: int) -> Body:
    # Within a value, the beginning of a number could be taken for another number.
    return Body(body[:limit].rpartition(b",")[0], is_cut=True)


def inflate(packed: bytes, *, limit: int, may_cut: bool = False) -> Body:
    """Decompress gzip, zlib or raw deflate.

    Raises:
        BadBodyError: the result is larger than `limit` bytes and may not be cut, or the data is broken.
    """
    for window_bits in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip or zlib, then raw deflate
        inflater = zlib.decompressobj(window_bits)
        with suppress(zlib.error):
            plain = inflater.decompress(packed, limit + 1)
            if len(plain) > limit and may_cut:
                return _cut(plain, limit)
            if len(plain) > limit:
                raise BadBodyError(f"the body is larger than {limit} bytes when decompressed")
            if inflater.eof and not inflater.unused_data:
                return Body(plain, is_cut=False)
    raise BadBodyError("the compressed body is broken")


_MAX_INTEGER_DIGITS = 20


def _integer(digits: str) -> int | float:
    # Parsing an integer takes quadratic time. Readers of integer fields reject a float.
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _no_constant(name: str) -> object:
    raise BadBodyError(f"the body contains {name}, which is not JSON")


_MAX_VALUES = 500_000
"""More than any real response contains. A small value takes up to a hundred times its bytes when decoded, and decoding
holds the interpreter lock: a quarter of a second for a million."""

_MAX_LENIENT_BYTES = 2 << 20
"""Twice a page of 1000 sessions. The lenient decoder takes up to a second for each 4 MiB."""

_lenient_decoder = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)


def decode_json(body: bytes, *, is_cut: bool = False) -> object:
    """Decode a JSON body in UTF-8, with or without a byte order mark. Of one that `is_cut`, decode what is there.

    A number too large for a float becomes infinite or a very long integer. Field readers reject both, so that only the
    record with such a number is lost.

    Raises:
        BadBodyError: it is not JSON, or may contain too many values.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
    if not body:
        raise BadBodyError("the body is empty")
    if body.startswith(b"<"):
        raise BadBodyError("the body is HTML or XML, not JSON; is this the VB365 REST API?")
    # Every value takes two bytes or more, and all but the first follow one of these. They count inside strings, too: this
    # is an upper bound.
    if len(body) > 2 * _MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES:
        raise BadBodyError(f"the body may contain more than {_MAX_VALUES} values")
    with suppress(ValueError):
        # Twice as fast as the standard library. Only keys are cached, up to 16,384; readers share values.
        return from_json(body, allow_inf_nan=False, cache_strings="keys", allow_partial=is_cut)
    if len(body) > _MAX_LENIENT_BYTES:
        raise BadBodyError(
            f"the body is not strict JSON and larger than {_MAX_LENIENT_BYTES} bytes"
        )
    return _decode_leniently(body)


def _decode_leniently(body: bytes) -> object:
    """Decode what only the standard library accepts: lone surrogates, deeper nesting, numbers out of range."""
    value: object
    try:
        value = _lenient_decoder.decode(body.decode())
    except UnicodeDecodeError:
        reason = "the body is not UTF-8"
    except RecursionError:
        reason = "the body is nested too deeply"
    except BadBodyError:
        raise
    except ValueError:
        reason = "the body is not JSON"
    else:
        return value
    raise BadBodyError(reason)  # outside the handlers: their exceptions quote the body
