"""The text of one server's finished sessions: rendered and compressed once for each block, and kept while the block lives.

A body of a hundred thousand sessions has thousands of pieces. So that a change costs what has changed, neighbouring
blocks are put together in groups first, and a group is put together again only when one of its blocks is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from exporter.metrics.catalogue import SessionFamily
from exporter.metrics.gzip_parts import EMPTY, Piece, joined_rows, piece
from exporter.metrics.rendering import render_sessions
from exporter.polling.blocks import Block

__all__ = ["RenderedBlocks"]

_LEVEL = 6
# About the square root of how many blocks there can be: that is cheapest.
_GROUP_BLOCKS = 24

Pieces = tuple[Piece, ...]
"""A piece for each family."""
Group = tuple[Block, ...]


class RenderedBlocks:
    """Finished sessions of a server as pieces of the body. For one thread at a time.

    Args:
        server: its name.
        families: what is told of each session.
    """

    def __init__(self, server: str, families: Sequence[SessionFamily]) -> None:
        self._server = server
        self._families = families
        self._blocks: Group = ()
        self._whole = self._none = (EMPTY,) * len(families)
        self._of_block: Mapping[Block, Pieces] = {}
        self._of_group: Mapping[Group, Pieces] = {}

    def pieces(self, blocks: Group) -> Pieces:
        """A piece for each family, with the sessions of these blocks in their order; forgets all other blocks."""
        if blocks == self._blocks:
            return self._whole
        of_block = {block: self._of_block.get(block) or self._seal(block) for block in blocks}
        of_group = {
            group: self._of_group.get(group) or _in_one_part(of_block[block] for block in group)
            for group in _groups(blocks)
        }
        self._whole = joined_rows((self._none, *of_group.values()))
        self._blocks, self._of_block, self._of_group = blocks, of_block, of_group
        return self._whole

    def _seal(self, block: Block) -> Pieces:
        lines = render_sessions(self._server, block.sessions, self._families)
        return tuple(piece(one, _LEVEL) for one in lines)


def _groups(blocks: Group) -> Iterator[Group]:
    """Split where a block says so by itself: then a block that comes or goes leaves all other groups as they are."""
    group: list[Block] = []
    for block in blocks:
        if group and hash(block.sessions[0].id) % _GROUP_BLOCKS == 0:
            yield tuple(group)
            group = []
        group.append(block)
    if group:
        yield tuple(group)


def _in_one_part(several: Iterable[Pieces]) -> Pieces:
    return tuple(of_family.in_one_part() for of_family in joined_rows(several))
