"""Response bodies: read up to a limit, decompressed up to the same limit, decoded as strict JSON."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from pydantic_core import from_json

__all__ = ["BadBodyError", "decode_json", "inflate", "read_body"]

_CHUNK_BYTES = 1 << 16


class BadBodyError(ValueError):
    """A body that cannot be used; the text says why and quotes nothing of it."""


class RawBody(Protocol):
    """The raw body of a response, as urllib3 provides it."""

    @property
    def headers(self) -> Mapping[str, str]: ...
    def read(self, amt: int, decode_content: bool) -> bytes: ...  # noqa: FBT001 - urllib3's signature


def read_body(raw: RawBody, *, limit: int) -> bytes:
    """Read a body to its end and decompress it.

    Args:
        raw: the body, of which nothing was read yet.
        limit: the most bytes, before and after decompression.

    Raises:
        BadBodyError: it is larger, broken, or has a content encoding that was not requested.
        Exception: whatever reading raises.
    """
    parts = []
    room = limit
    # urllib3's own decoding decompresses whole chunks in older versions; this one never exceeds the limit.
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
    raise BadBodyError("the body has a content encoding that was not requested")


def inflate(packed: bytes, *, limit: int) -> bytes:
    """Decompress gzip, zlib or raw deflate.

    Raises:
        BadBodyError: the result is larger than `limit` bytes, or the data is broken.
    """
    try:
        inflater = zlib.decompressobj(zlib.MAX_WBITS | 32)  # detects gzip or zlib
        plain = inflater.decompress(packed, limit + 1)
    except zlib.error:
        try:
            inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            plain = inflater.decompress(packed, limit + 1)
        except zlib.error:
            raise BadBodyError("the compressed body is broken") from None
    if len(plain) > limit:
        raise BadBodyError(f"the body is larger than {limit} bytes when decompressed")
    if not inflater.eof or inflater.unused_data:
        raise BadBodyError("the compressed body is broken")
    return plain


_MAX_INTEGER_DIGITS = 20


def _integer(digits: str) -> int | float:
    # Parsing an integer takes quadratic time. The readers of integer fields reject a float.
    return int(digits) if len(digits) <= _MAX_INTEGER_DIGITS else float(digits)


def _no_constant(name: str) -> object:
    raise BadBodyError(f"the body holds {name}, which is not JSON")


_MAX_VALUES = 1_000_000
"""More than the largest real response holds. Small values take up to a hundred times their bytes when decoded."""


def _may_hold_too_many_values(body: bytes) -> bool:
    # Each value but the first follows one of these bytes. Those inside of strings count, too: an upper bound.
    return len(body) > _MAX_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > _MAX_VALUES


_lenient_decoder = json.JSONDecoder(parse_int=_integer, parse_constant=_no_constant)


def decode_json(body: bytes) -> object:
    """Decode a body: UTF-8, with or without a byte order mark, whatever its content type.

    A number too large for a float becomes infinite or a very long integer. The readers of fields reject these, so that
    only the record with such a number is lost.

    Raises:
        BadBodyError: it is not JSON.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    start = body[:64].lstrip()
    if not start and not body.strip():
        raise BadBodyError("the body is empty")
    if start.startswith(b"<"):
        raise BadBodyError("the body is HTML or XML, not JSON; is this the VB365 REST API?")
    if _may_hold_too_many_values(body):
        raise BadBodyError(f"the body holds more than {_MAX_VALUES} values")
    with suppress(ValueError):
        # Twice as fast as the standard library's. Readers of fields intern strings better than its cache would.
        return from_json(body, allow_inf_nan=False, cache_strings="keys")
    return _decode_leniently(body)


def _decode_leniently(body: bytes) -> object:
    """Decode what the fast decoder rejects but the standard library accepts: lone surrogates, depth, very long numbers.

    Raises:
        BadBodyError: it is not JSON; the text says why.
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
        why = "the body is not JSON"
    else:
        return value
    raise BadBodyError(why)
