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
