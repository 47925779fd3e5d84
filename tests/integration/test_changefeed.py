"""The change feed of VB365 8 over real HTTPS: changes between polls, and failures of the feed."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.config import Config, parse_config
from exporter.service.server_worker import ServerWorker
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.exporter_harness import RunningExporter, running_exporter, server_yaml
from support.thread_limit import no_more_threads
from support.waiting import wait_until

SELDOM = "poll_interval: 5m"
OFTEN = "poll_interval: 1s"
CONNECTED = "vb365_change_feed_connected"
POLLS = "vb365_polls_total"
ORGANIZATION = "contoso.example"


@pytest.fixture
def world() -> World:
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    world.add_session(organization=ORGANIZATION, type="Vex")
    return world


# Its long polls end after a second, so that the next one meets what is wrong by then.
impatient = partial(ServerWorker, long_poll_seconds=1.0)


@contextmanager
def followed(
    simulator: Simulator,
    top: str = SELDOM,
    extra: str = "",
    make_worker: Callable[..., ServerWorker] = ServerWorker,
) -> Iterator[RunningExporter]:
    """Run an exporter that follows a simulator's feed; yield after the poll that the start of the feed causes."""
    servers = server_yaml(simulator, extra=extra)
    with running_exporter(servers, top, make_worker=make_worker) as exporter:
        exporter.wait_for(1, CONNECTED, server="hq")
        wait_until(lambda: (exporter.value(POLLS) or 0) >= 2, "the second poll")
        yield exporter


def configuration(servers: str, top: str) -> Config:
    return parse_config(f"{top}\nservers:{servers}", directory=Path.cwd())


def add(world: World) -> str:
    """A session that is opened now."""
    return world.add_session(organization=ORGANIZATION, type="Vex")


def started(exporter: RunningExporter) -> float:
    return sum(value for _, value in exporter.samples("vb365_restore_sessions_started_total"))


def finished(exporter: RunningExporter) -> float:
    return sum(value for _, value in exporter.samples("vb365_restore_sessions_finished_total"))


def updates(exporter: RunningExporter) -> float | None:
    return exporter.value("vb365_change_feed_events_total", server="hq", event="update")


def wait_until_runs(exporter: RunningExporter, session_id: str) -> None:
    exporter.wait_for(1, "vb365_restore_session_state", session_id=session_id, state="Working")


def wait_until_failed(exporter: RunningExporter, session_id: str) -> None:
    exporter.wait_for(1, "vb365_restore_session_result", session_id=session_id, result="Failed")


def test_a_session_that_starts_and_one_that_fails_are_shown_long_before_the_next_poll(
    world: World,
) -> None:
    with Simulator(world) as simulator, followed(simulator) as exporter:
        new = add(world)
        wait_until_runs(exporter, new)
        world.finish(new, "Failed")
        wait_until_failed(exporter, new)

        assert exporter.value(POLLS) == 2
        assert (started(exporter), finished(exporter)) == (1, 1)
        assert updates(exporter) == 2
        assert (exporter.value("vb365_change_feed_last_event_timestamp_seconds") or 0) > 0
        assert simulator.requests["GET", "get"] == 2


def test_events_of_unknown_types_and_those_without_an_id_do_not_hide_the_others(
    world: World,
) -> None:
    with Simulator(world) as simulator:
        simulator.faults.set("feed_unknown_events")
        with followed(simulator) as exporter:
            new = add(world)
            wait_until_runs(exporter, new)

            assert (exporter.value(POLLS), updates(exporter)) == (2, 1)
            assert exporter.value(CONNECTED, server="hq") == 1


def test_a_change_requests_only_the_changed_session(world: World) -> None:
    others = [add(world) for _ in range(20)]
    with Simulator(world) as simulator, followed(simulator) as exporter:
        sent = simulator.requests["GET", "get"]
        lists = simulator.requests["GET", "list"]
        world.finish(others[7], "Failed")
        wait_until_failed(exporter, others[7])

        assert simulator.requests["GET", "get"] == sent + 1
        assert simulator.requests["GET", "list"] == lists


def test_a_deleted_session_ends_with_a_poll_that_confirms_it(world: World) -> None:
    running, stopped = add(world), add(world)
    world.finish(stopped)
    with Simulator(world) as simulator, followed(simulator) as exporter:
        for session_id in (running, stopped):
            assert exporter.samples("vb365_restore_session_state", session_id=session_id)
            world.remove(session_id)
            wait_until(
                lambda gone=session_id: (
                    not exporter.samples(  # type: ignore[misc]  # mypy cannot infer a lambda with a default
                        "vb365_restore_session_state", session_id=gone
                    )
                ),
                "its series end",
            )

        assert exporter.value("vb365_change_feed_events_total", event="delete") == 2
        assert exporter.value(POLLS) == 4
        assert exporter.value("vb365_up") == 1
        assert (started(exporter), finished(exporter)) == (0, 0)


def test_an_outdated_token_causes_one_poll_and_changes_in_between_count_once(
    world: World,
) -> None:
    with Simulator(world) as simulator, followed(simulator) as exporter:
        simulator.faults.set("change_token_outdated", first=1)
        before = add(world)  # makes the feed send a request, which is refused
        wait_until(lambda: simulator.faults.hits["change_token_outdated"] == 1, "a refusal")
        meanwhile = add(world)
        wait_until_runs(exporter, before)
        wait_until_runs(exporter, meanwhile)
        wait_until(lambda: exporter.value(POLLS) == 3, "the poll that looks for what was missed")
        exporter.wait_for(1, CONNECTED)
        world.finish(meanwhile, "Failed")
        wait_until_failed(exporter, meanwhile)

        assert exporter.value(POLLS) == 3
        assert (started(exporter), finished(exporter)) == (2, 1)


def test_a_finished_session_that_is_deleted_while_the_token_gets_outdated_ends_with_that_poll(
    world: World,
) -> None:
    gone, stays = add(world), add(world)
    world.finish(gone)
    world.finish(stays)
    with Simulator(world) as simulator, followed(simulator) as exporter:
        simulator.faults.set("status_503", route="change_feed")
        add(world)  # makes the feed send a request, which is refused
        exporter.wait_for(0, CONNECTED)
        world.remove(gone)
        simulator.faults.set("change_token_outdated", first=1)
        simulator.faults.clear("status_503")

        wait_until(
            lambda: not exporter.samples("vb365_restore_session_state", session_id=gone),
            "its series end",
        )
        assert exporter.samples("vb365_restore_session_state", session_id=stays)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reported"),
    [
        ("status_503", 1),
        ("silence", 1),
        ("reset_before_body", 1),
        ("html", 0),  # the feed restarts after an unusable response
    ],
)
def test_polls_continue_while_the_feed_fails_and_the_server_is_up(
    world: World, fault: str, reported: int
) -> None:
    with (
        Simulator(world) as simulator,
        followed(simulator, OFTEN, "timeout: 5s", impatient) as exporter,
    ):
        simulator.faults.set(fault, route="change_feed")
        exporter.wait_for(0, CONNECTED)
        new = add(world)
        wait_until_runs(exporter, new)
        exporter.wait_for_poll()

        assert exporter.value("vb365_up") == 1
        assert exporter.value(CONNECTED) == 0
        assert not any(value for _, value in exporter.samples("vb365_poll_failures_total"))
        simulator.faults.clear()
        exporter.wait_for(1, CONNECTED)
        wait_until(lambda: updates(exporter) == reported, "the feed reports a known change")
        assert started(exporter) == 1


def test_changes_during_a_failure_of_the_feed_are_received_later_and_counted_once(
    world: World,
) -> None:
    with Simulator(world) as simulator, followed(simulator, make_worker=impatient) as exporter:
        simulator.faults.set("status_503", route="change_feed")
        exporter.wait_for(0, CONNECTED)
        ended, open_still = add(world), add(world)
        world.finish(ended, "Failed")
        simulator.faults.clear()
        exporter.wait_for(1, CONNECTED)
        wait_until_failed(exporter, ended)
        wait_until_runs(exporter, open_still)

        assert exporter.value(POLLS) == 2
        assert exporter.value("vb365_up") == 1
        assert (started(exporter), finished(exporter)) == (2, 1)


def test_a_feed_with_refused_connections_continues_from_its_token(world: World) -> None:
    with Simulator(world) as simulator, followed(simulator) as exporter:
        simulator.faults.set("connection_refused")
        exporter.wait_for(0, CONNECTED)
        new = add(world)
        simulator.faults.clear()
        exporter.wait_for(1, CONNECTED)
        wait_until_runs(exporter, new)

        assert (exporter.value(POLLS), started(exporter)) == (2, 1)


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_a_version_without_a_feed_has_no_feed_series(world: World, version: str) -> None:
    with (
        Simulator(world, api_versions=(version,)) as simulator,
        running_exporter(server_yaml(simulator), OFTEN) as exporter,
    ):
        exporter.wait_for_poll()

        assert "vb365_change_feed_connected{" not in exporter.text()
        assert "vb365_change_feed_events_total{" not in exporter.text()
        assert exporter.value("vb365_up") == 1
        assert simulator.requests["GET", "change_feed"] == 0


def test_a_server_whose_feed_is_not_found_is_polled_and_has_no_feed_series(
    world: World,
) -> None:
    with Simulator(world) as simulator:
        simulator.faults.set("api_missing", route="change_feed")
        with running_exporter(server_yaml(simulator), OFTEN) as exporter:
            wait_until(lambda: simulator.requests["GET", "change_feed"] == 1, "the feed's question")
            exporter.wait_for_poll()
            new = add(world)
            wait_until_runs(exporter, new)

            assert "vb365_change_feed_connected{" not in exporter.text()
            assert exporter.value("vb365_up") == 1
            assert simulator.requests["GET", "change_feed"] == 1


def test_a_server_with_the_feed_disabled_gets_no_feed_requests(world: World) -> None:
    with (
        Simulator(world) as simulator,
        running_exporter(server_yaml(simulator, change_feed="never"), OFTEN) as exporter,
    ):
        exporter.wait_for_poll()

        assert "vb365_change_feed_connected{" not in exporter.text()
        assert simulator.requests["GET", "change_feed"] == 0


@pytest.mark.parametrize("connected", [1, 0])
@pytest.mark.parametrize("change", ["change_feed", "api_version", "url"])
def test_a_reload_that_switches_the_feed_off_ends_its_series(
    world: World, change: str, connected: int
) -> None:
    with (
        Simulator(world) as simulator,
        Simulator(world, api_versions=("v7",)) as other,
        followed(simulator, OFTEN, make_worker=impatient) as exporter,
    ):
        wait_until_runs(exporter, add(world))
        if not connected:
            simulator.faults.set("forbidden", route="change_feed")
        exporter.wait_for(connected, CONNECTED)
        servers = {
            "change_feed": server_yaml(simulator, change_feed="never"),
            "api_version": server_yaml(simulator, extra="api_version: v7"),
            "url": server_yaml(other),
        }[change]

        exporter.service.apply(configuration(servers, OFTEN))

        exporter.wait_for_poll()
        assert exporter.value("vb365_up") == 1
        assert "vb365_change_feed_" not in re.sub("^#.*$", "", exporter.text(), flags=re.MULTILINE)


def test_a_feed_is_not_connected_after_a_reload_while_its_server_is_down(world: World) -> None:
    with Simulator(world) as simulator, followed(simulator, OFTEN) as exporter:
        wait_until_runs(exporter, add(world))
        simulator.faults.set("status_503")
        servers = server_yaml(simulator, extra="timeout: 9s")

        exporter.service.apply(configuration(servers, OFTEN))

        exporter.wait_for(0, "vb365_up")
        wait_until(lambda: exporter.samples(CONNECTED) == [], "the end of its series")
        simulator.faults.clear()
        exporter.wait_for(1, CONNECTED)
        assert updates(exporter) == 1


def test_the_feed_waits_beside_the_only_request_that_may_be_under_way(world: World) -> None:
    with (
        Simulator(world) as simulator,
        followed(simulator, OFTEN, "max_concurrent_requests: 1") as exporter,
    ):
        new = add(world)
        wait_until_runs(exporter, new)
        exporter.wait_for_poll()
        world.finish(new, "Failed")
        wait_until_failed(exporter, new)

        assert exporter.value(CONNECTED) == 1
        assert exporter.value("vb365_up") == 1
        assert (started(exporter), finished(exporter)) == (1, 1)


def test_a_stop_ends_the_feed_while_it_waits(world: World) -> None:
    with Simulator(world) as simulator, followed(simulator) as exporter:
        sent = simulator.requests["GET", "change_feed"]
        add(world)
        wait_until(lambda: simulator.requests["GET", "change_feed"] > sent, "a new request")
        exporter.service.stop()

        names = {thread.name for thread in threading.enumerate()}
        assert not {"feed-hq", "poll-hq"} & names


def threads_of_the_server() -> list[str]:
    return sorted(name for thread in threading.enumerate() if (name := thread.name).endswith("-hq"))


def test_a_server_without_a_feed_costs_one_thread_and_one_with_a_feed_two(world: World) -> None:
    with (
        Simulator(world, api_versions=("v7",)) as simulator,
        running_exporter(server_yaml(simulator), OFTEN) as exporter,
    ):
        exporter.wait_for_poll()
        without = threads_of_the_server()
    with Simulator(world) as simulator, followed(simulator):
        wanted = ["feed-hq", "poll-hq"]
        wait_until(lambda: threads_of_the_server() == wanted, "the end of other threads")

    assert without == ["poll-hq"]


class FeedRefusedOnce(ServerWorker):
    """Cannot have a thread for the feed after its first poll."""

    def poll_until_stopped(self) -> None:
        self.poller.poll()
        with no_more_threads():
            self.start_feed_if_available()
            self.start_feed_if_available()
        super().poll_until_stopped()


def test_a_feed_without_a_thread_is_logged_once_and_followed_after_a_later_poll(
    world: World,
) -> None:
    with (
        capture_logs() as logs,
        Simulator(world) as simulator,
        followed(simulator, make_worker=FeedRefusedOnce) as exporter,
    ):
        new = add(world)
        wait_until_runs(exporter, new)

    refused = [one for one in logs if one["event"].startswith("change feed unavailable")]
    assert [(one["server"], one["error"][:26]) for one in refused] == [
        ("hq", "cannot start thread feed-h")
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "value"),
    [
        ("feed_unknown_sessions", 60),
        ("feed_unknown_sessions", 4900),
        ("feed_repeats_deletes", 10),
        ("silence", None),
        ("throttled_seconds", 900),
    ],
)
def test_a_feed_that_floods_or_hangs_neither_delays_polls_nor_ends_sessions(
    world: World, fault: str, value: float | None
) -> None:
    sessions = [add(world) for _ in range(10)]
    with Simulator(world) as simulator:
        simulator.faults.set(fault, route="change_feed", value=value)
        # Enough for a poll of a slow machine: none may overrun.
        with running_exporter(server_yaml(simulator), "poll_interval: 4s") as exporter:
            wait_until(lambda: (exporter.value(POLLS) or 0) >= 5, "five polls", 60)

            assert exporter.value("vb365_up") == 1
            assert exporter.value("vb365_polls_overrun_total") == 0
            shown = exporter.samples("vb365_restore_session_state", state="Working")
            assert {labels["session_id"] for labels, _ in shown} >= set(sessions)
