"""The text of one server's finished sessions: each block is rendered and compressed once.

A hundred thousand sessions fill about eight hundred blocks, and joining their segments takes tens of milliseconds.
Therefore blocks are first joined in groups, and a group is joined again only when one of its blocks has been replaced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from exporter.metrics.catalogue.family import SessionFamily
from exporter.metrics.gzip_parts import EMPTY, Segment, compress, join_columns
from exporter.metrics.rendering import render_sessions
from exporter.polling.blocks import Block

_LEVEL = 6
# About the square root of the largest number of blocks, which minimizes the number of joins.
_GROUP_BLOCKS = 24

Segments = tuple[Segment, ...]
"""One for each family."""
Blocks = tuple[Block, ...]


class RenderedBlocks:
    """Finished sessions of one server as segments of the body. Not thread-safe.

    Args:
        server: the server's name.
        families: the families to render, in order.
    """

    def __init__(self, server: str, families: Sequence[SessionFamily]) -> None:
        self._server = server
        self._families = families
        self._blocks: Blocks = ()
        self._joined = self._nothing = (EMPTY,) * len(families)
        self._by_block: Mapping[Block, Segments] = {}
        self._by_group: Mapping[Blocks, Segments] = {}

    def segments(self, blocks: Blocks) -> Segments:
        """Return one segment per family with the sessions of these blocks, and drop all other blocks."""
        if blocks == self._blocks:
            return self._joined
        by_block = {block: self._by_block.get(block) or self._render(block) for block in blocks}
        groups = (
            blocks[start : start + _GROUP_BLOCKS] for start in range(0, len(blocks), _GROUP_BLOCKS)
        )
        by_group = {
            group: self._by_group.get(group) or _merge(by_block[block] for block in group)
            for group in groups
        }
        self._joined = join_columns((self._nothing, *by_group.values()))
        self._blocks, self._by_block, self._by_group = blocks, by_block, by_group
        return self._joined

    def _render(self, block: Block) -> Segments:
        lines = render_sessions(self._server, block.sessions, self._families)
        return tuple(compress(text, _LEVEL) for text in lines)


def _merge(rows: Iterable[Segments]) -> Segments:
    return tuple(segment.in_one_part() for segment in join_columns(rows))
