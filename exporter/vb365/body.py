"""Answers' bodies: read up to a bound, inflated up to the same bound, decoded as strict JSON."""

from __future__ import annotations

import json
import math
import zlib
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OUT_OF_RANGE", "BadBodyError", "decode_json", "inflate", "read_body"]

_CHUNK_BYTES: Final = 1 << 16


class BadBodyError(ValueError):
    """A body that is no answer; the text says why and holds nothing of it."""


class RawBody(Protocol):
    """The undecoded body of an answer, as urllib3 gives it."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    def read(self, amt: int, decode_content: bool) -> bytes: ...  # noqa: FBT001 - urllib3's signature


def read_body(raw: RawBody, *, limit: int) -> bytes:
    """Read a body to its end, and undo its content encoding.

    Args:
        raw: where it comes from; nothing of it has been read yet.
        limit: the most bytes it may have, before and after inflating.

    Raises:
        BadBodyError: it is larger, or encoded in a way that was not asked for, or wrongly.
        Exception: whatever reading raises.
    """
    parts = []
    room = limit
    # The library's own decoding inflates a chunk as a whole in older versions: this one never inflates past the limit.
    while part := raw.read(_CHUNK_BYTES, decode_content=False):
        room -= len(part)
        if room < 0:
            raise BadBodyError(f"the body is larger than {limit} bytes")
        parts.append(part)
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    encoding = raw.headers.get("Content-Encoding", "").strip().lower()
    if encoding in {"", "identity"} or not body:
        return body
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return inflate(body, limit=limit)
    raise BadBodyError("the body is encoded in a way that was not asked for")


def inflate(packed: bytes, *, limit: int) -> bytes:
    """Undo gzip, zlib or bare deflate.

    Raises:
        BadBodyError: the result is larger than `limit` bytes, or the data is broken.
    """
    try:
        inflater = zlib.decompressobj(
            zlib.MAX_WBITS | 32
        )  # finds out by itself whether it is gzip or zlib
        plain = inflater.decompress(packed, limit + 1)
    except zlib.error:
        try:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            plain = inflater.decompress(packed, limit + 1)
        except zlib.error:
            raise BadBodyError("the compressed body is broken") from None
    if len(plain) > limit:
        raise BadBodyError(f"the body is larger than {limit} bytes when inflated")
    if not inflater.eof or inflater.unused_data:
        raise BadBodyError("the compressed body is broken")
    return plain


class _OutOfRange:
    def __repr__(self) -> str:
        return "OUT_OF_RANGE"


OUT_OF_RANGE: Final = _OutOfRange()
"""Stands for a JSON number no field of the API can hold (1e999, 400 digits).

It is of no type that any field has, so that the one record with it is rejected, and not all that came with it.
"""

_LONGEST_INTEGER_DIGITS: Final = 20


def _integer(digits: str) -> object:
    return int(digits) if len(digits) <= _LONGEST_INTEGER_DIGITS else OUT_OF_RANGE


def _real(digits: str) -> object:
    value = float(digits)
    return value if math.isfinite(value) else OUT_OF_RANGE


def _no_constant(name: str) -> object:
    raise BadBodyError(f"the body holds {name}, which is no JSON")


_MOST_VALUES: Final = 1_000_000
"""More than the largest body of real answers holds. Decoded, small values take up to a hundred times their bytes."""


def _may_hold_too_many_values(body: bytes) -> bool:
    # Behind each of these begins a value, unless it stands in a text: never fewer than there are values but one.
    return len(body) > _MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES


_decoder = json.JSONDecoder(parse_int=_integer, parse_float=_real, parse_constant=_no_constant)


def decode_json(body: bytes) -> object:
    """The value that a body holds: UTF-8, with or without a byte order mark; the content type is not asked.

    Raises:
        BadBodyError: it is no JSON.
    """
    start = body[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start and not body.strip(b"\xef\xbb\xbf \t\r\n"):
        raise BadBodyError("the body is empty")
    if start.startswith(b"<"):
        raise BadBodyError("the body is HTML or XML, not JSON; is this the VB365 REST API?")
    if _may_hold_too_many_values(body):
        raise BadBodyError(f"the body holds more than {_MOST_VALUES} values")
    try:
        value: object = _decoder.decode(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        why = "the body is not UTF-8"
    except RecursionError:
        why = "the body is nested too deeply"
    except BadBodyError:
        raise
    except ValueError:
        why = "the body is no JSON"
    else:
        return value
    raise BadBodyError(why)
