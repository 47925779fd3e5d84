"""Compressed pieces that join into one valid gzip member.

A piece is deflated by itself and ends on a byte boundary (a full flush, no final block), so that pieces can stand
behind each other in any order. What joins them is the checksum of the whole, which follows from those of the pieces
(RFC 1952; the arithmetic is that of zlib's `crc32_combine`, which Python does not offer).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

__all__ = ["EMPTY", "GZIP_HEADER", "Piece", "crc_of_all", "gzip_trailer", "piece"]

# Deflate, no name, no time, no system.
GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"

_FINAL_BLOCK = b"\x03\x00"
_POLYNOMIAL = 0xEDB88320  # of CRC-32, bit 31 is x^0
_ONE = 1 << 31


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes, the same bytes deflated, and what it takes to join them."""

    raw: bytes
    deflated: bytes
    crc: int
    shift: int
    """x^(8 * len(raw)) modulo the polynomial: what carries a checksum across this piece."""


def piece(raw: bytes, level: int) -> Piece:
    """Compress bytes with zlib's `level` (1 fast to 9 small)."""
    if not raw:
        return EMPTY
    deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    deflated = deflater.compress(raw) + deflater.flush(zlib.Z_FULL_FLUSH)
    return Piece(raw, deflated, zlib.crc32(raw), _power_of_x(8 * len(raw)))


def crc_of_all(pieces: Iterable[Piece], crc: int = 0) -> int:
    """The CRC-32 of the pieces' bytes behind each other, behind bytes whose CRC-32 is `crc`."""
    for one in pieces:
        crc = _product(one.shift, crc) ^ one.crc
    return crc


def gzip_trailer(crc: int, length: int) -> bytes:
    """What ends a gzip member of `length` bytes (before compression)."""
    return _FINAL_BLOCK + crc.to_bytes(4, "little") + (length & 0xFFFFFFFF).to_bytes(4, "little")


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


@cache
def _power_of_x_to_power_of_two(exponent: int) -> int:
    """x^(2^exponent) modulo the polynomial."""
    if exponent == 0:
        return _ONE >> 1
    root = _power_of_x_to_power_of_two(exponent - 1)
    return _product(root, root)


def _power_of_x(power: int) -> int:
    result = _ONE
    exponent = 0
    while power:
        if power & 1:
            result = _product(_power_of_x_to_power_of_two(exponent), result)
        power >>= 1
        exponent += 1
    return result


EMPTY = Piece(b"", b"", 0, _ONE)
