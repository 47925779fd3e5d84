"""What the exporter counts of itself: requests, polls, rejected records, its build and its process."""

from __future__ import annotations

import platform
import threading
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import __version__
from exporter.metrics.catalogue import exporter_family
from exporter.text import label_value
from exporter.vb365.errors import Reason
from exporter.vb365.records.changes import ChangeKind
from exporter.vb365.records.restore_session import RejectionReason

__all__ = ["ServerTelemetry", "Telemetry"]

_REQUEST_BUCKETS_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_UNKNOWN_VALUE_FIELDS = ("type", "state", "result")
_UNKNOWN_EVENT_FIELDS = ("event_type", "event_status")


class Telemetry:
    """The exporter's own metrics, in a registry of their own.

    Args:
        with_process: also what the client library tells of any process: `process_*` and `python_*`.
    """

    def __init__(self, *, with_process: bool = True) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # the library does not type it
        self.registry = CollectorRegistry()
        self.polls = self._counter("vb365_polls_total")
        self.poll_failures = self._counter("vb365_poll_failures_total")
        self.overruns = self._counter("vb365_polls_overrun_total")
        self.requests = self._counter("vb365_api_requests_total")
        self.retries = self._counter("vb365_api_retries_total")
        self.rejected = self._counter("vb365_records_rejected_total")
        self.unknown_values = self._counter("vb365_unknown_values_total")
        self.extras_failures = self._counter("vb365_extras_failures_total")
        self.feed_connected = self._gauge("vb365_change_feed_connected")
        self.feed_last_event = self._gauge("vb365_change_feed_last_event_timestamp_seconds")
        self.feed_events = self._counter("vb365_change_feed_events_total")
        duration = exporter_family("vb365_api_request_duration_seconds")
        self.request_duration = Histogram(
            duration.name,
            duration.help,
            duration.labels,
            registry=self.registry,
            buckets=_REQUEST_BUCKETS_SECONDS,
        )
        build_info = self._gauge("vb365_exporter_build_info")
        build_info.labels(version=__version__, python_version=platform.python_version()).set(1)
        self._poll_interval = self._gauge("vb365_exporter_poll_interval_seconds")
        self._reload_successful = self._gauge("vb365_exporter_config_last_reload_successful")
        self._reload_success = self._gauge(
            "vb365_exporter_config_last_reload_success_timestamp_seconds"
        )
        self._audit_write_failures = self._counter("vb365_exporter_audit_write_failures_total")
        if with_process:
            ProcessCollector(registry=self.registry)
            PlatformCollector(registry=self.registry)
            GCCollector(registry=self.registry)

    def server(self, name: str, extras: Iterable[str] = ()) -> ServerTelemetry:
        """The part that belongs to one server, with every known combination of labels at 0.

        Args:
            name: the server's.
            extras: what is asked for beyond the sessions themselves.
        """
        telemetry = ServerTelemetry(self, label_value(name))
        self.polls.labels(telemetry.name)
        self.overruns.labels(telemetry.name)
        _touch(self.poll_failures, telemetry.name, Reason)
        _touch(self.rejected, telemetry.name, RejectionReason)
        _touch(self.unknown_values, telemetry.name, _UNKNOWN_VALUE_FIELDS)
        for extra in extras:
            for reason in Reason:
                self.extras_failures.labels(telemetry.name, extra, reason.value)
            if extra == "events":
                _touch(self.unknown_values, telemetry.name, _UNKNOWN_EVENT_FIELDS)
        return telemetry

    def configured(self, poll_interval_seconds: float, timestamp: float) -> None:
        """A configuration was loaded and is in force since `timestamp` (Unix seconds)."""
        self._poll_interval.set(poll_interval_seconds)
        self._reload_successful.set(1)
        self._reload_success.set(timestamp)

    def reload_failed(self) -> None:
        """A configuration could not be loaded; the old one stays in force."""
        self._reload_successful.set(0)

    def audit_write_failed(self) -> None:
        """A try to write to the audit log has failed."""
        self._audit_write_failures.inc()

    def _counter(self, name: str) -> Counter:
        row = exporter_family(name)
        return Counter(row.name, row.help, row.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        row = exporter_family(name)
        return Gauge(row.name, row.help, row.labels, registry=self.registry)


class ServerTelemetry:
    """Counts what happens with one server; the observer of its client and of its poller."""

    def __init__(self, telemetry: Telemetry, name: str) -> None:
        self.name = name
        self._telemetry = telemetry
        self._lock = threading.Lock()
        self._ended = False

    def end(self) -> None:
        """End the series of a server that is configured no more; what is still under way is not counted."""
        with self._lock:
            self._ended = True
            for metric in (
                self._telemetry.polls,
                self._telemetry.poll_failures,
                self._telemetry.overruns,
                self._telemetry.requests,
                self._telemetry.request_duration,
                self._telemetry.retries,
                self._telemetry.rejected,
                self._telemetry.unknown_values,
                self._telemetry.extras_failures,
                self._telemetry.feed_connected,
                self._telemetry.feed_last_event,
                self._telemetry.feed_events,
            ):
                metric.remove_by_labels({"server": self.name})

    def request(self, operation: str, code: str, seconds: float) -> None:
        """A request to the API has ended, with an HTTP status or with `error`."""
        with self._lock:
            if not self._ended:
                self._telemetry.requests.labels(self.name, operation, code).inc()
                self._telemetry.request_duration.labels(self.name, operation).observe(seconds)

    def retry(self, operation: str) -> None:
        """A request is about to be repeated."""
        self._count(self._telemetry.retries, operation)

    def polled(self, reason: Reason | None) -> None:
        """A poll has ended, well or with its first failure's reason."""
        self._count(self._telemetry.polls)
        if reason is not None:
            self._count(self._telemetry.poll_failures, reason.value)

    def overran(self) -> None:
        """A poll took longer than the poll interval."""
        self._count(self._telemetry.overruns)

    def rejected(self, reason: str) -> None:
        """A record was no restore session."""
        self._count(self._telemetry.rejected, reason)

    def unknown_value(self, field: str) -> None:
        """A record held an enum value that is not known."""
        self._count(self._telemetry.unknown_values, field)

    def extra_failed(self, extra: str, reason: Reason) -> None:
        """An extra of a session was not answered."""
        self._count(self._telemetry.extras_failures, extra, reason.value)

    def feed_connected(self, *, connected: bool | None) -> None:
        """Whether the change feed is followed; None when the server has none."""
        with self._lock:
            if self._ended:
                return
            if connected is None:
                self._telemetry.feed_connected.remove_by_labels({"server": self.name})
                return
            self._telemetry.feed_connected.labels(self.name).set(connected)
            _touch(self._telemetry.feed_events, self.name, ChangeKind)

    def feed_event(self, kind: str, timestamp: float) -> None:
        """The change feed told of a restore session, at this time (Unix seconds)."""
        self._count(self._telemetry.feed_events, kind)
        with self._lock:
            if not self._ended:
                self._telemetry.feed_last_event.labels(self.name).set(timestamp)

    def _count(self, counter: Counter, *labels: str) -> None:
        with self._lock:
            if not self._ended:
                counter.labels(self.name, *labels).inc()


def _touch(counter: Counter, server: str, values: Iterable[str]) -> None:
    """Make series exist with 0, so that `increase()` sees their first increment."""
    for value in values:
        counter.labels(server, value)
