"""The first poll of a server, beside what `requests` and `json` alone take for the same pages.

The server is nginx in a process of its own; the two sides alternate in one run. What is measured ends with the
snapshot: rendering it has benchmarks of its own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median

import requests

import exporter.logs
from exporter.config import ServerConfig
from exporter.garbage import look_rarely
from support.canned import CannedApi, canned_api
from support.figures import milliseconds, show
from support.polls import polled_server

SIZES = (100, 1_000, 10_000, 100_000)
CONFIGURED_IDS = 10_000
LATENCY_SECONDS = 0.02
ROUNDS = 7
LATER_POLLS = 20


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def requests_and_json(api: CannedApi) -> None:
    """Get and decode every page, and forget it."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(api.ca_file)
        for target in api.page_targets:
            session.get(f"{api.url}{target}", timeout=60).json()


def first_poll(server: ServerConfig, sessions: int) -> None:
    with polled_server(server) as polled:
        known = polled.poll().sessions_known
    if known != sessions:
        raise RuntimeError(f"{known} sessions are known, not {sessions}")


def list_row(sessions: int, directory: Path) -> tuple[str, ...]:
    """The first poll and those after it, of a history of one size."""
    with canned_api(sessions, directory) as api:
        server = api.config().servers[0]
        alone, ours = [], []
        alone_used, ours_used = [], []
        for _ in range(ROUNDS if sessions < 100_000 else 3):
            begun = time.process_time()
            alone.append(seconds_of(lambda: requests_and_json(api)))
            between = time.process_time()
            ours.append(seconds_of(lambda: first_poll(server, sessions)))
            alone_used.append(between - begun)
            ours_used.append(time.process_time() - between)
        with polled_server(server) as polled:
            polled.poll()
            later = [seconds_of(polled.poll) for _ in range(LATER_POLLS)]
    return (
        f"{sessions:,}",
        milliseconds(median(alone)),
        milliseconds(median(ours)),
        f"{median(ours) / median(alone):.2f}",
        f"{median(ours_used) / median(alone_used):.2f}",
        f"{median(ours) / sessions * 1e6:.1f} µs",
        milliseconds(median(later)),
    )


def configured_rows(ids: int, directory: Path) -> Iterator[tuple[str, ...]]:
    """As many configured ids, beside the walk over a list of the same sessions."""
    with canned_api(ids, directory, latency_seconds=LATENCY_SECONDS) as api:
        followed = api.config(f"ids: [{', '.join(api.ids)}], discover: false").servers[0]
        everything = api.config().servers[0]
        walks, configured = [], []
        for _ in range(ROUNDS):
            walks.append(seconds_of(lambda: first_poll(everything, ids)))
            configured.append(seconds_of(lambda: first_poll(followed, ids)))
        for name, taken in (("discovered", walks), ("configured by id", configured)):
            ratio = median(taken) / median(walks)
            yield (name, f"{ids:,}", milliseconds(median(taken)), f"{ratio:.2f}")


def run(sizes: Sequence[int], ids: int) -> None:
    exporter.logs.configure(level="warn", log_format="logfmt")
    look_rarely()
    with tempfile.TemporaryDirectory() as made:
        show(
            "First poll through the list, and the polls after it",
            (
                *("sessions", "`requests` and `json` alone", "first poll", "ratio"),
                *("ratio of processor time", "first poll per session", "later poll"),
            ),
            (list_row(sessions, Path(made) / str(sessions)) for sessions in sizes),
        )
        show(
            f"First poll of configured ids, the server answering after {LATENCY_SECONDS * 1000:.0f} ms",
            ("sessions are", "number", "first poll", "ratio"),
            configured_rows(ids, Path(made) / "configured"),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, action="append", help="repeatable")
    parser.add_argument("--ids", type=int, default=CONFIGURED_IDS)
    options = parser.parse_args()
    run(options.sessions or SIZES, options.ids)


if __name__ == "__main__":
    main()
