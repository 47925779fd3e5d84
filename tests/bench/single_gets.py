"""Sessions fetched one by one, compared with plain `requests` and `json` in as many threads.

The server is nginx in its own process and responds after 20 ms. Its own processor time shows that it could serve many
more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import requests
from requests.adapters import HTTPAdapter

import exporter.logs
from exporter.system.interpreter import raise_gc_threshold
from exporter.vb365.records.restore_session import RestoreSession
from support.benchmark_figures import print_table
from support.nginx_api import CannedApi, canned_api
from support.single_poller import running_client

SESSIONS = 4_000
WORKERS = 32
LATENCY_SECONDS = 0.02
ROUNDS = 5


class Rates:
    """Return sessions a second and the processor time of both sides per session, for each round."""

    def __init__(self, name: str, fetch_all: Callable[[], None], api: CannedApi) -> None:
        self.name = name
        self._fetch_all = fetch_all
        self._api = api
        self.a_second: list[float] = []
        self.client_seconds: list[float] = []
        self.server_seconds: list[float] = []

    def round(self) -> None:
        sessions = len(self._api.ids)
        begun = time.perf_counter()
        client, server = time.process_time(), self._api.processor_seconds()
        self._fetch_all()
        self.a_second.append(sessions / (time.perf_counter() - begun))
        self.client_seconds.append((time.process_time() - client) / sessions)
        self.server_seconds.append((self._api.processor_seconds() - server) / sessions)

    def row(self, reference: Rates) -> tuple[str, ...]:
        pairs = zip(self.client_seconds, reference.client_seconds, strict=True)
        return (
            self.name,
            f"{median(self.a_second):,.0f}",
            f"{max(self.a_second):,.0f}",
            f"{median(self.client_seconds) * 1e6:.0f} µs",
            f"{median(ours / theirs for ours, theirs in pairs):.2f}",
            f"{median(self.server_seconds) * 1e6:.0f} µs",
        )


def run(sessions: int) -> None:
    exporter.logs.configure(level="warn", log_format="logfmt")
    raise_gc_threshold()
    with (
        tempfile.TemporaryDirectory() as made,
        canned_api(sessions, Path(made), latency_seconds=LATENCY_SECONDS) as api,
        running_client(
            api.config(extra=f"max_concurrent_requests: {WORKERS}").servers[0]
        ) as client,
        requests.Session() as plain,
        ThreadPoolExecutor(WORKERS) as workers,
    ):
        plain.trust_env = False
        plain.verify = str(api.ca_file)
        plain.mount("https://", HTTPAdapter(pool_maxsize=WORKERS))

        def fetch_with_exporter() -> None:
            responses = list(workers.map(client.get_session, api.ids))
            if not all(isinstance(response, RestoreSession) for response in responses):
                raise RuntimeError("a response is not a session")

        def fetch_plainly(session_id: str) -> object:
            url = f"{api.url}/v8/RestoreSessions/{session_id}"
            return plain.get(url, headers={"Authorization": "Bearer canned"}, timeout=10).json()

        ours = Rates("the exporter's client", fetch_with_exporter, api)
        theirs = Rates(
            "`requests` and `json` alone",
            lambda: list(workers.map(fetch_plainly, api.ids)).clear(),
            api,
        )
        for _ in range(ROUNDS):
            for client_rates in (ours, theirs):
                client_rates.round()
        print_table(
            f"Single gets with {WORKERS} workers, the server responding after {LATENCY_SECONDS * 1000:.0f} ms",
            (
                *("client", "sessions a second", "best round"),
                *("processor time of a session", "ratio", "nginx's"),
            ),
            [client_rates.row(theirs) for client_rates in (ours, theirs)],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    run(parser.parse_args().sessions)


if __name__ == "__main__":
    main()
