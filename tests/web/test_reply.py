from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.web.reply import WRITE_BYTES, error_response, rechunk, text_response

SIZES = st.integers(0, 3 * WRITE_BYTES) | st.integers(0, 100)


@given(st.lists(SIZES, max_size=20))
def test_rechunked_blocks_are_the_same_bytes_in_writes_of_bounded_size(sizes: list[int]) -> None:
    blocks = [bytes([index]) * size for index, size in enumerate(sizes)]
    grouped = list(rechunk(blocks))
    assert b"".join(grouped) == b"".join(blocks)
    assert all(0 < len(write) <= WRITE_BYTES for write in grouped)


def test_many_small_blocks_become_few_writes() -> None:
    blocks = [b"x" * 1024] * (WRITE_BYTES // 1024 * 10)
    assert len(list(rechunk(blocks))) == 10


def test_blocks_are_taken_one_by_one_as_needed() -> None:
    taken = []

    def blocks() -> object:
        for number in range(10):
            taken.append(number)
            yield b"x" * WRITE_BYTES

    first = iter(rechunk(blocks()))  # type: ignore[arg-type] # a generator is an iterable of bytes
    next(first)
    assert taken == [0]


def test_a_large_block_is_split_without_copying() -> None:
    block = b"x" * (WRITE_BYTES * 2)
    assert [type(write) for write in rechunk([block])] == [memoryview, memoryview]


def test_text_that_utf_8_cannot_encode_is_sent_with_a_question_mark_in_its_place() -> None:
    assert text_response("a\ud800b").body == b"a?b"


def test_an_error_names_its_code_and_nothing_else() -> None:
    assert error_response(404).body == b"404 Not Found\n"
