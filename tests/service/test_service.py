from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.config import Config, parse_config
from exporter.metrics.telemetry import Telemetry
from exporter.metrics.text_format import Format
from exporter.polling.clock import Clock
from exporter.polling.snapshot import Snapshot
from exporter.service.server_worker import ServerWorker
from exporter.service.service import Service
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.threads import ThreadLimitError
from support.expected_metrics import expected_samples, session_samples
from support.exporter_harness import server_yaml
from support.exporter_stepped import Scrape
from support.fake_clocks import SystemClocks
from support.thread_limit import no_more_threads
from support.waiting import wait_until


def configuration(poll_interval: str, name: str = "hq") -> Config:
    return parse_config(
        f"poll_interval: {poll_interval}\nservers:\n"
        f"  - {{name: {name}, url: 'https://127.0.0.1:1', auth: {{username: a, password: b}}}}",
        directory=Path.cwd(),
    )


def threads_named(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def servers_with_series(telemetry: Telemetry) -> set[str]:
    samples = chain.from_iterable(family.samples for family in telemetry.registry.collect())
    return {sample.labels["server"] for sample in samples if "server" in sample.labels}


def test_a_changed_server_is_polled_once_the_polls_of_its_previous_worker_have_ended() -> None:
    events: list[str] = []
    may_end = threading.Event()

    class SlowWorker(ServerWorker):
        def poll_until_stopped(self) -> None:
            events.append("begins")
            self.stopped.wait()
            may_end.wait()
            events.append("ends")

    service = Service(configuration("1s"), make_worker=SlowWorker)
    service.start()
    wait_until(lambda: events == ["begins"], "the first worker polls")

    service.apply(configuration("2s"))
    wait_until(lambda: threads_named("poll-hq") == 2, "the second worker has started")
    assert events == ["begins"]
    may_end.set()
    wait_until(lambda: len(events) >= 3, "the second worker polls")
    service.stop()

    assert events[:3] == ["begins", "ends", "begins"]


def test_a_stopped_worker_does_not_restore_the_metrics_of_a_removed_server() -> None:
    publishers: list[Callable[[Snapshot], None]] = []

    class IdleWorker(ServerWorker):
        def __init__(self, *args: Any, publish: Callable[..., None], **arguments: Any) -> None:
            super().__init__(*args, publish=publish, **arguments)
            publishers.append(partial(publish, self))

        def poll_until_stopped(self) -> None:
            """Poll nothing: the test publishes."""
            self.stopped.wait()

    service = Service(configuration("1s"), make_worker=IdleWorker)
    service.start()
    publishers[0](Snapshot(server="hq"))
    assert [snapshot.server for snapshot in service.publisher.snapshots()] == ["hq"]

    service.apply(configuration("1s", name="renamed"))
    publishers[0](Snapshot(server="hq"))

    assert service.publisher.snapshots() == ()
    service.stop()


def test_supervision_does_not_wait_for_a_publish_under_way() -> None:
    publishers: list[Callable[[Snapshot], None]] = []
    publishing, may_end = threading.Event(), threading.Event()

    class PublishingWorker(PollingWorker):
        def __init__(self, *args: Any, publish: Callable[..., None], **arguments: Any) -> None:
            super().__init__(*args, publish=publish, **arguments)
            publishers.append(partial(publish, self))

    class SlowSnapshot(Snapshot):
        """A snapshot that takes long to render."""

        def without_stale(self, now: float) -> Snapshot:
            publishing.set()
            may_end.wait()
            return super().without_stale(now)

    service = Service(configuration("1s"), make_worker=PublishingWorker)
    service.start()
    publish = threading.Thread(target=publishers[0], args=[SlowSnapshot(server="hq")], daemon=True)
    publish.start()
    assert publishing.wait(60)

    supervise = threading.Thread(target=service.supervise, daemon=True)
    supervise.start()
    wait_until(lambda: not supervise.is_alive(), "the end of the supervision")
    may_end.set()
    publish.join()
    service.stop()


def test_a_service_that_has_not_started_yet_is_not_ready() -> None:
    assert Service(configuration("1s")).unpolled_servers() == ("hq",)


def test_stopping_also_ends_the_threads_of_removed_servers() -> None:
    before = set(threading.enumerate())
    service = Service(configuration("1s"))
    service.start()
    service.apply(configuration("2s"))
    service.stop()

    # Name resolution cannot be cancelled, so its thread ends when the resolver returns.
    left = {one for one in set(threading.enumerate()) - before if one.name != "watchdog"}
    wait_until(lambda: not any(map(threading.Thread.is_alive, left)), "the end of the threads")


class PollingWorker(ServerWorker):
    """Polls nothing until it is stopped."""

    def poll_until_stopped(self) -> None:
        self.stopped.wait()


def test_a_service_that_cannot_have_a_thread_for_each_server_does_not_start() -> None:
    service = Service(configuration("1s"), make_worker=PollingWorker)

    with no_more_threads(), pytest.raises(ThreadLimitError, match="TasksMax="):
        service.start()

    assert threads_named("poll-hq") == 0


def test_a_configuration_with_more_servers_than_threads_is_not_activated() -> None:
    service = Service(configuration("1s"), make_worker=PollingWorker)
    service.start()
    active = service.config

    for refused in (configuration("2s"), configuration("1s", name="new")):
        with no_more_threads(), pytest.raises(ThreadLimitError):
            service.apply(refused)

    assert service.config is active
    assert servers_with_series(service.telemetry) == {"hq"}
    assert threads_named("poll-hq") == 1
    service.stop()
    assert threads_named("poll-hq") == 0


def test_servers_whose_threads_started_before_the_limit_end_with_the_refusal() -> None:
    workers: list[ServerWorker] = []

    class LastRefused(PollingWorker):
        def __init__(self, *args: Any, **arguments: Any) -> None:
            super().__init__(*args, **arguments)
            workers.append(self)

        def start(self) -> None:
            if self is workers[1]:
                with no_more_threads():
                    super().start()
            super().start()

    two = parse_config(
        "servers:\n"
        "  - {name: one, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}\n"
        "  - {name: two, url: 'https://127.0.0.1:1', auth: {username: a, password: b}}\n",
        directory=Path.cwd(),
    )

    with pytest.raises(ThreadLimitError):
        Service(two, make_worker=LastRefused).start()

    wait_until(lambda: not workers[0].is_running, "the end of the first worker")


def test_after_a_suspension_overdue_polls_start_at_once() -> None:
    class WaitingWorker(ServerWorker):
        def poll_until_stopped(self) -> None:
            """Poll nothing."""
            self.stopped.wait()

        def poll_soon(self) -> None:
            woken.append(self.server.name)

    woken: list[str] = []
    system = SystemClocks()
    clock = Clock(system.monotonic, system.time, awake=lambda: 0.0)
    service = Service(configuration("1m"), clock=clock, make_worker=WaitingWorker)
    service.start()

    service.supervise()
    system.passed_seconds = 0.5
    service.supervise()
    assert woken == []
    system.passed_seconds = 18_000.0
    with capture_logs() as logs:
        service.supervise()
        service.supervise()

    assert woken == ["hq"]
    assert [(entry["event"], entry["suspended_seconds"]) for entry in logs] == [
        ("resumed from suspension", 17_999.5)
    ]
    service.stop()


def test_a_single_polls_data_is_not_stale_however_long_this_and_other_polls_take(
    tmp_path: Path,
) -> None:
    system = SystemClocks(running=True)

    class SlowWorker(ServerWorker):
        """A worker that publishes an hour after the server's responses, as after a very long list."""

        def __init__(self, *args: Any, publish: Callable[..., None], **arguments: Any) -> None:
            def publish_late(*publication: Any) -> None:
                system.passed_seconds += 3600
                publish(*publication)

            super().__init__(*args, publish=publish_late, **arguments)

    with Simulator(World(sessions=5, activity=False)) as simulator:
        names = ("hq", "branch")
        servers = "".join(
            server_yaml(simulator, name, "sessions: {lookback: 365d}") for name in names
        )
        config = parse_config(f"servers:{servers}", directory=tmp_path)
        service = Service(config, clock=system.clock(), make_worker=SlowWorker)
        complete = service.poll_once(threading.Event())
        service.stop()

    scrape = Scrape(b"".join(service.publisher.exposition(Format.TEXT).chunks(gzip=False)).decode())
    assert complete
    for name in names:
        assert scrape.value("vb365_up", name) == 1
        shown = session_samples(scrape, name)
        assert shown == pytest.approx(expected_samples(simulator.world, name), rel=0, abs=1e-6)


def test_a_publisher_that_cannot_be_made_leaves_the_active_configuration_polling() -> None:
    class FailingTelemetry(Telemetry):
        """Telemetry whose registry cannot be read after the start."""

        fails = False

        def __getattribute__(self, name: str) -> Any:
            if name == "registry" and FailingTelemetry.fails:
                raise MemoryError
            return super().__getattribute__(name)

    service = Service(configuration("1s"), telemetry=FailingTelemetry())
    service.start()
    with_info = configuration("2s").model_copy(update={"info_labels": ("name",)})

    FailingTelemetry.fails = True
    with pytest.raises(MemoryError):
        service.apply(with_info)
    FailingTelemetry.fails = False

    assert service.config.poll_interval == 1.0
    wait_until(lambda: threads_named("poll-hq") == 1, "the new worker's end")
    assert service.stuck_servers() == ()
    service.stop()


def test_a_failure_after_the_activation_neither_stops_polls_nor_keeps_old_metrics() -> None:
    polling: list[str] = []

    class CountedWorker(PollingWorker):
        def poll_until_stopped(self) -> None:
            polling.append(self.server.name)
            super().poll_until_stopped()

    class FailingTelemetry(Telemetry):
        failures = 1

        def end(self, name: str) -> None:
            if self.failures:
                self.failures -= 1
                raise MemoryError
            super().end(name)

    telemetry = FailingTelemetry()
    service = Service(configuration("1s"), telemetry=telemetry, make_worker=CountedWorker)
    service.start()

    with capture_logs() as logs:
        service.apply(configuration("1s", name="renamed"))
    assert [entry["event"] for entry in logs] == [
        "unexpected error after the configuration was activated"
    ]
    assert servers_with_series(telemetry) == {"hq", "renamed"}
    service.supervise()

    assert servers_with_series(telemetry) == {"renamed"}
    wait_until(lambda: "renamed" in polling, "the new server's polls")
    service.stop()


@pytest.mark.parametrize(
    ("servers", "interval", "begins", "intervals"),
    [
        (1, 60, [0.0], [60.0]),
        (3, 60, [0.0, 0.1, 0.2], [60.0, 40.0, 20.0]),
        # The first polls of 300 servers take half of the interval, and are spread enough.
        (299, 60, [0.0, 0.1, 29.8], [60.0, 60 * 298 / 299, 60 * 1 / 299]),
        (300, 60, [0.0, 0.1, 29.9], [60.0, 60.0, 60.0]),
        # The last one begins before its interval is over.
        (400, 10, [0.0, 0.025, 9.975], [10.0, 10.0, 10.0]),
    ],
)
def test_first_polls_follow_each_other_and_later_ones_are_spread_over_the_interval(
    servers: int, interval: int, begins: list[float], intervals: list[float]
) -> None:
    begun: list[float] = []
    first_intervals: list[float] = []

    class RecordingWorker(ServerWorker):
        def __init__(self, *args: Any, first_interval_seconds: float, **arguments: Any) -> None:
            first_intervals.append(first_interval_seconds)
            super().__init__(*args, first_interval_seconds=first_interval_seconds, **arguments)

        def start(self) -> None:
            """Start no thread."""

        def begin(self, after_seconds: float = 0.0) -> None:
            begun.append(after_seconds)

    config = parse_config(
        f"poll_interval: {interval}s\nservers:\n"
        + "".join(
            f"  - {{name: s{number}, url: 'https://127.0.0.1:1', auth: {{username: a, password: b}}}}\n"
            for number in range(servers)
        ),
        directory=Path.cwd(),
    )

    Service(config, make_worker=RecordingWorker).start()

    shown = [0, 1, -1][:servers]
    assert [begun[number] for number in shown] == pytest.approx(begins)
    assert [first_intervals[number] for number in shown] == pytest.approx(intervals)
