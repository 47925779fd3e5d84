"""The composition root: which server is polled by whom, what they publish, and in which order it starts, changes and stops."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from exporter.config import Config, Extra, ServerConfig
from exporter.metrics.exposition import Publisher
from exporter.metrics.telemetry import Telemetry
from exporter.polling.changefeed import LONG_POLL_SECONDS
from exporter.polling.clock import Clock
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.vb365.records.restore_session import RestoreSession

__all__ = ["ConfigDiff", "Service"]

_STOP_SECONDS = 2.0
# Windows notices Ctrl-C only between waits.
_WAKE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigDiff:
    """What a new configuration has changed: names of servers."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


class Service:
    """Polls the configured servers and publishes what they answer.

    `start`, `apply` and `stop` are for one thread at a time; the rest is for any.

    Args:
        config: what to poll.
        clock: the process's clocks.
        telemetry: the exporter's own metrics.
        long_poll_seconds: how long a server may hold a request for its change feed.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        long_poll_seconds: float = LONG_POLL_SECONDS,
    ) -> None:
        self.clock = clock or Clock()
        self.config = config
        self._long_poll_seconds = long_poll_seconds
        self.telemetry = telemetry or Telemetry()
        self.telemetry.configured(config.poll_interval, self.clock.timestamp())
        self.publisher = self._make_publisher(config)
        self.on_changed: Callable[[str, tuple[RestoreSession, ...]], None] = (
            lambda _server, _sessions: None
        )
        """Takes the sessions of a server that began or ended, after each poll; called by pollers' threads."""
        self._publishing = threading.Lock()
        self._workers: dict[str, ServerWorker] = {}
        self._closing: list[threading.Thread] = []
        self._was_ready = False

    def start(self) -> None:
        """Start a poller for each server; their polls are spread over the interval, but for the first."""
        self._activate(self.config)

    def apply(self, config: Config) -> ConfigDiff:
        """Put a configuration into force; it was loaded, so nothing in it can fail.

        A server whose part is the same goes on with all that is known of it, and with its token; its files are read
        again. One that is gone takes its series along. One whose part is another starts afresh: what is said of it
        stays until its first poll, unless it is to be found at another URL.
        """
        self._was_ready = not self.unpolled_servers()
        return self._activate(config)

    def keep_current(self) -> None:
        """Go on with the configuration in force, because another could not be loaded, and say so in the metrics."""
        self.telemetry.reload_failed()
        self.publisher.invalidate_own_metrics()

    def poll_once(self, stop: threading.Event) -> bool:
        """Poll all servers once, at the same time, instead of starting; `stop` abandons it.

        Returns:
            Whether every server gave everything it was asked for.
        """
        for server in self.config.servers:
            worker = self._worker(server, None, initial_delay_seconds=server.poll_interval)
            self._workers[server.name] = worker
            worker.start_one_poll()
        for worker in self._workers.values():
            while worker.is_running and not stop.is_set():
                worker.join(_WAKE_SECONDS)
        return not self.unpolled_servers() and all(
            snapshot.status.up for snapshot in self.publisher.snapshots()
        )

    def stop(self) -> None:
        """Abandon the polls, log out where the API has a logout; takes 2 s at most."""
        workers = tuple(self._workers.values())
        for worker in workers:
            worker.stop()
        self._close(workers)
        until = self.clock.monotonic() + _STOP_SECONDS
        for thread in self._closing:
            thread.join(max(0.0, until - self.clock.monotonic()))
        for worker in workers:
            worker.join(max(0.0, until - self.clock.monotonic()))

    def stuck_servers(self) -> tuple[str, ...]:
        """The servers whose pollers have stopped moving."""
        return tuple(
            name for name, worker in self._workers.items() if not worker.poller.heartbeat.healthy()
        )

    def unpolled_servers(self) -> tuple[str, ...]:
        """The servers that were not polled yet; none, once all were, also when a new configuration adds some."""
        if self._was_ready:
            return ()
        polled = {
            name for name, worker in self._workers.items() if worker.poller.polled_once.is_set()
        }
        # Who is served before `start` has come to the pollers is told of all servers, not of none.
        return tuple(server.name for server in self.config.servers if server.name not in polled)

    def _activate(self, config: Config) -> ConfigDiff:
        before = self._workers
        workers = self._workers_for(config, before)
        leaving = [worker for name, worker in before.items() if workers.get(name) is not worker]
        with self._publishing:
            for worker in leaving:
                worker.stop()
            if _series_schema(config) != _series_schema(self.config):
                self.publisher = self._make_publisher(config, self.publisher.snapshots())
            self.config = config
            self._workers = workers
            for old in leaving:
                new = workers.get(old.server.name)
                if new is None or new.server.url != old.server.url:
                    self.publisher.remove(old.server.name)
                if new is None:
                    old.telemetry.end()
        self.telemetry.configured(config.poll_interval, self.clock.timestamp())
        self.publisher.invalidate_own_metrics()
        self._close(leaving)
        for name, worker in workers.items():
            if before.get(name) is worker:
                worker.client.reread_files()
            else:
                worker.start()
        return ConfigDiff(
            added=tuple(name for name in workers if name not in before),
            removed=tuple(name for name in before if name not in workers),
            changed=tuple(old.server.name for old in leaving if old.server.name in workers),
        )

    def _make_publisher(self, config: Config, snapshots: Iterable[Snapshot] = ()) -> Publisher:
        return Publisher(
            self.telemetry.registry,
            info_labels=config.info_labels,
            extras=_extras(config),
            monotonic=self.clock.monotonic,
            snapshots=snapshots,
        )

    def _workers_for(
        self, config: Config, before: dict[str, ServerWorker]
    ) -> dict[str, ServerWorker]:
        workers: dict[str, ServerWorker] = {}
        count = len(config.servers)
        for number, server in enumerate(config.servers):
            old = before.get(server.name)
            if old is not None and old.server == server:
                workers[server.name] = old
            else:
                gap_seconds = server.poll_interval * (1 - number / count)
                workers[server.name] = self._worker(server, old, initial_delay_seconds=gap_seconds)
        return workers

    def _worker(
        self, server: ServerConfig, replaces: ServerWorker | None, *, initial_delay_seconds: float
    ) -> ServerWorker:
        stop = threading.Event()
        return ServerWorker(
            server,
            clock=self.clock,
            telemetry=self.telemetry.server(server.name, server.sessions.extras),
            publish=self._publish_unless(stop),
            record=lambda sessions: self.on_changed(server.name, sessions),
            stop=stop,
            replaces=replaces,
            initial_delay_seconds=initial_delay_seconds,
            long_poll_seconds=self._long_poll_seconds,
        )

    def _close(self, workers: Iterable[ServerWorker]) -> None:
        """Log out and close connections, without waiting for it."""
        self._closing = [thread for thread in self._closing if thread.is_alive()]
        for worker in workers:
            name = f"close-{worker.server.name}"
            thread = threading.Thread(target=worker.client.close, name=name, daemon=True)
            thread.start()
            self._closing.append(thread)

    def _publish_unless(self, stop: threading.Event) -> Callable[[Snapshot], None]:
        def publish(snapshot: Snapshot) -> None:
            # Under the lock: a poller that is being stopped must not bring back what was withdrawn.
            with self._publishing:
                if not stop.is_set():
                    self.publisher.publish(snapshot)

        return publish


def _extras(config: Config) -> frozenset[Extra]:
    """What any server is asked for beyond its sessions."""
    return frozenset(extra for server in config.servers for extra in server.sessions.extras)


def _series_schema(config: Config) -> tuple[tuple[str, ...], frozenset[Extra]]:
    """What decides which families of single sessions there are."""
    return (config.info_labels, _extras(config))
