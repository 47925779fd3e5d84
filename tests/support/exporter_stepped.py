"""An exporter that polls on a test's request and on its clocks; its requests and scrapes are real."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from exporter.polling.clock import Clock
from exporter.service.server_worker import ServerWorker
from support.exporter_harness import RunningExporter, running_exporter

Key = tuple[str, frozenset[tuple[str, str]]]
Samples = Mapping[Key, float]


class MovableClock(Clock):
    """The process's clocks, which tests advance; waits advance them, too, and return at once."""

    def __init__(self) -> None:
        self.ahead_seconds = 0.0
        super().__init__(wait=self.pass_time)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_seconds

    def timestamp(self) -> float:
        return super().timestamp() + self.ahead_seconds

    def pass_time(self, seconds: float) -> bool:
        """Advance the clocks; return False, like a wait without interruption."""
        self.ahead_seconds += seconds
        return False


class SteppedWorker(ServerWorker):
    """A worker that polls only when a test calls its poller."""

    def start(self) -> None:
        """Do nothing."""

    def poll(self) -> None:
        """Poll once."""
        self.poller.poll()


class Scrape:
    """The samples of a scrape."""

    def __init__(self, text: str) -> None:
        self.samples: Samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, server: str, prefix: str = "vb365_restore_") -> Samples:
        """Return the samples of a server whose names have this prefix."""
        return {
            (name, labels): value
            for (name, labels), value in self.samples.items()
            if name.startswith(prefix) and ("server", server) in labels
        }

    def by(self, label: str, name: str, server: str) -> Mapping[str, float]:
        """Return the samples of a name and server by the value of a label."""
        return {dict(labels)[label]: value for (_, labels), value in self.of(server, name).items()}

    def value(self, name: str, server: str) -> float | None:
        """Return the value of a sample with no label except the server, or None."""
        return self.samples.get((name, frozenset({("server", server)})))


class SteppedExporter:
    """An exporter under test that polls on request.

    Args:
        exporter: the exporter; its workers do not poll by themselves.
        clock: its clocks.
        workers: its workers.
    """

    def __init__(
        self, exporter: RunningExporter, clock: MovableClock, workers: Sequence[SteppedWorker]
    ) -> None:
        self.url = exporter.url
        self._exporter = exporter
        self._clock = clock
        self._workers = workers

    def step(self, seconds: float = 0.0) -> Scrape:
        """Advance the clocks, poll every server, and scrape."""
        self.pass_time(seconds)
        self.poll()
        return self.scrape()

    def pass_time(self, seconds: float) -> None:
        """Advance the clocks."""
        self._clock.pass_time(seconds)

    def poll(self) -> None:
        """Poll every server once."""
        for worker in self._workers:
            worker.poll()

    def stop(self) -> None:
        """Cancel the requests in progress and log out."""
        self._exporter.service.stop()

    def scrape(self) -> Scrape:
        """Scrape as Prometheus would."""
        return Scrape(self._exporter.text())


@contextmanager
def stepped_exporter(
    servers: str,
    clock: MovableClock,
    top: str = "poll_interval: 1s",
    worker_class: type[SteppedWorker] = SteppedWorker,
) -> Iterator[SteppedExporter]:
    """Run an exporter with this configuration, step by step."""
    workers: list[SteppedWorker] = []

    def make_worker(*arguments: Any, **keywords: Any) -> SteppedWorker:
        workers.append(worker_class(*arguments, **keywords))
        return workers[-1]

    with running_exporter(servers, top, clock=clock, make_worker=make_worker) as exporter:
        yield SteppedExporter(exporter, clock, workers)
