"""The first poll of a server, compared with plain `requests` and `json` for the same pages.

The server is nginx in a process of its own; both sides alternate in one run. The measurement ends with the snapshot;
rendering has its own benchmarks.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import requests

import exporter.logs
from exporter.config import ServerConfig
from exporter.system.interpreter import raise_gc_threshold
from support.benchmark_figures import milliseconds_text, print_table
from support.nginx_api import CannedApi, canned_api
from support.single_poller import polled_server

SIZES = (100, 1_000, 10_000, 100_000)
CONFIGURED_IDS = 10_000
LATENCY_SECONDS = 0.02
ROUNDS = 7
LATER_POLLS = 20


@dataclass(frozen=True)
class Taken:
    """Wall-clock and processor seconds of this process."""

    seconds: float
    processor_seconds: float

    @classmethod
    def so_far(cls) -> Taken:
        return cls(time.perf_counter(), time.process_time())

    def until_now(self) -> Taken:
        now = Taken.so_far()
        return Taken(now.seconds - self.seconds, now.processor_seconds - self.processor_seconds)


def seconds_of(work: Callable[[], object]) -> float:
    begun = Taken.so_far()
    work()
    return begun.until_now().seconds


def requests_and_json(api: CannedApi) -> Taken:
    """Measure fetching and decoding every page."""
    begun = Taken.so_far()
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(api.ca_file)
        for target in api.page_targets:
            session.get(f"{api.url}{target}", timeout=60).json()
    return begun.until_now()


def first_poll(server: ServerConfig, sessions: int) -> Taken:
    """Measure a first poll up to its snapshot."""
    begun = Taken.so_far()
    with polled_server(server) as polled:
        known = polled.poll().sessions_known
        taken = begun.until_now()
    if known != sessions:
        raise RuntimeError(f"{known} sessions are known, not {sessions}")
    return taken


def list_row(sessions: int, directory: Path) -> tuple[str, ...]:
    """Return the figures of the first poll and later ones for a history of this size."""
    with canned_api(sessions, directory) as api:
        server = api.config().servers[0]
        alone, ours = [], []
        for _ in range(ROUNDS if sessions < 100_000 else 3):
            alone.append(requests_and_json(api))
            ours.append(first_poll(server, sessions))
        with polled_server(server) as polled:
            polled.poll()
            later = [seconds_of(polled.poll) for _ in range(LATER_POLLS)]
    alone_seconds = median(one.seconds for one in alone)
    our_seconds = median(one.seconds for one in ours)
    processor = [median(one.processor_seconds for one in side) for side in (ours, alone)]
    return (
        f"{sessions:,}",
        milliseconds_text(alone_seconds),
        milliseconds_text(our_seconds),
        f"{our_seconds / alone_seconds:.2f}",
        f"{processor[0] / processor[1]:.2f}",
        f"{our_seconds / sessions * 1e6:.1f} µs",
        milliseconds_text(median(later)),
    )


def configured_rows(ids: int, directory: Path) -> Iterator[tuple[str, ...]]:
    """Yield the figures of configured ids, compared with the full list of the same sessions."""
    with canned_api(ids, directory, latency_seconds=LATENCY_SECONDS) as api:
        followed = api.config(f"ids: [{', '.join(api.ids)}], discover: false").servers[0]
        everything = api.config().servers[0]
        walks, configured = [], []
        for _ in range(ROUNDS):
            walks.append(first_poll(everything, ids).seconds)
            configured.append(first_poll(followed, ids).seconds)
        for name, taken in (("discovered", walks), ("configured by id", configured)):
            ratio = median(taken) / median(walks)
            yield (name, f"{ids:,}", milliseconds_text(median(taken)), f"{ratio:.2f}")


def run(sizes: Sequence[int], ids: int) -> None:
    exporter.logs.configure(level="warn", log_format="logfmt")
    raise_gc_threshold()
    with tempfile.TemporaryDirectory() as made:
        print_table(
            "First poll through the list, and the polls after it",
            (
                *("sessions", "`requests` and `json` alone", "first poll", "ratio"),
                *("ratio of processor time", "first poll per session", "later poll"),
            ),
            (list_row(sessions, Path(made) / str(sessions)) for sessions in sizes),
        )
        print_table(
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
