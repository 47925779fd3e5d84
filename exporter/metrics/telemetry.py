"""The exporter's own metrics: API requests, polls, rejected records, the change feed, build and process."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import __version__
from exporter.metrics.catalogue import EXPORTER_FAMILIES
from exporter.text import label_value
from exporter.vb365.errors import Reason
from exporter.vb365.records.changes import ChangeKind
from exporter.vb365.records.restore_session import RejectionReason

__all__ = ["ServerTelemetry", "Telemetry"]

_FAMILIES = {family.name: family for family in EXPORTER_FAMILIES}
_REQUEST_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_UNKNOWN_VALUE_FIELDS = ("type", "state", "result", "creation_time")
_UNKNOWN_EVENT_FIELDS = ("event_type", "event_status")

_Metric = TypeVar("_Metric", Counter, Gauge, Histogram)


class Telemetry:
    """The exporter's own metrics, in their own registry.

    Args:
        servers_only: whether to leave out every family without a server label, those of the process included.
    """

    def __init__(self, *, servers_only: bool = False) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library does not type it
        self.registry = CollectorRegistry()
        self._servers_only = servers_only
        self._per_server: list[Counter | Gauge | Histogram] = []
        self._servers: dict[str, ServerTelemetry] = {}
        self.polls = self._declare(Counter, "vb365_polls_total")
        self.poll_failures = self._declare(Counter, "vb365_poll_failures_total")
        self.overruns = self._declare(Counter, "vb365_polls_overrun_total")
        self.requests = self._declare(Counter, "vb365_api_requests_total")
        self.retries = self._declare(Counter, "vb365_api_retries_total")
        self.rejected = self._declare(Counter, "vb365_records_rejected_total")
        self.unknown_values = self._declare(Counter, "vb365_unknown_values_total")
        self.extras_failures = self._declare(Counter, "vb365_extras_failures_total")
        self.feed_connected = self._declare(Gauge, "vb365_change_feed_connected")
        self.feed_last_event = self._declare(
            Gauge, "vb365_change_feed_last_event_timestamp_seconds"
        )
        self.feed_events = self._declare(Counter, "vb365_change_feed_events_total")
        self.request_duration = self._declare(
            Histogram, "vb365_api_request_duration_seconds", buckets=_REQUEST_BUCKETS_SECONDS
        )
        build_info = self._declare(Gauge, "vb365_exporter_build_info")
        build_info.labels(version=__version__, python_version=platform.python_version()).set(1)
        self._poll_interval = self._declare(Gauge, "vb365_exporter_poll_interval_seconds")
        self._reload_successful = self._declare(
            Gauge, "vb365_exporter_config_last_reload_successful"
        )
        self._reload_success = self._declare(
            Gauge, "vb365_exporter_config_last_reload_success_timestamp_seconds"
        )
        self._audit_write_failures = self._declare(
            Counter, "vb365_exporter_audit_write_failures_total"
        )
        if not servers_only:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def server(self, name: str, extras: Iterable[str] = ()) -> ServerTelemetry:
        """Return the metrics of one server until `end`; counters whose label values are known start at 0.

        Args:
            name: the server's name.
            extras: the extras that are requested for its sessions.
        """
        telemetry = self._servers.setdefault(name, ServerTelemetry(self, label_value(name)))
        self.polls.labels(telemetry.name)
        self.overruns.labels(telemetry.name)
        _initialize(self.poll_failures, Reason, telemetry.name)
        _initialize(self.rejected, RejectionReason, telemetry.name)
        _initialize(self.unknown_values, _UNKNOWN_VALUE_FIELDS, telemetry.name)
        for extra in extras:
            _initialize(self.extras_failures, Reason, telemetry.name, extra)
            if extra == "events":
                _initialize(self.unknown_values, _UNKNOWN_EVENT_FIELDS, telemetry.name)
        return telemetry

    def end(self, name: str) -> None:
        """Remove the series of a server that is no longer configured, and ignore its later events."""
        if name in self._servers:
            self._servers[name].end(self._per_server)
            del self._servers[name]

    def configured(self, poll_interval_seconds: float, timestamp: float) -> None:
        """Record a configuration that took effect at `timestamp` (Unix seconds)."""
        self._poll_interval.set(poll_interval_seconds)
        self._reload_successful.set(1)
        self._reload_success.set(timestamp)

    def reload_failed(self) -> None:
        """Record a failed reload; the previous configuration stays in effect."""
        self._reload_successful.set(0)

    def audit_write_failed(self) -> None:
        """Count a failed write to the audit log."""
        self._audit_write_failures.inc()

    def _declare(self, metric_class: type[_Metric], name: str, **options: Any) -> _Metric:
        family = _FAMILIES[name]
        of_server = "server" in family.labels
        registry = self.registry if of_server or not self._servers_only else None
        metric = metric_class(
            family.name,
            family.help,
            family.labels,
            unit=family.unit,
            registry=registry,
            **options,
        )
        if of_server:
            self._per_server.append(metric)
        return metric


class ServerTelemetry:
    """The metrics of one server; observes its API client, poller and change feed.

    Args:
        telemetry: the metrics of all servers.
        name: the server's name as a label value.
    """

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.name = name
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._ended = False

    def end(self, metrics: Iterable[Counter | Gauge | Histogram]) -> None:
        """Remove the series of the server from `metrics`, and ignore its later events."""
        with self._lock:
            self._ended = True
            for metric in metrics:
                metric.remove_by_labels({"server": self.name})

    def request(self, operation: str, code: str, seconds: float) -> None:
        """Count a request to the API; `code` is its HTTP status code, or `error` if there was no response."""
        with self._lock:
            if not self._ended:
                self._telemetry.requests.labels(self.name, operation, code).inc()
                self._telemetry.request_duration.labels(self.name, operation).observe(seconds)

    def retry(self, operation: str) -> None:
        """Count a retry of a request."""
        self._count(self._telemetry.retries, operation)

    def polled(self, reason: Reason | None) -> None:
        """Count a poll, and the reason for its first failure if it failed."""
        self._count(self._telemetry.polls)
        if reason is not None:
            self._count(self._telemetry.poll_failures, reason.value)

    def poll_unpublished(self) -> None:
        """Count a poll as failed that was counted as successful, because its result could not be published."""
        self._count(self._telemetry.poll_failures, Reason.INTERNAL.value)

    def overran(self) -> None:
        """Count a poll that took longer than the poll interval."""
        self._count(self._telemetry.overruns)

    def rejected(self, reason: str, count: int = 1) -> None:
        """Count records that are not valid restore sessions, or too many."""
        self._count(self._telemetry.rejected, reason, by=count)

    def unknown_value(self, field: str) -> None:
        """Count an unknown enum value in a record."""
        self._count(self._telemetry.unknown_values, field)

    def extra_failed(self, extra: str, reason: Reason) -> None:
        """Count a failed request for an extra of a session."""
        self._count(self._telemetry.extras_failures, extra, reason.value)

    def feed_connected(self, *, connected: bool | None) -> None:
        """Record whether the change feed is connected; None removes the series of a server without one."""
        with self._lock:
            if self._ended:
                return
            if connected is None:
                self._telemetry.feed_connected.remove_by_labels({"server": self.name})
                return
            self._telemetry.feed_connected.labels(self.name).set(connected)
            _initialize(self._telemetry.feed_events, ChangeKind, self.name)

    def feed_event(self, kind: str, timestamp: float) -> None:
        """Count a change feed event for a restore session, received at `timestamp` (Unix seconds)."""
        self._count(self._telemetry.feed_events, kind)
        with self._lock:
            if not self._ended:
                self._telemetry.feed_last_event.labels(self.name).set(timestamp)

    def _count(self, counter: Counter, *labels: str, by: int = 1) -> None:
        with self._lock:
            if not self._ended:
                counter.labels(self.name, *labels).inc(by)


def _initialize(counter: Counter, values: Iterable[str], *labels: str) -> None:
    """Create the series with each of `values` as the last label at 0, so that `increase()` sees the first increment."""
    for value in values:
        counter.labels(*labels, value)
