from __future__ import annotations

import gc
import weakref

import pytest

from exporter.metrics.catalogue.family import SessionValue
from exporter.metrics.gzip_parts import EMPTY, Segment
from exporter.metrics.rendered_blocks import RenderedBlocks
from exporter.metrics.rendering import render_sessions
from exporter.polling.blocks import Block
from exporter.vb365.records.restore_session import RestoreSession
from support.sample_sessions import finished


class Rendered:
    """Rendered blocks that record which sessions are rendered."""

    def __init__(self) -> None:
        self.sessions: list[RestoreSession] = []
        self.families = (
            SessionValue(name="duration", help="Duration.", value=self._value),
            SessionValue(name="items", help="Items.", value=lambda _: 1.0),
        )
        self.blocks = RenderedBlocks("hq", self.families)

    def _value(self, session: RestoreSession) -> float | None:
        self.sessions.append(session)
        return session.duration_seconds


def sample_blocks(number: int) -> tuple[Block, ...]:
    return tuple(Block((finished(2 * one), finished(2 * one + 1))) for one in range(1, number + 1))


def plain(segment: Segment) -> bytes:
    return b"".join(segment.chunks(gzip=False))


@pytest.mark.parametrize("number", [1, 24, 25, 60])
def test_sessions_are_rendered_in_the_order_of_their_blocks(number: int) -> None:
    rendered = Rendered()
    blocks = sample_blocks(number)
    sessions = [session for block in blocks for session in block.sessions]

    segments = rendered.blocks.segments(blocks)

    assert [plain(one) for one in segments] == render_sessions("hq", sessions, rendered.families)


def test_a_block_is_rendered_once() -> None:
    rendered = Rendered()
    blocks = sample_blocks(30)
    rendered.blocks.segments(blocks)
    rendered.sessions.clear()
    new, replaced = Block((finished(1),)), Block((finished(5),))

    rendered.blocks.segments((new, *blocks))
    rendered.blocks.segments((new, blocks[0], replaced, *blocks[2:]))

    assert rendered.sessions == [finished(1), finished(5)]


def test_the_same_blocks_give_the_same_segments() -> None:
    rendered = Rendered()
    blocks = sample_blocks(30)

    assert rendered.blocks.segments(blocks) is rendered.blocks.segments((*blocks,))


def test_replacing_a_block_keeps_the_bytes_of_distant_blocks() -> None:
    rendered = Rendered()
    blocks = sample_blocks(72)
    before = rendered.blocks.segments(blocks)

    after = rendered.blocks.segments((*blocks[:30], Block((finished(1),)), *blocks[31:]))

    for old, new in zip(before, after, strict=True):
        assert [a is b for a, b in zip(old.parts, new.parts, strict=True)] == [True, False, True]


def test_blocks_that_no_longer_exist_are_dropped() -> None:
    rendered = Rendered()
    blocks = sample_blocks(30)
    gone, stays = weakref.ref(blocks[0]), weakref.ref(blocks[1])
    rendered.blocks.segments(blocks)

    rendered.blocks.segments(blocks[1:])
    del blocks
    gc.collect()

    assert gone() is None
    assert stays() is not None
    assert rendered.blocks.segments(()) == (EMPTY, EMPTY)
    gc.collect()
    assert stays() is None
