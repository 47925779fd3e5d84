from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.gzip_parts import (
    EMPTY,
    GZIP_HEADER,
    GZIP_TRAILER_BYTES,
    Piece,
    gzip_trailer,
    joined,
    piece,
)

# Short ones and long ones are checked in different ways.
lengths = st.integers(0, 100) | st.integers(3000, 200_000)


def parts(of_lengths: list[int]) -> list[bytes]:
    return [bytes([number + 1]) * length for number, length in enumerate(of_lengths)]


def member(one: Piece) -> bytes:
    trailer = gzip_trailer(one.crc, one.raw_length)
    assert len(trailer) == GZIP_TRAILER_BYTES
    return GZIP_HEADER + b"".join(part.deflated for part in one.parts) + trailer


@given(st.lists(st.binary(max_size=2000)) | st.lists(lengths, max_size=6).map(parts), st.data())
def test_pieces_join_into_one_gzip_member_with_the_bytes_of_all(
    raws: list[bytes], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from([1, 6]))
    pieces = [piece(raw, level) for raw in raws]
    first = data.draw(st.integers(0, len(pieces)))
    raw = b"".join(raws)

    # In two steps, as a body is put together.
    whole = joined((joined(pieces[:first]).in_one_part(), joined(pieces[first:])))

    assert raw == b"".join(part.raw for part in whole.parts)
    assert len(raw) == whole.raw_length
    assert sum(len(part.deflated) for part in whole.parts) == whole.deflated_length
    assert zlib.crc32(raw) == whole.crc
    assert raw == gzip.decompress(member(whole))
    # One member: a decompressor that stops at the first end has read it all.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert raw == inflater.decompress(member(whole))
    assert inflater.unused_data == b""


def test_joining_copies_no_bytes() -> None:
    one, other = piece(b"a" * 10_000, 6), piece(b"b" * 10_000, 6)

    assert (*one.parts, *other.parts) == joined((one, other)).parts


def test_long_text_is_inflated_once_a_client_wants_it_plain() -> None:
    (part,) = joined((piece(b"a" * 10_000, 6), piece(b"b" * 10_000, 6))).in_one_part().parts

    assert part._raw is None
    assert part.raw == b"a" * 10_000 + b"b" * 10_000
    assert part.raw is part.raw


def test_long_text_stays_plain_while_clients_want_it_so() -> None:
    part, short = (*piece(b"a" * 10_000, 6).parts, *piece(b"short", 6).parts)
    plain = part.raw

    part.keep_while_wanted()
    assert plain is part.raw
    part.keep_while_wanted()
    part.keep_while_wanted()
    short.keep_while_wanted()

    assert part._raw is None
    assert short._raw == b"short"
    assert plain == part.raw


def test_nothing_takes_no_bytes() -> None:
    assert EMPTY is piece(b"", 6)
    assert EMPTY is joined((EMPTY, EMPTY))


def test_a_wrong_checksum_is_noticed_by_decompressors() -> None:
    one = piece(b"abc", 6)

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(GZIP_HEADER + one.parts[0].deflated + gzip_trailer(one.crc ^ 1, 3))
