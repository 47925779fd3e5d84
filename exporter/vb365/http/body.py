"""Answers' bodies: read up to a bound, inflated up to the same bound, decoded as strict JSON."""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BadBodyError", "decode_json", "inflate", "read_body"]

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


_LONGEST_INTEGER_DIGITS: Final = 20


def _integer(digits: str) -> int | float:
    # Text of any length becomes an integer in quadratic time; a field that holds one refuses a real number.
    return int(digits) if len(digits) <= _LONGEST_INTEGER_DIGITS else float(digits)


def _no_constant(name: str) -> object:
    raise BadBodyError(f"the body holds {name}, which is no JSON")


_MOST_VALUES: Final = 1_000_000
"""More than the largest body of real answers holds. Decoded, small values take up to a hundred times their bytes."""


def _may_hold_too_many_values(body: bytes) -> bool:
    # Behind each of these begins a value, unless it stands in a text: never fewer than there are values but one.
    return len(body) > _MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES


_lenient_decoder = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)


def decode_json(body: bytes) -> object:
    """The value that a body holds: UTF-8, with or without a byte order mark; the content type is not asked.

    A number that is too large for a float is infinite, or an integer of thousands of digits: whoever reads a field refuses
    it, so that the one record with it is rejected and not all that came with it.

    Raises:
        BadBodyError: it is no JSON.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    start = body[:64].lstrip()
    if not start and not body.strip():
        raise BadBodyError("the body is empty")
    if start.startswith(b"<"):
        raise BadBodyError("the body is HTML or XML, not JSON; is this the VB365 REST API?")
    if _may_hold_too_many_values(body):
        raise BadBodyError(f"the body holds more than {_MOST_VALUES} values")
    with suppress(ValueError):
        # Twice as fast as the standard library's. Who keeps texts shares equal ones better than its cache does.
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    return _decode_leniently(body)


def _decode_leniently(body: bytes) -> object:
    """The same with more patience (for half a surrogate pair, depth, and very long numbers), or why it is no JSON.

    Raises:
        BadBodyError: it is none.
    """
    try:
        value: object = _lenient_decoder.decode(body.decode())
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
