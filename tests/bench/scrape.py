"""The duration of a scrape, compared with a file server with the same bytes, the stock client library and a Pushgateway."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import requests

from exporter.metrics.text_format import Format
from support.benchmark_clients import Scraper
from support.benchmark_figures import (
    interleave,
    median_ratio,
    milliseconds_text,
    print_table,
    quantile,
    ratio_text,
)
from support.benchmark_server import benchmark_server
from support.exporter_process import simulated_server
from support.expositions import body, publisher
from support.nginx_files import file_server, write_body
from support.processes import debian_program, free_port, require_programs, running_process
from support.sample_history import History
from support.waiting import wait_until

COLUMNS = ("sessions", "scraped", "bytes")


@contextmanager
def pushgateway(exposition: bytes, directory: Path) -> Iterator[str]:
    """Run an empty Pushgateway and push these bytes; yield its host:port."""
    binary = debian_program("prometheus-pushgateway", "prometheus-pushgateway")
    address = f"127.0.0.1:{free_port()}"
    command = [binary, f"--web.listen-address={address}", "--persistence.file="]
    with running_process(command, directory / "pushgateway.log"), requests.Session() as http:
        http.trust_env = False

        def ready() -> bool:
            try:
                return http.get(f"http://{address}/-/ready", timeout=5).ok
            except requests.ConnectionError:
                return False

        wait_until(ready, "the Pushgateway is ready")
        answer = http.put(f"http://{address}/metrics/job/vb365", data=exposition, timeout=120)
        answer.raise_for_status()
        yield address


def beside_nginx(sizes: Sequence[int], scrapes: int) -> Iterator[tuple[str, ...]]:
    for size in sizes:
        with tempfile.TemporaryDirectory() as made, benchmark_server("exporter", size) as address:
            directory = Path(made)
            directory.chmod(0o755)
            write_body(directory, address)
            with file_server(directory) as files:
                # The large ones take long enough to be measured fewer times.
                rounds = max(3, scrapes if size <= 10_000 else scrapes // 10)
                for gzip in (True, False):
                    with Scraper(address, gzip=gzip) as own, Scraper(files, gzip=gzip) as other:
                        own.scrape()
                        other.scrape()
                        ours, theirs = interleave(rounds, own.scrape, other.scrape)
                        length = len(own.body)
                    yield (
                        str(size),
                        "gzip" if gzip else "plain",
                        f"{length / 1e6:.2f} MB",
                        milliseconds_text(quantile(ours, 0.5)),
                        milliseconds_text(quantile(theirs, 0.5)),
                        ratio_text(quantile(ours, 0.5) / quantile(theirs, 0.5)),
                        milliseconds_text(quantile(ours, 0.99)),
                        milliseconds_text(quantile(theirs, 0.99)),
                    )


def beside_others(sizes: Sequence[int], rounds: int) -> Iterator[tuple[str, ...]]:
    for size in sizes:
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            exposition = body(publisher(History(size).snapshot()), Format.TEXT)
            own, stock, gateway = (
                stack.enter_context(Scraper(stack.enter_context(server)))
                for server in (
                    benchmark_server("exporter", size),
                    benchmark_server("stock", size),
                    pushgateway(exposition, directory),
                )
            )
            for scraper in (own, stock, gateway):
                scraper.scrape()

            def several() -> float:
                own.scrape(reconnect=True)  # noqa: B023 - called in this round; the others take so long that it was closed
                return statistics.median(own.scrape() for _ in range(20))  # noqa: B023 - the same

            ours, librarys, gateways = interleave(rounds, several, stock.scrape, gateway.scrape)
            yield (
                str(size),
                milliseconds_text(statistics.median(ours)),
                milliseconds_text(statistics.median(librarys)),
                ratio_text(median_ratio(librarys, ours)),
                milliseconds_text(statistics.median(gateways)),
                ratio_text(median_ratio(gateways, ours)),
            )


def under_pressure(small: int, large: int, seconds: float) -> Iterator[tuple[str, ...]]:
    def row(what: str, size: int, scrapers: int, *options: str) -> tuple[str, ...]:
        with benchmark_server("exporter", size, *options) as address:
            taken = scraped_at_once(address, scrapers, seconds)
        return (
            what,
            str(size),
            str(scrapers),
            str(len(taken)),
            milliseconds_text(quantile(taken, 0.5)),
            milliseconds_text(quantile(taken, 0.99)),
        )

    yield row("", small, 10)
    yield row("", large, 1)
    yield row("the process renders everything without end", large, 1, "--busy=rendering")
    with simulated_server(large) as config:
        yield row("the process polls everything without end", large, 1, f"--busy={config}")


def scraped_at_once(address: str, scrapers: int, seconds: float) -> list[float]:
    """Return the durations of simultaneous scrapes over new connections, with pauses of the same length in between."""
    taken: list[float] = []
    with ExitStack() as stack, ThreadPoolExecutor(scrapers) as threads:
        all_scrapers = [stack.enter_context(Scraper(address)) for _ in range(scrapers)]
        scrape: Callable[[Scraper], float] = partial(Scraper.scrape, reconnect=True)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            together = list(threads.map(scrape, all_scrapers))
            taken += together
            time.sleep(max(together))
    return taken


def main(
    sizes: Sequence[int] = (100, 1000, 10_000, 100_000),
    compared: Sequence[int] = (1000, 10_000),
    pressed: tuple[int, int] = (100, 10_000),
    scrapes: int = 200,
    rounds: int = 5,
    seconds: float = 10.0,
) -> None:
    require_programs(**{"nginx": "nginx-light", "prometheus-pushgateway": "prometheus-pushgateway"})
    print_table(
        "One scraper, beside nginx with the same bytes on disk",
        (*COLUMNS, "p50", "p50 nginx", "ratio", "p99", "p99 nginx"),
        beside_nginx(sizes, scrapes),
    )
    print_table(
        "One scraper with gzip, beside the client library's own server and a Pushgateway",
        (
            *("sessions", "p50", "p50 start_http_server", "times as fast"),
            *("p50 Pushgateway", "times as fast"),
        ),
        beside_others(compared, rounds),
    )
    print_table(
        "Scrapes with gzip that come together, and while the process is busy",
        ("meanwhile", "sessions", "scrapers", "scrapes", "p50", "p99"),
        under_pressure(*pressed, seconds),
    )


if __name__ == "__main__":
    main()
