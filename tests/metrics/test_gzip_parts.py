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
    Segment,
    compress,
    gzip_trailer,
    join,
    join_columns,
)

# Checksums of short and of long segments are combined in different ways.
lengths = st.integers(0, 100) | st.integers(3000, 200_000)


def texts(of_lengths: list[int]) -> list[bytes]:
    return [bytes([number + 1]) * length for number, length in enumerate(of_lengths)]


def member(segment: Segment) -> bytes:
    trailer = gzip_trailer(segment.crc, segment.plain_length)
    assert len(trailer) == GZIP_TRAILER_BYTES
    return GZIP_HEADER + b"".join(chunk.deflated for chunk in segment.chunks) + trailer


@given(st.lists(st.binary(max_size=2000)) | st.lists(lengths, max_size=6).map(texts), st.data())
def test_segments_join_into_one_gzip_member_with_the_bytes_of_all(
    plains: list[bytes], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from([1, 6]))
    segments = [compress(plain, level) for plain in plains]
    first = data.draw(st.integers(0, len(segments)))
    plain = b"".join(plains)

    # In two steps, as a body is assembled.
    whole = join((join(segments[:first]).in_one_chunk(), join(segments[first:])))

    assert b"".join(chunk.plain for chunk in whole.chunks) == plain
    assert whole.plain_length == len(plain)
    assert whole.deflated_length == sum(len(chunk.deflated) for chunk in whole.chunks)
    assert whole.crc == zlib.crc32(plain)
    assert gzip.decompress(member(whole)) == plain
    # One member: a decompressor that stops at its end has read everything.
    inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert inflater.decompress(member(whole)) == plain
    assert inflater.unused_data == b""


def test_the_checksum_is_correct_beyond_16_megabytes() -> None:
    plain = bytes(2**24 + 300)

    whole = join((compress(b"first", 1), compress(plain, 1), compress(plain, 1)))

    assert whole.crc == zlib.crc32(plain, zlib.crc32(plain, zlib.crc32(b"first")))


def test_the_trailer_ends_with_the_checksum_and_the_length_modulo_2_to_the_32() -> None:
    trailer = gzip_trailer(0x01020304, 2**32 + 5)

    assert trailer[-8:] == b"\x04\x03\x02\x01\x05\x00\x00\x00"
    assert len(trailer) == GZIP_TRAILER_BYTES


def test_joining_copies_no_bytes() -> None:
    first, second = compress(b"a" * 10_000, 6), compress(b"b" * 10_000, 6)

    assert join((first, second)).chunks == (*first.chunks, *second.chunks)


def test_segments_become_one_chunk() -> None:
    long, short = b"a" * 10_000 + b"b" * 10_000, b"ab"

    for plain in (long, short):
        half = len(plain) // 2
        whole = join((compress(plain[:half], 6), compress(plain[half:], 6)))
        (chunk,) = whole.in_one_chunk().chunks
        assert len(whole.chunks) == 2
        assert chunk.plain == plain
        assert len(chunk.deflated) == whole.deflated_length


def test_a_segment_with_one_chunk_is_returned_unchanged() -> None:
    segment = compress(b"a", 6)

    assert segment.in_one_chunk() is segment


def test_rows_are_joined_column_by_column() -> None:
    rows = [[compress(b"a", 6), compress(b"b", 6)], [compress(b"c", 6), EMPTY]]

    columns = join_columns(rows)

    assert [gzip.decompress(member(column)) for column in columns] == [b"ac", b"b"]


def test_rows_of_unequal_length_are_rejected() -> None:
    with pytest.raises(ValueError, match="shorter"):
        join_columns([[EMPTY, EMPTY], [EMPTY]])


@pytest.mark.parametrize(("length", "kept"), [(4096, True), (4097, False)])
def test_only_long_plain_text_is_dropped_when_unused(length: int, *, kept: bool) -> None:
    (chunk,) = compress(b"a" * length, 6).chunks
    plain = chunk.plain

    chunk.drop_unused_plain()
    chunk.drop_unused_plain()

    assert (chunk.plain is plain) is kept
    assert chunk.plain == plain


def test_long_plain_text_is_inflated_once_and_kept_while_it_is_used() -> None:
    (chunk,) = compress(b"a" * 10_000, 6).chunks
    plain = chunk.plain
    assert plain == b"a" * 10_000

    for _ in range(3):
        chunk.drop_unused_plain()
        assert chunk.plain is plain


def test_an_empty_segment_has_no_bytes() -> None:
    assert compress(b"", 6) is EMPTY
    assert join((EMPTY, EMPTY)) is EMPTY
    assert join((EMPTY, compress(b"a", 6))).plain_length == 1


def test_decompressors_detect_a_wrong_checksum() -> None:
    segment = compress(b"abc", 6)

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(GZIP_HEADER + segment.chunks[0].deflated + gzip_trailer(segment.crc ^ 1, 3))
