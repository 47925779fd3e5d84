"""A program that serves a sample history as the exporter or as the plain client library does.

    python -m support.benchmark_server exporter --sessions=10000 --address=127.0.0.1:9100 [--busy=rendering | --busy=config.yaml]
    python -m support.benchmark_server stock --sessions=10000 --address=127.0.0.1:9100

`stock` is the client library's own server. A busy exporter renders everything, or polls the servers of a configuration,
continuously in the same process. The program writes a line when it is ready, and ends when its standard input does.
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
from exporter.service.backend import ServiceBackend
from exporter.service.service import Service
from exporter.web.app import WebApp
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer
from support.expositions import LibraryFamilies
from support.processes import free_port
from support.sample_history import History

_CONFIG = "servers: [{name: hq, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}]"


@contextmanager
def benchmark_server(kind: str, sessions: int, *options: str) -> Iterator[str]:
    """Run this program as `exporter` or `stock`; yield its host:port."""
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
            raise RuntimeError(f"{kind}: not ready")
        try:
            yield address
        finally:
            process.stdin.close()


class _CachedFamilies(Collector):
    """Families collected once."""

    def __init__(self, families: Collector) -> None:
        self._families = list(families.collect())

    def collect(self) -> list[Metric]:
        return self._families


def _serve(address: str, history: History) -> None:
    # The service is not started: everything but its pollers works.
    service = Service(parse_config(_CONFIG, directory=Path.cwd()))
    service.publisher.publish(history.snapshot())
    app = WebApp(ServiceBackend(service))
    WebServer(ConnectionManager(app), bind_listeners([Address.parse(address)])).start()


def _serve_stock(address: str, history: History) -> None:
    registry = CollectorRegistry()
    registry.register(_CachedFamilies(LibraryFamilies([history.snapshot()])))
    host, _, port = address.rpartition(":")
    start_http_server(int(port), host, registry)


def _render(history: History, stop: threading.Event) -> None:
    """Render everything continuously."""
    while not stop.is_set():
        Publisher(
            CollectorRegistry(),
            info_labels=(),
            monotonic=time.monotonic,
            snapshots=[history.snapshot()],
        )


def _poll(config_file: Path, stop: threading.Event) -> None:
    """Fetch a server's whole history over a new connection and publish it, continuously."""
    config = load_config(config_file)
    while not stop.is_set():
        service = Service(config)
        service.poll_once(stop)
        service.stop()


@contextmanager
def _in_background(work: Callable[[threading.Event], object]) -> Iterator[None]:
    """Run `work` in a thread, and stop and join it at the end."""
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
    # Standard output carries only the ready line; nothing reads more of it.
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
    with _in_background(work):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
