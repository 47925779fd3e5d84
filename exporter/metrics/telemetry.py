"""The exporter's own metrics: API requests, polls, rejected records, the change feed, build and process."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import __version__
from exporter.metrics.catalogue.exporter import EXPORTER_FAMILIES
from exporter.metrics.catalogue.family import Kind
from exporter.text import label_value
from exporter.vb365.errors import Reason
from exporter.vb365.records.changes import ChangeKind
from exporter.vb365.records.fields import RejectionReason

_REQUEST_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_UNKNOWN_VALUE_FIELDS = ("type", "state", "result", "creation_time")
_UNKNOWN_EVENT_FIELDS = ("event_type", "event_status")


class Telemetry:
    """The exporter's own metrics, in their own registry.

    Args:
        servers_only: whether to leave out every family without a server label, those of the process included.
    """

    def __init__(self, *, servers_only: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library does not type it
        self.registry = CollectorRegistry()
        self.counters: dict[str, Counter] = {}
        self.gauges: dict[str, Gauge] = {}
        self._per_server: list[Counter | Gauge | Histogram] = []
        self.of_feed: list[Counter | Gauge | Histogram] = []
        self._servers: dict[str, ServerTelemetry] = {}
        for family in EXPORTER_FAMILIES:
            of_server = "server" in family.labels
            options: dict[str, Any] = {
                "name": family.name,
                "documentation": family.help,
                "labelnames": family.labels,
                "unit": family.unit,
                "registry": self.registry if of_server or not servers_only else None,
            }
            metric: Counter | Gauge | Histogram
            match family.kind:
                case Kind.COUNTER:
                    metric = self.counters[family.name] = Counter(**options)
                case Kind.GAUGE:
                    metric = self.gauges[family.name] = Gauge(**options)
                case Kind.HISTOGRAM:
                    metric = Histogram(**options, buckets=_REQUEST_BUCKETS_SECONDS)
                    self.request_duration = metric
            if of_server:
                self._per_server.append(metric)
            if family.name.startswith("vb365_change_feed_"):
                self.of_feed.append(metric)
        build_info = self.gauges["vb365_exporter_build_info"]
        build_info.labels(version=__version__, python_version=platform.python_version()).set(1)
        if not servers_only:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def server(self, name: str, extras: Iterable[str] = ()) -> ServerTelemetry:
        """Return the metrics of a server until its `end`; counters whose label values are known start at 0."""
        telemetry = self._servers.setdefault(name, ServerTelemetry(self, label_value(name)))
        name = telemetry.name
        self.counters["vb365_polls_total"].labels(name)
        self.counters["vb365_polls_overrun_total"].labels(name)
        self.initialize("vb365_poll_failures_total", Reason, name)
        self.initialize("vb365_records_rejected_total", RejectionReason, name)
        self.initialize("vb365_unknown_values_total", _UNKNOWN_VALUE_FIELDS, name)
        for extra in extras:
            self.initialize("vb365_extras_failures_total", Reason, name, extra)
            if extra == "events":
                self.initialize("vb365_unknown_values_total", _UNKNOWN_EVENT_FIELDS, name)
        return telemetry

    def end(self, name: str) -> None:
        """Remove the series of a server that is no longer configured, and ignore its later events."""
        if name in self._servers:
            self._servers[name].end(self._per_server)
            del self._servers[name]

    def initialize(self, counter: str, values: Iterable[str], *labels: str) -> None:
        """Create the series with each of `values` as the last label at 0, so that `increase()` sees the first increment."""
        for value in values:
            self.counters[counter].labels(*labels, value)

    def configured(self, poll_interval_seconds: float, timestamp: float) -> None:
        """Record a configuration that took effect at `timestamp` (Unix seconds)."""
        self.gauges["vb365_exporter_poll_interval_seconds"].set(poll_interval_seconds)
        self.gauges["vb365_exporter_config_last_reload_successful"].set(1)
        self.gauges["vb365_exporter_config_last_reload_success_timestamp_seconds"].set(timestamp)

    def reload_failed(self) -> None:
        """Record a failed reload; the previous configuration stays in effect."""
        self.gauges["vb365_exporter_config_last_reload_successful"].set(0)

    def audit_write_failed(self) -> None:
        """Count a failed write to the audit log."""
        self.counters["vb365_exporter_audit_write_failures_total"].inc()


class ServerTelemetry:
    """The metrics of one server; observes its API client and its poller.

    Args:
        telemetry: the metrics of all servers.
        name: the server's name as a label value.
    """

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.name = name
        self._telemetry = telemetry
        self.lock = threading.RLock()
        self.ended = False

    def end(self, metrics: Iterable[Counter | Gauge | Histogram]) -> None:
        """Remove the series of the server from `metrics`, and ignore its later events."""
        with self.lock:
            self.ended = True
            for metric in metrics:
                metric.remove_by_labels({"server": self.name})

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Count a request to the API; `code` is its HTTP status code, or `error` if there was no response."""
        with self.lock:
            if not self.ended:
                requests = self._telemetry.counters["vb365_api_requests_total"]
                requests.labels(self.name, operation, code).inc()
                self._telemetry.request_duration.labels(self.name, operation).observe(seconds)

    def retry(self, operation: str) -> None:
        """Count a retry of a request."""
        self._count("vb365_api_retries_total", operation)

    def polled(self, reason: Reason | None) -> None:
        """Count a poll, and the reason for its first failure if it failed."""
        self._count("vb365_polls_total")
        if reason is not None:
            self._count("vb365_poll_failures_total", reason.value)

    def poll_unpublished(self) -> None:
        """Count a poll as failed that was counted as successful, because its result could not be published."""
        self._count("vb365_poll_failures_total", Reason.INTERNAL.value)

    def overran(self) -> None:
        """Count a poll that took longer than the poll interval."""
        self._count("vb365_polls_overrun_total")

    def rejected(self, reason: str, count: int = 1) -> None:
        """Count records that are not valid restore sessions or organizations, or too many."""
        self._count("vb365_records_rejected_total", reason, by=count)

    def unknown_value(self, field: str) -> None:
        """Count an unknown enum value in a record."""
        self._count("vb365_unknown_values_total", field)

    def extra_failed(self, extra: str, reason: Reason) -> None:
        """Count a failed request for an extra of a session."""
        self._count("vb365_extras_failures_total", extra, reason.value)

    def feed(self, stopped: threading.Event) -> FeedTelemetry:
        """Return the metrics of the server's change feed, for a worker that follows it until `stopped` is set."""
        return FeedTelemetry(self, self._telemetry, stopped)

    def feed_ended(self, *, is_continued: bool) -> None:
        """Remove the series of a change feed whose worker is stopped, except its counters if another worker continues it."""
        with self.lock:
            if not self.ended:
                for metric in self._telemetry.of_feed:
                    if not (is_continued and isinstance(metric, Counter)):
                        metric.remove_by_labels({"server": self.name})

    def _count(self, counter: str, *labels: str, by: int = 1) -> None:
        with self.lock:
            if not self.ended:
                self._telemetry.counters[counter].labels(self.name, *labels).inc(by)


class FeedTelemetry:
    """The metrics of a server's change feed as one worker follows it. What a stopped worker reports is ignored.

    Args:
        server: the metrics of the server.
        telemetry: the metrics of all servers.
        stopped: set once the worker is stopped.
    """

    def __init__(
        self, server: ServerTelemetry, telemetry: Telemetry, stopped: threading.Event
    ) -> None:
        self._server = server
        self._telemetry = telemetry
        self._stopped = stopped

    def feed_connected(self, *, connected: bool | None) -> None:
        """Record whether the change feed is connected; None removes the series of a server without one."""
        with self._server.lock:
            if self._is_ignored():
                return
            if connected is None:
                self._server.feed_ended(is_continued=True)
                return
            name = self._server.name
            self._telemetry.gauges["vb365_change_feed_connected"].labels(name).set(connected)
            self._telemetry.initialize("vb365_change_feed_events_total", ChangeKind, name)

    def feed_event(self, kind: str, timestamp: float) -> None:
        """Count a change feed event for a restore session, received at `timestamp` (Unix seconds)."""
        with self._server.lock:
            if not self._is_ignored():
                name = self._server.name
                self._telemetry.counters["vb365_change_feed_events_total"].labels(name, kind).inc()
                last_event = "vb365_change_feed_last_event_timestamp_seconds"
                self._telemetry.gauges[last_event].labels(name).set(timestamp)

    def _is_ignored(self) -> bool:
        return self._server.ended or self._stopped.is_set()
