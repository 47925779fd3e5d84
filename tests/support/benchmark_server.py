"""A program that serves a made-up history as the command would serve a polled one, or as others would.

    python -m support.benchmark_server exporter --sessions=10000 --address=127.0.0.1:9100 [--busy=rendering | --busy=config.yaml]
    python -m support.benchmark_server stock --sessions=10000 --address=127.0.0.1:9100

`stock` is what the client library serves by itself. A busy exporter renders everything, or polls the servers of a
configuration, again and again in the same process. The program writes a line when it answers, and ends with its standard input.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from exporter import logs
from exporter.config import load_config, parse_config
from exporter.metrics.exposition import Publisher
from exporter.service.service import Service
from exporter.service.web_view import ServiceBackend
from exporter.web.app import WebApp
from exporter.web.server import WebServer, bind_listeners
from support.expositions import LibraryFamilies
from support.processes import free_port
from support.sample_history import History

_CONFIG = "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]"


@contextmanager
def benchmark_server(kind: str, sessions: int, *options: str) -> Iterator[str]:
    """Run this program, as `exporter` or as `stock`; gives its host:port."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        *(sys.executable, "-m", "support.benchmark_server", kind),
        *(f"--sessions={sessions}", f"--address={address}", *options),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{kind}: did not get ready")
        try:
            yield address
        finally:
            process.stdin.close()


class _Kept(Collector):
    """Families that were made once."""

    def __init__(self, families: Collector) -> None:
        self._families = list(families.collect())

    def collect(self) -> list[Metric]:
        return self._families


def _serve(address: str, history: History) -> None:
    # The whole service but for its pollers: it is not started.
    service = Service(parse_config(_CONFIG, directory=Path.cwd()))
    service.publisher.publish(history.snapshot())
    app = WebApp(ServiceBackend(service))
    WebServer(app, bind_listeners([address]), error_response=app.error_response).start()


def _serve_stock(address: str, history: History) -> None:
    registry = CollectorRegistry()
    registry.register(_Kept(LibraryFamilies([history.snapshot()])))
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host, registry)


def _render(history: History, stop: threading.Event) -> None:
    """Render everything, again and again."""
    while not stop.is_set():
        Publisher(
            CollectorRegistry(),
            info_labels=(),
            monotonic=time.monotonic,
            snapshots=[history.snapshot()],
        )


def _poll(config_file: Path, stop: threading.Event) -> None:
    """Read a server's whole history by a new connection and publish it, again and again."""
    config = load_config(config_file)
    while not stop.is_set():
        service = Service(config)
        service.poll_once(stop)
        service.stop()


@contextmanager
def _meanwhile(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Do this in a thread until told to stop; it ends before the interpreter does."""
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


_SERVERS: Mapping[str, Callable[[str, History], None]] = {
    "exporter": _serve,
    "stock": _serve_stock,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("server", choices=_SERVERS)
    parser.add_argument("--sessions", type=int, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--busy")
    options = parser.parse_args()
    # Standard output is for the line that says it is ready; nobody reads more of it.
    logs.configure(level="error", log_format="logfmt")
    history = History(options.sessions)
    _SERVERS[options.server](options.address, history)
    work: Callable[[threading.Event], object]
    if options.busy == "rendering":
        work = partial(_render, history)
    elif options.busy:
        work = partial(_poll, Path(options.busy))
    else:
        work = threading.Event.wait
    with _meanwhile(work):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
