from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.gzipping import EMPTY, GZIP_HEADER, crc_of_all, gzip_trailer, piece


@given(st.lists(st.binary(max_size=2000)), st.sampled_from([1, 6]))
def test_pieces_join_into_one_gzip_member_with_the_bytes_of_all(
    parts: list[bytes], level: int
) -> None:
    pieces = [piece(part, level) for part in parts]
    raw = b"".join(parts)

    crc = crc_of_all(pieces)
    member = GZIP_HEADER + b"".join(one.deflated for one in pieces) + gzip_trailer(crc, len(raw))

    assert zlib.crc32(raw) == crc
    assert raw == gzip.decompress(member)
    # One member: a decompressor that stops at the first end has read it all.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert raw == inflater.decompress(member)
    assert b"" == inflater.unused_data


@given(st.binary(), st.binary())
def test_a_checksum_goes_on_behind_what_was_checked_before(head: bytes, tail: bytes) -> None:
    assert zlib.crc32(head + tail) == crc_of_all([piece(tail, 1)], zlib.crc32(head))


def test_nothing_takes_no_bytes() -> None:
    assert EMPTY is piece(b"", 6)


def test_a_wrong_checksum_is_noticed_by_decompressors() -> None:
    one = piece(b"abc", 6)

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(GZIP_HEADER + one.deflated + gzip_trailer(one.crc ^ 1, 3))
