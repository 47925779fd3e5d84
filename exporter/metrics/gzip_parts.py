"""Compressed segments that join into one valid gzip member.

Each segment is deflated independently and ends on a byte boundary (a full flush, no final block), so segments can be
concatenated in any order. The checksum of the gzip member (RFC 1952) is computed from those of its segments, as zlib's
`crc32_combine` does, which Python does not expose.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, reduce
from itertools import chain
from operator import attrgetter

# Deflate, without name and time, unknown operating system.
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

_FINAL_BLOCK = b"\x03\x00"
_GZIP_TRAILER_BYTES = len(_FINAL_BLOCK) + 8

# CRC-32's polynomial and x^0: the bit order is reversed.
_POLYNOMIAL = 0xEDB88320
_ONE = 1 << 31
# Up to this length, checksumming the bytes again is cheaper than combining checksums.
_SHORT_BYTES = 4096
_get_plain, _get_deflated = attrgetter("plain"), attrgetter("deflated")


@dataclass(slots=True, eq=False)
class Part:
    """Deflated bytes; the plain bytes are kept only if they are short or clients request them.

    Prometheus requests gzip, and plain text is about eight times as long.
    """

    deflated: bytes
    _plain_length: int
    _plain: bytes | None = None
    _used: bool = field(default=False, init=False)

    @property
    def plain(self) -> bytes:
        """The bytes before compression."""
        plain = self._plain
        if plain is None:
            stream = self.deflated + _FINAL_BLOCK
            self._plain = plain = zlib.decompress(stream, -zlib.MAX_WBITS, self._plain_length)
        self._used = True
        return plain

    def drop_unused_plain(self) -> None:
        """Drop long plain bytes that were not read since the previous call."""
        if not self._used and self._plain_length > _SHORT_BYTES:
            self._plain = None
        self._used = False


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes in any number of parts, with what is needed to join them with others."""

    parts: tuple[Part, ...]
    plain_length: int
    deflated_length: int
    crc: int
    shift: int
    """x^(8 * plain_length) modulo the polynomial: the factor that moves a checksum across this segment."""

    def content_length(self, gzip: bool) -> int:  # noqa: FBT001 - two forms of the same bytes
        """Return the number of bytes in `chunks`."""
        if gzip:
            return len(_GZIP_HEADER) + self.deflated_length + _GZIP_TRAILER_BYTES
        return self.plain_length

    def chunks(self, gzip: bool) -> Iterator[bytes]:  # noqa: FBT001 - two forms of the same bytes
        """Iterate over the bytes; with `gzip`, they are one gzip member (RFC 1952)."""
        if not gzip:
            return map(_get_plain, self.parts)
        length = self.plain_length & 0xFFFFFFFF
        trailer = _FINAL_BLOCK + self.crc.to_bytes(4, "little") + length.to_bytes(4, "little")
        return chain((_GZIP_HEADER,), map(_get_deflated, self.parts), (trailer,))

    def in_one_part(self) -> Segment:
        """Return a copy in a single part: scrapes write a few long chunks faster than many short ones."""
        if len(self.parts) <= 1:
            return self
        deflated = b"".join([part.deflated for part in self.parts])
        short = self.plain_length <= _SHORT_BYTES
        plain = b"".join([part.plain for part in self.parts]) if short else None
        return replace(self, parts=(Part(deflated, self.plain_length, plain),))


def compress(plain: bytes, level: int) -> Segment:
    """Deflate bytes with zlib's `level` (1 is fastest, 9 is smallest)."""
    if not plain:
        return EMPTY
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(plain) + deflater.flush(zlib.Z_FULL_FLUSH)
    return Segment(
        parts=(Part(deflated, len(plain), plain if len(plain) <= _SHORT_BYTES else None),),
        plain_length=len(plain),
        deflated_length=len(deflated),
        crc=zlib.crc32(plain),
        shift=_shift_across(len(plain)),
    )


def join(segments: Iterable[Segment]) -> Segment:
    """Concatenate segments without copying their bytes."""
    nonempty = [segment for segment in segments if segment.parts]
    if len(nonempty) <= 1:
        return nonempty[0] if nonempty else EMPTY
    plain_length = sum(segment.plain_length for segment in nonempty)
    return Segment(
        parts=tuple(chain.from_iterable([segment.parts for segment in nonempty])),
        plain_length=plain_length,
        deflated_length=sum(segment.deflated_length for segment in nonempty),
        crc=reduce(_extend_crc, nonempty, 0),
        shift=_shift_across(plain_length),
    )


def join_columns(rows: Iterable[Sequence[Segment]]) -> tuple[Segment, ...]:
    """Join rows of equal length column by column."""
    return tuple(join(column) for column in zip(*rows, strict=True))


def _extend_crc(crc: int, segment: Segment) -> int:
    """Return the checksum of bytes with the checksum `crc` followed by this segment."""
    if segment.plain_length > _SHORT_BYTES:
        return _product(segment.shift, crc) ^ segment.crc
    for part in segment.parts:
        crc = zlib.crc32(part.plain, crc)
    return crc


def _product(a: int, b: int) -> int:
    """Multiply modulo the polynomial, four bits of `a` at a time."""
    x1 = _times_x(b)
    x2 = _times_x(x1)
    x3 = _times_x(x2)
    x01, x23 = b ^ x1, x2 ^ x3
    low = (0, x3, x2, x23, x1, x1 ^ x3, x1 ^ x2, x1 ^ x23)
    multiples = (*low, b, b ^ x3, b ^ x2, b ^ x23, x01, x01 ^ x3, x01 ^ x2, x01 ^ x23)
    product = 0
    for position in range(0, 32, 4):
        product = (product >> 4) ^ _REMAINDERS[product & 15] ^ multiples[(a >> position) & 15]
    return product


def _times_x(value: int) -> int:
    return (value >> 1) ^ _POLYNOMIAL if value & 1 else value >> 1


def _shift_across(length: int) -> int:
    """Return x^(8 * length) modulo the polynomial: the product of a cached power for each byte of the length."""
    powers = [_power_of_x(length & 0xFF << bits) for bits in range(0, length.bit_length(), 8)]
    return reduce(_product, powers) if powers else _ONE


@cache  # lengths of at most eight significant bits: a few thousand entries
def _power_of_x(length: int) -> int:
    """Return x^(8 * length) modulo the polynomial."""
    if length < 2:
        return _ONE >> 8 * length
    root = _power_of_x(length // 2)
    return _product(_product(root, root), _power_of_x(length % 2))


# The last four bits, multiplied by x^4.
_REMAINDERS = tuple(reduce(lambda value, _: _times_x(value), range(4), bits) for bits in range(16))
EMPTY = Segment(parts=(), plain_length=0, deflated_length=0, crc=0, shift=_ONE)
