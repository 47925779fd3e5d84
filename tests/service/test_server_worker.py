from __future__ import annotations

import threading
from pathlib import Path

import pytest

from exporter.config import ServerConfig, parse_config
from exporter.metrics.telemetry import Telemetry
from exporter.polling.clock import Clock
from exporter.service.server_worker import ServerWorker
from support.sample_sessions import session_id
from support.waiting import wait_until

ONE, TWO = session_id(1), session_id(2)


class SlowWorker(ServerWorker):
    """A worker whose last poll ends some time after it was stopped."""

    polling = 0
    may_end = threading.Event()

    def poll_until_stopped(self) -> None:
        SlowWorker.polling += 1
        self.stopped.wait()
        self.may_end.wait()
        SlowWorker.polling -= 1


class PollingWorker(ServerWorker):
    """A worker that records how many others poll when it begins."""

    others_polling: int | None = None

    def poll_until_stopped(self) -> None:
        self.others_polling = SlowWorker.polling


def server(timeout: str, port: int, sessions: str) -> ServerConfig:
    config = parse_config(
        f"servers:\n  - {{name: hq, url: 'https://127.0.0.1:{port}', auth: {{username: a, password: b}}, "
        f"timeout: {timeout}, sessions: {sessions}}}",
        directory=Path.cwd(),
    )
    return config.servers[0]


def worker(
    kind: type[ServerWorker],
    timeout: str,
    replaces: ServerWorker | None = None,
    *,
    port: int = 1,
    sessions: str = "{}",
) -> ServerWorker:
    return kind(
        server(timeout, port, sessions),
        clock=Clock(),
        telemetry=Telemetry().server("hq"),
        publish=lambda _worker, _snapshot: None,
        mark_down=lambda _worker, _reason: None,
        on_changed=lambda _sessions: None,
        replaces=replaces,
        first_interval_seconds=1.0,
    )


def test_a_worker_waits_for_the_polls_of_all_those_before_it_that_may_share_its_state() -> None:
    SlowWorker.may_end.clear()
    first = worker(SlowWorker, "1s")
    first.start()
    first.begin()
    wait_until(lambda: SlowWorker.polling == 1, "the first polls")
    second = worker(PollingWorker, "2s", first)
    second.start()
    first.cancel(second)
    # It never polls, and does not wait for the first.
    second.begin(after_seconds=60.0)
    third = worker(PollingWorker, "3s", second)
    third.start()
    second.cancel(third)
    third.begin()
    wait_until(lambda: not second.is_running, "the end of the second")

    SlowWorker.may_end.set()
    third.join_polls()

    assert isinstance(third, PollingWorker)
    assert third.others_polling == 0
    assert third.state is first.state
    third.stop()


def test_a_worker_of_another_url_does_not_wait_for_polls_that_hang() -> None:
    SlowWorker.may_end.clear()
    first = worker(SlowWorker, "1s")
    first.start()
    first.begin()
    wait_until(lambda: SlowWorker.polling == 1, "the first polls")
    second = worker(PollingWorker, "1s", first, port=2)
    second.start()
    first.stop()

    second.begin()

    assert isinstance(second, PollingWorker)
    wait_until(lambda: second.others_polling == 1, "the second polls, too")
    SlowWorker.may_end.set()
    first.join_polls()
    second.stop()


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        (f"{{ids: [{ONE}, {TWO}]}}", f"{{ids: [{TWO}, {ONE}]}}", True),
        ("{extras: [events, statistics]}", "{extras: [statistics, events]}", True),
        (f"{{ids: [{ONE}]}}", f"{{ids: [{ONE}, {TWO}]}}", False),
        ("{extras: [events]}", "{extras: [statistics]}", False),
    ],
)
def test_a_worker_continues_with_the_state_if_ids_and_extras_only_change_their_order(
    before: str, after: str, *, is_kept: bool
) -> None:
    old = worker(PollingWorker, "1s", sessions=before)

    new = worker(PollingWorker, "1s", old, sessions=after)

    assert (new.state is old.state) == is_kept
