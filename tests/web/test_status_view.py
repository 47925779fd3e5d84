from __future__ import annotations

import asyncio
import threading

import pytest
from web.status_pages import HQ, page

from exporter.web.status import StatusPage, StatusPageCache


class Source:
    """Gives pages, and knows how often it was asked and from where."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.error: Exception | None = None

    def __call__(self) -> StatusPage:
        self.threads.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return page(HQ)


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_page_is_rendered_at_most_once_a_second_however_many_ask() -> None:
    source, clock = Source(), Clock()

    async def scenario() -> None:
        view = StatusPageCache(source, telemetry_path="/metrics", monotonic=clock)
        first = await asyncio.gather(*(view.html(paused=False) for _ in range(20)))
        assert 1 == len(set(first)) == len(source.threads)
        clock.seconds = 0.99
        await view.html(paused=False)
        assert len(source.threads) == 1
        clock.seconds = 1.0
        await view.html(paused=False)
        assert len(source.threads) == 2

    asyncio.run(scenario())


def test_rendering_leaves_the_loop_to_the_scrapes() -> None:
    source = Source()

    async def scenario() -> None:
        await StatusPageCache(source, telemetry_path="/metrics").html(paused=False)

    asyncio.run(scenario())
    assert threading.current_thread().name not in source.threads


def test_a_paused_page_is_not_mixed_up_with_one_that_renews_itself() -> None:
    async def scenario() -> tuple[str, str]:
        view = StatusPageCache(Source(), telemetry_path="/metrics", monotonic=Clock())
        return await view.html(paused=False), await view.html(paused=True)

    renewing, paused = asyncio.run(scenario())
    assert ('http-equiv="refresh"' in renewing, 'http-equiv="refresh"' in paused) == (True, False)


def test_an_error_is_not_kept() -> None:
    source = Source()

    async def scenario() -> str:
        view = StatusPageCache(source, telemetry_path="/metrics", monotonic=Clock())
        source.error = ValueError("broken")
        with pytest.raises(ValueError, match="broken"):
            await view.html(paused=False)
        source.error = None
        return await view.html(paused=False)

    assert asyncio.run(scenario()).startswith("<!DOCTYPE html>")
