"""Memory per session: the command polls a simulator, each in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from support.benchmark_clients import Scraper
from support.benchmark_figures import kilobytes_text, print_table, ratio_text
from support.exporter_process import PolledExporter, polled_exporter

SCRAPERS = 10
SETTLE_SECONDS = 10.0
LATER_SECONDS = 60.0


def megabytes(amount: float) -> str:
    return f"{amount / 1e6:.0f} MB"


@contextmanager
def settled(sessions: int, seconds: float) -> Iterator[PolledExporter]:
    """Run an exporter for some polls and scrape it once."""
    with polled_exporter(sessions, poll_interval="2s") as exporter:
        time.sleep(seconds)
        with Scraper(exporter.address) as scraper:
            scraper.scrape()
        yield exporter


def scraped_by_many(exporter: PolledExporter, *, gzip: bool) -> int:
    """Return the peak memory while ten clients scrape at the same time, three times."""
    exporter.reset_peak()
    with ExitStack() as stack, ThreadPoolExecutor(SCRAPERS) as threads:
        scrapers = [
            stack.enter_context(Scraper(exporter.address, gzip=gzip)) for _ in range(SCRAPERS)
        ]
        for _ in range(3):
            list(threads.map(Scraper.scrape, scrapers))
    return exporter.resident_bytes(peak=True)


def rows(
    sizes: Sequence[int], settle_seconds: float, later_seconds: float
) -> Iterator[tuple[str, ...]]:
    with settled(0, settle_seconds) as exporter:
        empty = exporter.resident_bytes()
    for size in sizes:
        with settled(size, settle_seconds) as exporter:
            resting = exporter.resident_bytes()
            peak = scraped_by_many(exporter, gzip=True)
            time.sleep(later_seconds)
            later = exporter.resident_bytes()
            plain_peak = scraped_by_many(exporter, gzip=False)
            plain = exporter.resident_bytes()
        yield (
            str(size),
            megabytes(empty),
            megabytes(resting),
            kilobytes_text((resting - empty) / size),
            ratio_text(peak / resting),
            ratio_text(later / resting),
            kilobytes_text((plain - empty) / size),
            ratio_text(plain_peak / plain),
        )


def main(
    sizes: Sequence[int] = (100, 1000, 10_000, 100_000),
    settle_seconds: float = SETTLE_SECONDS,
    later_seconds: float = LATER_SECONDS,
) -> None:
    print_table(
        f"Memory of the command, polling every 2 s; {SCRAPERS} scrapers; again after {later_seconds:.0f} s",
        (
            *("sessions", "empty", "at rest", "a session", "peak with scrapers", "later"),
            *("a session, once scraped plain", "peak with plain scrapers"),
        ),
        rows(sizes, settle_seconds, later_seconds),
    )


if __name__ == "__main__":
    main()
