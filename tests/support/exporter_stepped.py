"""An exporter that polls when a test says so, on clocks that the test sets ahead; its requests and scrapes are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from prometheus_client.parser import text_string_to_metric_families

from exporter.config import Config
from exporter.polling.clock import Clock
from exporter.service.service import Service
from support.exporter_harness import RunningExporter, running_exporter

Key = tuple[str, frozenset[tuple[str, str]]]
Samples = Mapping[Key, float]


class MovableClock(Clock):
    """The process's clocks, which a test sets ahead; waits set them ahead too, and pass at once."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        super().__init__(wait=self.pass_time)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds

    def timestamp(self) -> float:
        return super().timestamp() + self.ahead_seconds

    def pass_time(self, seconds: float) -> bool:
        """Let so many seconds pass; False, as the client's own wait says when nothing ends it early."""
        self.ahead_seconds += seconds
        return False


class SteppedService(Service):
    """A service without poller threads."""

    def __init__(self, config: Config, clock: MovableClock) -> None:
        super().__init__(config, clock=clock)
        self.movable_clock = clock

    def start(self) -> None:
        for server in self.config.servers:
            target = self._worker(server, None, initial_delay_seconds=server.poll_interval)
            self._workers[server.name] = target

    def poll(self) -> None:
        """Poll every server once."""
        for target in self._workers.values():
            target.poller.poll()

    def stop(self) -> None:
        for target in self._workers.values():
            target.stop()
            target.client.close()


class Scrape:
    """What one scrape got."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, server: str, prefix: str = "vb365_restore_") -> Samples:
        """The samples of one server whose names begin like this."""
        return {
            (name, labels): value
            for (name, labels), value in self.samples.items()
            if name.startswith(prefix) and ("server", server) in labels
        }

    def by(self, label: str, name: str, server: str) -> Mapping[str, float]:
        """The samples of one name and server by the value of a label."""
        return {dict(labels)[label]: value for (_, labels), value in self.of(server, name).items()}

    def value(self, name: str, server: str) -> float | None:
        """The value of a sample that has no label but the server; None when it is not there."""
        return self.samples.get((name, frozenset({("server", server)})))


class SteppedExporter:
    """An exporter under test that takes one step after the other."""

    def __init__(self, exporter: RunningExporter, service: SteppedService) -> None:
        self.url = exporter.url
        self._exporter = exporter
        self._service = service

    def step(self, seconds: float = 0.0) -> Scrape:
        """Let time pass, poll every server, and scrape."""
        self.pass_time(seconds)
        self.poll()
        return self.scrape()

    def pass_time(self, seconds: float) -> None:
        """Set the clocks ahead."""
        self._service.movable_clock.pass_time(seconds)

    def poll(self) -> None:
        """Poll every server once."""
        self._service.poll()

    def stop(self) -> None:
        """Abandon what is under way."""
        self._service.stop()

    def scrape(self) -> Scrape:
        """Scrape as a Prometheus would."""
        return Scrape(self._exporter.text())


@contextmanager
def stepped_exporter(
    servers: str, clock: MovableClock, top: str = "poll_interval: 1s"
) -> Iterator[SteppedExporter]:
    """Run an exporter with this configuration, step by step."""
    with running_exporter(
        servers, top, service_of=lambda config: SteppedService(config, clock)
    ) as exporter:
        assert isinstance(exporter.service, SteppedService)
        yield SteppedExporter(exporter, exporter.service)
