"""Compressed pieces that join into one valid gzip member.

A piece is deflated by itself and ends on a byte boundary (a full flush, no final block), so that pieces can stand
behind each other in any order. What joins them is the checksum of the whole, which follows from those of the pieces
(RFC 1952; the arithmetic is that of zlib's `crc32_combine`, which Python does not offer).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain

__all__ = [
    "EMPTY",
    "GZIP_HEADER",
    "GZIP_TRAILER_BYTES",
    "Part",
    "Piece",
    "gzip_trailer",
    "joined",
    "joined_rows",
    "piece",
]

# Deflate, no name, no time, no system.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

_FINAL_BLOCK = b"\x03\x00"
GZIP_TRAILER_BYTES = len(_FINAL_BLOCK) + 8

_POLYNOMIAL = 0xEDB88320  # of CRC-32, bit 31 is x^0
_ONE = 1 << 31
# Up to here it is cheaper to check the bytes again than to carry a checksum across them.
_SHORT_BYTES = 4096


class Part:
    """Bytes, kept deflated; as they are only when they are short, and while clients want them like that.

    Prometheus asks for gzip, and text is eight times as long as it is deflated.
    """

    __slots__ = ("_raw", "_raw_length", "_wanted", "deflated")

    def __init__(self, deflated: bytes, raw_length: int, raw: bytes | None = None) -> None:
        self.deflated = deflated
        self._raw_length = raw_length
        self._raw = raw
        self._wanted = False

    @property
    def raw(self) -> bytes:
        """The bytes as they are."""
        raw = self._raw
        if raw is None:
            whole = self.deflated + _FINAL_BLOCK
            self._raw = raw = zlib.decompress(whole, -zlib.MAX_WBITS, self._raw_length)
        self._wanted = True
        return raw

    def keep_while_wanted(self) -> None:
        """Keep long bytes deflated only, unless they were wanted as they are since this was called before."""
        if not self._wanted and self._raw_length > _SHORT_BYTES:
            self._raw = None
        self._wanted = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes in one or more parts, and what it takes to join them with others."""

    parts: tuple[Part, ...]
    raw_length: int
    deflated_length: int
    crc: int
    shift: int
    """x^(8 * raw_length) modulo the polynomial: what carries a checksum across this piece."""

    def in_one_part(self) -> Piece:
        """The same, copied: a few long parts cost a scrape less than many short ones."""
        if len(self.parts) <= 1:
            return self
        deflated = b"".join([part.deflated for part in self.parts])
        short = self.raw_length <= _SHORT_BYTES
        raw = b"".join([part.raw for part in self.parts]) if short else None
        return replace(self, parts=(Part(deflated, self.raw_length, raw),))


def piece(raw: bytes, level: int) -> Piece:
    """Compress bytes with zlib's `level` (1 fast to 9 small)."""
    if not raw:
        return EMPTY
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(raw) + deflater.flush(zlib.Z_FULL_FLUSH)
    return Piece(
        parts=(Part(deflated, len(raw), raw if len(raw) <= _SHORT_BYTES else None),),
        raw_length=len(raw),
        deflated_length=len(deflated),
        crc=zlib.crc32(raw),
        shift=_shift_across(len(raw)),
    )


def joined(pieces: Iterable[Piece]) -> Piece:
    """Pieces behind each other as one; copies none of their bytes."""
    some = [one for one in pieces if one.parts]
    if len(some) <= 1:
        return some[0] if some else EMPTY
    crc = 0
    for one in some:
        crc = _carried(crc, one)
    length = sum(one.raw_length for one in some)
    return Piece(
        parts=tuple(chain.from_iterable([one.parts for one in some])),
        raw_length=length,
        deflated_length=sum(one.deflated_length for one in some),
        crc=crc,
        shift=_shift_across(length),
    )


def joined_rows(rows: Iterable[Sequence[Piece]]) -> tuple[Piece, ...]:
    """Rows of equally many pieces as one row: what stands at the same place is joined."""
    return tuple(joined(column) for column in zip(*rows, strict=True))


def gzip_trailer(crc: int, length: int) -> bytes:
    """What ends a gzip member of `length` bytes (before compression)."""
    return _FINAL_BLOCK + crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


def _carried(crc: int, one: Piece) -> int:
    """The checksum behind a piece, when `crc` is that of all before it."""
    if one.raw_length > _SHORT_BYTES:
        return _product(one.shift, crc) ^ one.crc
    for part in one.parts:
        crc = zlib.crc32(part.raw, crc)
    return crc


def _product(a: int, b: int) -> int:
    """Multiply modulo the polynomial, bits reversed as CRC-32 has them."""
    product = 0
    bit = _ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _shift_across(length: int) -> int:
    """x^(8 * length) modulo the polynomial; a byte of the length at a time."""
    shift = _ONE
    for place, byte in enumerate(length.to_bytes(8, "little")):
        if byte:
            power = _power_of_x_by_byte(place, byte)
            shift = power if shift == _ONE else _product(power, shift)
    return shift


@cache  # no more than 2048 of them
def _power_of_x_by_byte(place: int, byte: int) -> int:
    """x^(8 * byte * 256^place) modulo the polynomial."""
    if byte > 1:
        return _product(_power_of_x_by_byte(place, 1), _power_of_x_by_byte(place, byte - 1))
    if place == 0:
        return _ONE >> 8
    return _product(_power_of_x_by_byte(place - 1, 1), _power_of_x_by_byte(place - 1, 255))


EMPTY = Piece(parts=(), raw_length=0, deflated_length=0, crc=0, shift=_ONE)
