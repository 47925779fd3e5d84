"""The memory that the texts of stored sessions take, and its bound."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from exporter.vb365.records.restore_session import RestoreSession

MEAN_TEXT_BYTES = 2048
"""What the texts of a session may take, on average over all that are kept. Real ones take about a third of it."""
_MIN_TEXT_BYTES = 1 << 20


class TextBudget:
    """Adds up the texts of stored sessions: their number alone does not bound memory.

    Args:
        max_sessions: how many sessions are kept; their texts may take 2 KiB each on average, or 1 MiB in all if
            that is more.
    """

    def __init__(self, max_sessions: int) -> None:
        self._max_bytes = max(max_sessions * MEAN_TEXT_BYTES, _MIN_TEXT_BYTES)
        self._bytes = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether sessions have to be evicted."""
        return self._bytes > self._max_bytes

    def add(self, session: RestoreSession) -> None:
        """Add a session that is stored."""
        self._bytes += _text_bytes(session)

    def remove(self, session: RestoreSession) -> None:
        """Remove a session that was added with the same texts."""
        self._bytes -= _text_bytes(session)


_texts: Callable[[RestoreSession], tuple[str, ...]] = attrgetter(
    "organization", "name", "initiated_by", "details", "scope_name", "client_host", "reason"
)


def _text_bytes(session: RestoreSession) -> int:
    # Texts that sessions share are counted for each of them.
    return sum(map(str.__sizeof__, _texts(session)))
