"""A real Prometheus with default timeouts scrapes 100,000 sessions from the exporter and from nginx."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from support.benchmark_clients import Scraper
from support.benchmark_figures import print_table, ratio_text
from support.benchmark_server import benchmark_server
from support.nginx_files import file_server, write_body
from support.processes import require_programs
from support.prometheus_process import Prometheus, running_prometheus

SCRAPES = 4
# Room for the default timeout of 10 s; few sessions do not need it.
INTERVAL_SECONDS = 11
SHORT_INTERVAL_SECONDS = 3
# One that scrapes both would let the one's parsing delay the other's.
_CONFIG = """
global: {{scrape_interval: {interval}s}}
scrape_configs:
  - job_name: scraped
    static_configs: [{{targets: ['{address}']}}]
"""


def scraped(
    address: str, directory: Path, interval_seconds: int, scrapes: int
) -> tuple[list[float], bool]:
    """Return the durations of all scrapes except the first, as recorded by Prometheus, and whether all succeeded."""
    config = _CONFIG.format(interval=interval_seconds, address=address)
    with running_prometheus(config, directory) as prometheus:
        # The first makes all series, which takes several times as long.
        taken = [one_more_scrape(prometheus, seen) for seen in range(scrapes + 1)]
        up = prometheus.query("min_over_time(up[1h])")[0]["value"][1] == "1"
    return taken[1:], up


def one_more_scrape(prometheus: Prometheus, seen: int) -> float:
    while True:
        counted = prometheus.query("count_over_time(scrape_duration_seconds[1h])")
        if counted and int(counted[0]["value"][1]) > seen:
            newest = prometheus.query("last_over_time(scrape_duration_seconds[1h])")
            return float(newest[0]["value"][1])
        time.sleep(0.2)


def rows(sizes: Sequence[int], scrapes: int, interval_seconds: int) -> Iterator[tuple[str, ...]]:
    for size in sizes:
        interval = (
            interval_seconds if size > 10_000 else min(interval_seconds, SHORT_INTERVAL_SECONDS)
        )
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            directory.chmod(0o755)
            own = stack.enter_context(benchmark_server("exporter", size))
            write_body(directory, own, gzip=[True])
            files = stack.enter_context(file_server(directory))
            with Scraper(own) as scraper:
                scraper.scrape()
                length = len(scraper.body)
            ours: list[tuple[list[float], bool]] = []
            theirs: list[tuple[list[float], bool]] = []
            for number in range(2):
                place = directory / f"prometheus-{number}"
                place.mkdir()
                ours.append(scraped(own, place / "own", interval, scrapes // 2))
                theirs.append(scraped(files, place / "nginx", interval, scrapes // 2))
        own_median, files_median = (
            statistics.median(one for taken, _ in runs for one in taken) for runs in (ours, theirs)
        )
        yield (
            str(size),
            f"{length / 1e6:.2f} MB",
            f"{own_median:.3f} s",
            f"{files_median:.3f} s",
            ratio_text(own_median / files_median),
            *(str(int(all(up for _, up in runs))) for runs in (ours, theirs)),
        )


def main(
    sizes: Sequence[int] = (100, 1000, 10_000, 100_000),
    scrapes: int = SCRAPES,
    interval_seconds: int = INTERVAL_SECONDS,
) -> None:
    require_programs(prometheus="prometheus", nginx="nginx-light")
    print_table(
        "scrape_duration_seconds of Prometheus with its default timeout, in turns",
        ("sessions", "gzip", "this exporter", "nginx, same bytes", "ratio", "up", "up of nginx"),
        rows(sizes, scrapes, interval_seconds),
    )


if __name__ == "__main__":
    main()
