from __future__ import annotations

import gzip
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.metrics.gzip_parts import EMPTY, Segment, compress, join, join_columns

# Checksums of short and of long segments are combined in different ways.
lengths = st.integers(0, 100) | st.integers(3000, 200_000)


def texts(of_lengths: list[int]) -> list[bytes]:
    return [bytes([number + 1]) * length for number, length in enumerate(of_lengths)]


def member(segment: Segment) -> bytes:
    whole = b"".join(segment.chunks(gzip=True))
    assert segment.content_length(gzip=True) == len(whole)
    return whole


@given(st.lists(st.binary(max_size=2000)) | st.lists(lengths, max_size=6).map(texts), st.data())
def test_segments_join_into_one_gzip_member_with_the_bytes_of_all(
    plains: list[bytes], data: st.DataObject
) -> None:
    level = data.draw(st.sampled_from([1, 6]))
    segments = [compress(plain, level) for plain in plains]
    first = data.draw(st.integers(0, len(segments)))
    plain = b"".join(plains)

    # In two steps, as a body is assembled.
    whole = join((join(segments[:first]).in_one_part(), join(segments[first:])))

    assert b"".join(whole.chunks(gzip=False)) == plain
    assert whole.plain_length == len(plain)
    assert whole.deflated_length == sum(len(part.deflated) for part in whole.parts)
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
    segment = replace(EMPTY, crc=0x01020304, plain_length=2**32 + 5)

    assert member(segment)[-8:] == b"\x04\x03\x02\x01\x05\x00\x00\x00"


def test_joining_copies_no_bytes() -> None:
    first, second = compress(b"a" * 10_000, 6), compress(b"b" * 10_000, 6)

    assert join((first, second)).parts == (*first.parts, *second.parts)


def test_segments_become_one_part() -> None:
    long, short = b"a" * 10_000 + b"b" * 10_000, b"ab"

    for plain in (long, short):
        half = len(plain) // 2
        whole = join((compress(plain[:half], 6), compress(plain[half:], 6)))
        (part,) = whole.in_one_part().parts
        assert len(whole.parts) == 2
        assert part.plain == plain
        assert len(part.deflated) == whole.deflated_length


def test_a_segment_with_one_part_is_returned_unchanged() -> None:
    segment = compress(b"a", 6)

    assert segment.in_one_part() is segment


def test_rows_are_joined_column_by_column() -> None:
    rows = [[compress(b"a", 6), compress(b"b", 6)], [compress(b"c", 6), EMPTY]]

    columns = join_columns(rows)

    assert [gzip.decompress(member(column)) for column in columns] == [b"ac", b"b"]


def test_rows_of_unequal_length_are_rejected() -> None:
    with pytest.raises(ValueError, match="shorter"):
        join_columns([[EMPTY, EMPTY], [EMPTY]])


@pytest.mark.parametrize(("length", "kept"), [(4096, True), (4097, False)])
def test_only_long_plain_text_is_dropped_when_unused(length: int, *, kept: bool) -> None:
    (part,) = compress(b"a" * length, 6).parts
    plain = part.plain

    part.drop_unused_plain()
    part.drop_unused_plain()

    assert (part.plain is plain) is kept
    assert part.plain == plain


def test_long_plain_text_is_inflated_once_and_kept_while_it_is_used() -> None:
    (part,) = compress(b"a" * 10_000, 6).parts
    plain = part.plain
    assert plain == b"a" * 10_000

    for _ in range(3):
        part.drop_unused_plain()
        assert part.plain is plain


def test_an_empty_segment_has_no_bytes() -> None:
    assert compress(b"", 6) is EMPTY
    assert join((EMPTY, EMPTY)) is EMPTY
    assert join((EMPTY, compress(b"a", 6))).plain_length == 1


def test_decompressors_detect_a_wrong_checksum() -> None:
    segment = compress(b"abc", 6)

    with pytest.raises(gzip.BadGzipFile):
        gzip.decompress(member(replace(segment, crc=segment.crc ^ 1)))
