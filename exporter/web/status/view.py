"""Keeps the status page cheap, however often it is asked for, and out of the way of scrapes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from exporter.web.status.page import StatusPage

__all__ = ["StatusPageCache"]

_GOOD_FOR_SECONDS: Final = 1.0


class StatusPageCache:
    """Renders the page at most once a second, in a thread of its own: the loop goes on answering scrapes.

    Args:
        read: gives what is to be shown; called in that thread, never twice at once.
        telemetry_path: where the metrics are.
        monotonic: the clock that tells whether a second has passed.
    """

    def __init__(
        self,
        read: Callable[[], StatusPage],
        *,
        telemetry_path: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._telemetry_path = telemetry_path
        self._monotonic = monotonic
        self._rendering = asyncio.Lock()
        self._rendered: dict[bool, tuple[float, str]] = {}

    async def html(self, *, paused: bool) -> str:
        """Return the page, no older than a second; `paused` as in `render_status`."""
        async with self._rendering:
            made, html = self._rendered.get(paused, (None, ""))
            if made is None or self._monotonic() - made >= _GOOD_FOR_SECONDS:
                made = self._monotonic()
                html = await asyncio.to_thread(self._render, paused=paused)
                self._rendered[paused] = (made, html)
            return html

    def _render(self, *, paused: bool) -> str:
        # Jinja and the template are loaded for the first person who looks: most instances are only scraped.
        from exporter.web.status.rendering import render_status  # noqa: PLC0415

        return render_status(self._read(), telemetry_path=self._telemetry_path, paused=paused)
