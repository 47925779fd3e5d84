from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.polling.blocks import Block, SessionBlocks
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import finished


def in_order(blocks: tuple[Block, ...]) -> list[RestoreSession]:
    return [session for block in blocks for session in block.sessions]


@given(
    st.lists(st.integers(1, 60), unique=True),
    st.lists(st.integers(1, 60), unique=True),
    st.integers(0, 70),
)
def test_any_sequence_of_changes_leaves_the_newest_first(
    added: list[int], removed: list[int], most: int
) -> None:
    blocks = SessionBlocks(block_sessions=4)
    kept: dict[int, RestoreSession] = {}
    for number in added:
        kept[number] = finished(number)
        blocks.add(kept[number])
    for number in removed:
        if number in kept:
            blocks.remove(kept.pop(number))
        else:
            with pytest.raises(KeyError):
                blocks.remove(finished(number))

    expected = [kept[number] for number in sorted(kept)]
    assert in_order(blocks.newest()) == expected
    assert in_order(blocks.newest(most)) == expected[:most]
    assert list(blocks) == expected[::-1]
    assert len(expected) == len(blocks)
    assert all(block.sessions for block in blocks.newest(most))
    for number in range(0, 61, 7):
        since = finished(number).creation_time
        assert sum(session.creation_time >= since for session in expected) == blocks.count_since(
            since
        )


def test_a_change_replaces_only_the_block_it_falls_into() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 41):
        blocks.add(finished(number))
    before = blocks.newest()

    blocks.remove(finished(1))

    after = blocks.newest()
    assert before[0] is not after[0]
    assert all(old is new for old, new in zip(before[1:], after[1:], strict=True))


def test_what_does_not_change_stays_the_same_object_even_where_it_is_cut() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 21):
        blocks.add(finished(number))

    once, again = blocks.newest(6), blocks.newest(6)

    assert [id(block) for block in once] == [id(block) for block in again]


def test_the_oldest_is_the_one_created_first() -> None:
    blocks = SessionBlocks()
    blocks.add(finished(3))
    blocks.add(finished(9))
    blocks.add(finished(5))

    assert blocks.oldest() == finished(9)


def sizes(blocks: SessionBlocks, limit: int | None = None) -> list[int]:
    return [len(block.sessions) for block in blocks.newest(limit)]


def test_a_block_is_halved_when_it_has_twice_as_many_sessions() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 8):
        blocks.add(finished(number))
    assert sizes(blocks) == [7]

    blocks.add(finished(8))

    assert sizes(blocks) == [4, 4]


def test_a_limit_cuts_the_oldest_of_the_blocks_it_needs() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 9):
        blocks.add(finished(number))

    assert [sizes(blocks, limit) for limit in (0, 3, 4, 5, 8, 9)] == [
        [],
        [3],
        [4],
        [4, 1],
        [4, 4],
        [4, 4],
    ]


def test_another_limit_cuts_elsewhere() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 9):
        blocks.add(finished(number))

    assert [sizes(blocks, limit) for limit in (6, 7, 6)] == [[4, 2], [4, 3], [4, 2]]


def test_a_cut_follows_the_block_it_was_made_of() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 4):
        blocks.add(finished(number))
    blocks.newest(2)

    blocks.remove(finished(1))

    assert in_order(blocks.newest(2)) == [finished(2), finished(3)]
    assert in_order(blocks.newest(1)) == [finished(2)]


def test_an_empty_collection_has_no_oldest_session() -> None:
    with pytest.raises(IndexError):
        SessionBlocks().oldest()


def test_a_session_created_at_the_same_time_as_another_is_not_removed_for_it() -> None:
    blocks = SessionBlocks()
    blocks.add(finished(2))
    twin = finished(3, creation_time=finished(2).creation_time)

    with pytest.raises(KeyError, match=twin.id):
        blocks.remove(twin)

    assert len(blocks) == 1


def test_sessions_created_at_the_same_time_are_counted_across_blocks() -> None:
    blocks = SessionBlocks(block_sessions=2)
    moment = finished(1).creation_time
    for number in range(1, 5):
        blocks.add(finished(number, creation_time=moment))

    assert len(blocks.newest()) == 2
    assert blocks.count_since(moment) == 4


def test_a_block_that_just_fits_is_not_cut() -> None:
    blocks = SessionBlocks(block_sessions=4)
    for number in range(1, 9):
        blocks.add(finished(number))

    assert blocks.newest(4)[0] is blocks.newest()[0]
