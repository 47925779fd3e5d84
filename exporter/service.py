"""The composition root: which server is polled by whom, what they publish, and in which order all of it starts and stops."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from exporter.config import Config, ServerConfig
from exporter.metrics.exposition import Publisher
from exporter.metrics.telemetry import Telemetry
from exporter.polling.clock import Clock
from exporter.polling.ledger import Ledger
from exporter.polling.poller import Poller
from exporter.polling.snapshot import Snapshot
from exporter.vb365.client import Client

__all__ = ["Service"]

log = structlog.get_logger()

_STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """One server that is polled: everything that works for it."""

    server: ServerConfig
    client: Client
    poller: Poller
    thread: threading.Thread
    stop: threading.Event


class Service:
    """Polls the configured servers and publishes what they answer.

    Args:
        config: what to poll.
        clock: the process's clocks.
    """

    def __init__(self, config: Config, *, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.config = config
        self.telemetry = Telemetry()
        self.publisher = Publisher(
            self.telemetry.registry, info_labels=config.info_labels, monotonic=self.clock.monotonic
        )
        self.telemetry.configured(config.poll_interval, self.clock.timestamp())
        self._lock = threading.Lock()
        self._targets: dict[str, _Target] = {}

    def start(self) -> None:
        """Start a poller for each server; their polls are spread over the interval, but for the first."""
        count = len(self.config.servers)
        for number, server in enumerate(self.config.servers):
            target = self._target(
                server, first_gap_seconds=server.poll_interval * (1 - number / count)
            )
            self._targets[server.name] = target
            if server.tls_config.insecure_skip_verify:
                log.warning(
                    "certificate is not verified, anyone in between can read the password",
                    server=server.name,
                )
            target.thread.start()

    def stop(self) -> None:
        """Abandon the polls, log out where the API has a logout; takes 2 s at most."""
        targets = tuple(self._targets.values())
        for target in targets:
            target.stop.set()
        closing = [
            threading.Thread(
                target=target.client.close, name=f"close-{target.server.name}", daemon=True
            )
            for target in targets
        ]
        for thread in closing:
            thread.start()
        until = self.clock.monotonic() + _STOP_SECONDS
        for thread in (*closing, *(target.thread for target in targets)):
            thread.join(max(0.0, until - self.clock.monotonic()))

    def unhealthy(self) -> tuple[str, ...]:
        """The servers whose pollers have stopped moving."""
        return tuple(name for name, target in self._targets.items() if not target.poller.healthy())

    def waiting(self) -> tuple[str, ...]:
        """The servers that were not polled yet."""
        return tuple(
            name for name, target in self._targets.items() if not target.poller.polled_once.is_set()
        )

    def _target(self, server: ServerConfig, *, first_gap_seconds: float) -> _Target:
        stop = threading.Event()
        telemetry = self.telemetry.server(server.name)
        client = Client(
            server,
            observer=telemetry,
            stop=stop,
            clock=self.clock.monotonic,
            wall_clock=self.clock.timestamp,
        )
        poller = Poller(
            server,
            api=client,
            ledger=Ledger(server.name, server.sessions, server.stale_after),
            clock=self.clock,
            observer=telemetry,
            publish=self._publish_unless(stop),
            stop=stop,
            first_gap_seconds=first_gap_seconds,
        )
        thread = threading.Thread(target=poller.run, name=f"poll-{server.name}", daemon=True)
        return _Target(server=server, client=client, poller=poller, thread=thread, stop=stop)

    def _publish_unless(self, stop: threading.Event) -> Callable[[Snapshot], None]:
        def publish(snapshot: Snapshot) -> None:
            # Under the lock: a poller that is being stopped must not bring back what was withdrawn.
            with self._lock:
                if not stop.is_set():
                    self.publisher.publish(snapshot)

        return publish
