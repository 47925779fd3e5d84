"""Builds and manages the workers of all servers and the publisher."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

import structlog

from exporter.audit import AuditLog
from exporter.config import Config, Extra, ServerConfig
from exporter.metrics.exposition import Publisher
from exporter.metrics.telemetry import Telemetry
from exporter.polling.clock import Clock
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.system.signals import WAKE_SECONDS
from exporter.vb365.records.restore_session import RestoreSession

log = structlog.get_logger()

_STOP_SECONDS = 2.0
_FIRST_POLL_SPACING_SECONDS = 0.1
# Less may be no suspension: both clocks are adjusted, and they are read one after the other.
_SUSPENSION_SECONDS = 1.0


class Service:
    """Polls the configured servers and publishes their sessions.

    `start`, `apply`, `poll_once` and `stop` must not run concurrently; everything else is thread-safe.

    Args:
        config: the configuration.
        clock: the process's clocks.
        telemetry: the exporter's own metrics.
        make_worker: creates the worker of a server, from the arguments of `ServerWorker`.

    Attributes:
        config: the active configuration.
        publisher: the newest metrics.
        on_changed: called by the polling threads with a server's name and its sessions found, started or finished.
        audit: the audit log to supervise, if there is one.
    """

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        telemetry: Telemetry | None = None,
        make_worker: Callable[..., ServerWorker] = ServerWorker,
    ) -> None:
        self.clock = clock or Clock()
        self.config = config
        self.telemetry = telemetry or Telemetry()
        self.telemetry.configured(config.poll_interval, self.clock.timestamp())
        self.publisher = self._make_publisher(config)
        self.on_changed: Callable[[str, tuple[RestoreSession, ...]], None] = lambda *_: None
        self.audit: AuditLog | None = None
        self._make_worker = make_worker
        self._publishing = threading.Lock()
        self._workers: dict[str, ServerWorker] = {}
        self._stopped_workers: list[ServerWorker] = []
        self._outdated: set[str] = set()  # servers whose metrics are to be removed
        self._was_ready = False
        self._suspended_seconds = 0.0

    def start(self) -> None:
        """Start the first polls, at least ten per second, then poll on schedule, with the polls spread over the interval.

        Raises:
            ThreadLimitError: the process cannot have a thread for each server.
        """
        self._activate(self.config)

    def apply(self, config: Config) -> dict[str, list[str]]:
        """Activate a valid configuration; return the names of the servers `added`, `removed` and `changed`.

        A server with unchanged configuration keeps its sessions and its token, and rereads its files. A removed server's
        metrics disappear. A changed server logs in again; it keeps its sessions if the configuration still shows the same
        ones, else it starts over. Its metrics stay until its next poll unless its URL changed.

        Raises:
            ThreadLimitError: the process cannot have a thread for each new server; the active configuration is kept.
        """
        self._was_ready = not self.unpolled_servers()
        return self._activate(config)

    def keep_current(self) -> None:
        """Keep the active configuration after a failed reload, and report the failure in the metrics."""
        self.telemetry.reload_failed()
        self.publisher.invalidate_own_metrics()

    def poll_once(self, stop: threading.Event) -> bool:
        """Poll all servers once and concurrently, instead of `start`; return whether every poll was complete.

        Setting `stop` ends the wait.

        Raises:
            ThreadLimitError: the process cannot have a thread for each server.
        """
        for server in self.config.servers:
            worker = self._worker(server, None, first_interval_seconds=server.poll_interval)
            self._workers[server.name] = worker
            worker.start_one_poll()
        for worker in self._workers.values():
            while worker.is_running and not stop.is_set():
                worker.join(WAKE_SECONDS)
        return not self.unpolled_servers() and all(
            snapshot.status.up for snapshot in self.publisher.snapshots()
        )

    def stop(self) -> None:
        """Cancel all polls and log out where the API has a logout; takes at most 2 s."""
        until = time.monotonic() + _STOP_SECONDS
        # All are cancelled before the first is closed: a thread starts late while hundreds of others are busy.
        for worker in self._workers.values():
            worker.cancel()
        for worker in self._workers.values():
            if time.monotonic() >= until:
                log.warning("stopped before every server was logged out")
                break
            worker.stop()
        for worker in (*self._stopped_workers, *self._workers.values()):
            worker.join(max(0.0, until - time.monotonic()))

    def stuck_servers(self) -> tuple[str, ...]:
        """Return the names of the servers whose poll loop is stuck or has ended."""
        return tuple(
            name
            for name, worker in self._workers.items()
            if worker.has_ended or not worker.poller.heartbeat.healthy()
        )

    def problems(self) -> tuple[str, ...]:
        """Return a line for each part of the service that is stuck or has ended."""
        problems = [f"{name}: its poll loop is stuck" for name in self.stuck_servers()]
        if self.audit is not None and not self.audit.running:
            problems.append("audit log: its thread has ended")
        return tuple(problems)

    def supervise(self) -> None:
        """Repair what has failed, and start overdue polls after a suspension. Call it about once a second.

        A suspension of the machine makes every wait longer by its duration.
        """
        before, self._suspended_seconds = self._suspended_seconds, self.clock.suspended()
        resumed_after = self._suspended_seconds - before
        if resumed_after > _SUSPENSION_SECONDS:
            log.info("resumed from suspension", suspended_seconds=round(resumed_after, 1))
        for worker in self._workers.values():
            worker.restart_if_ended()
            if resumed_after > _SUSPENSION_SECONDS:
                worker.poll_soon()
        if self._outdated:  # a publish under way may hold the lock for seconds
            self._remove_outdated()
        if self.audit is not None:
            self.audit.check_progress()

    def unpolled_servers(self) -> tuple[str, ...]:
        """Return the names of the servers not polled yet; once all have been polled, always empty."""
        if self._was_ready:
            return ()
        polled = {
            name for name, worker in self._workers.items() if worker.poller.polled_once.is_set()
        }
        # Requests may arrive before `start` has created the workers, so not all servers may have one.
        return tuple(server.name for server in self.config.servers if server.name not in polled)

    def _activate(self, config: Config) -> dict[str, list[str]]:
        before = self._workers
        entering: list[ServerWorker] = []
        try:
            workers = self._workers_for(config, before)
            leaving = [worker for name, worker in before.items() if workers.get(name) is not worker]
            entering += (one for name, one in workers.items() if before.get(name) is not one)
            for worker in entering:
                worker.start()
            with self._publishing:
                if _series_schema(config) != _series_schema(self.config):
                    self.publisher = self._make_publisher(config, self.publisher.snapshots())
                for old in leaving:
                    new = workers.get(old.server.name)
                    old.cancel(new)
                    if new is None or new.server.url != old.server.url:
                        self._outdated.add(old.server.name)
                self.config = config
                self._workers = workers
        except Exception:
            self._abandon(entering, config)
            raise
        for number, worker in enumerate(entering):
            worker.begin(number * _spacing_seconds(worker.server, len(entering)))
        try:
            self._complete_activation(leaving)
        except Exception:
            log.exception("unexpected error after the configuration was activated")
        return {
            "added": [name for name in workers if name not in before],
            "removed": [name for name in before if name not in workers],
            "changed": [old.server.name for old in leaving if old.server.name in workers],
        }

    def _complete_activation(self, leaving: list[ServerWorker]) -> None:
        """Take the steps of an activation that may fail; the new workers poll already."""
        self.telemetry.configured(self.config.poll_interval, self.clock.timestamp())
        self._stopped_workers = [one for one in self._stopped_workers if one.is_running] + leaving
        self._remove_outdated()
        for old in leaving:
            old.stop()
        for worker in self._workers.values():
            worker.client.reread_files()
        self.publisher.invalidate_own_metrics()

    def _remove_outdated(self) -> None:
        """Remove the metrics of servers that were removed, or whose URL changed and that were not polled since."""
        with self._publishing:
            for name in tuple(self._outdated):
                self.publisher.remove(name)
                if name not in self._workers:
                    self.telemetry.end(name)
                self._outdated.discard(name)

    def _abandon(self, entering: Iterable[ServerWorker], config: Config) -> None:
        """Keep the active configuration: end the workers that have not begun, and the metrics of new servers."""
        for worker in entering:
            worker.cancel(self._workers.get(worker.server.name))
        for server in config.servers:
            if server.name not in self._workers:
                self.telemetry.end(server.name)

    def _make_publisher(self, config: Config, snapshots: Iterable[Snapshot] = ()) -> Publisher:
        info_labels, extras = _series_schema(config)
        return Publisher(
            self.telemetry.registry,
            info_labels=info_labels,
            extras=extras,
            monotonic=self.clock.monotonic,
            snapshots=snapshots,
        )

    def _workers_for(
        self, config: Config, before: dict[str, ServerWorker]
    ) -> dict[str, ServerWorker]:
        """Return a worker for each server: the current one if the server's configuration is unchanged, else a new one."""
        workers: dict[str, ServerWorker] = {}
        for number, server in enumerate(config.servers):
            old = before.get(server.name)
            if old is not None and old.server == server:
                workers[server.name] = old
            else:
                interval = _first_interval_seconds(server, number, len(config.servers))
                workers[server.name] = self._worker(server, old, first_interval_seconds=interval)
        return workers

    def _worker(
        self, server: ServerConfig, replaces: ServerWorker | None, *, first_interval_seconds: float
    ) -> ServerWorker:
        return self._make_worker(
            server,
            clock=self.clock,
            telemetry=self.telemetry.server(server.name, server.sessions.extras),
            publish=self._publish,
            mark_down=self._mark_down,
            on_changed=lambda sessions: self.on_changed(server.name, sessions),
            replaces=replaces,
            first_interval_seconds=first_interval_seconds,
        )

    def _publish(self, worker: ServerWorker, snapshot: Snapshot) -> None:
        # Holding the lock: a stopping poller must not restore a removed server's metrics.
        with self._publishing:
            if not worker.stopped.is_set():
                self.publisher.publish(snapshot)
                self._outdated.discard(worker.server.name)

    def _mark_down(self, worker: ServerWorker, reason: str) -> None:
        with self._publishing:
            if not worker.stopped.is_set():
                self.publisher.mark_down(worker.server.name, reason)


def _series_schema(config: Config) -> tuple[tuple[str, ...], frozenset[Extra]]:
    """Return the settings that determine which families of single sessions exist: `info_labels`, and all extras."""
    extras = frozenset(extra for server in config.servers for extra in server.sessions.extras)
    return (config.info_labels, extras)


def _spacing_seconds(server: ServerConfig, servers: int) -> float:
    """Return the seconds between the first polls of two servers; the last server waits no longer than its interval."""
    return min(_FIRST_POLL_SPACING_SECONDS, server.poll_interval / servers)


def _first_interval_seconds(server: ServerConfig, number: int, servers: int) -> float:
    """Return the time from a server's first poll to its second, which spreads the polls over the poll interval."""
    if servers * _spacing_seconds(server, servers) >= server.poll_interval / 2:
        return server.poll_interval  # the first polls are spread already
    return server.poll_interval * (1 - number / servers)
