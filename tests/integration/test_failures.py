"""How the exporter handles every failure in `support.failure_catalogue`, over real HTTPS."""

from __future__ import annotations

import socket
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from exporter.simulator.faults.catalogue import CATALOGUE
from exporter.simulator.world.world import World
from support.expected_metrics import session_counters, session_samples
from support.exporter_stepped import Samples, Scrape
from support.failure_catalogue import (
    FAILURES,
    NAME_NOT_RESOLVED,
    POLL_AGAIN,
    POLL_FAILED,
    Failure,
    FaultSetting,
    Series,
    SessionRole,
)
from support.failure_scenario import FakeResolver, Scenario, running_scenario
from support.waiting import wait_until

BETWEEN_POLLS_SECONDS = 80.0
"""The second poll after a success is before `stale_after` (180 s), the third one after it."""

SECONDS_TO_RECOVERY = {Series.BY_ITS_CLOCK: 3600.0}
"""Where one more poll is not enough: after an hour everything is listed again."""

StartScenario = Callable[[Failure], AbstractContextManager[Scenario]]


@pytest.fixture(scope="module")
def beside() -> Iterator[Simulator]:
    """A server that never fails."""
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    for kind, state in (("Vex", "Working"), ("Vet", "Stopped"), ("Vesp", "Stopped")):
        world.add_session(type=kind, state=state, organization="northwind.example")
    with Simulator(world) as simulator:
        yield simulator


@pytest.fixture
def start_scenario(
    beside: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> StartScenario:
    resolver = FakeResolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return lambda failure: running_scenario(failure, beside, tmp_path / "password", resolver)


def assert_same(actual: Samples, expected: Samples) -> None:
    """Compare samples and values, to the microsecond that timestamps are cut to."""
    assert actual == pytest.approx(expected, rel=0, abs=1e-6)


def growth(before: Scrape, after: Scrape, name: str, label: str) -> Mapping[str, float]:
    """Return by how much counters of the failing server have grown, without those that have not."""
    earlier = before.by(label, name, "hq")
    return {
        value: count - earlier.get(value, 0.0)
        for value, count in after.by(label, name, "hq").items()
        if count != earlier.get(value, 0.0)
    }


# One check for each effect on the series. `poll` is the first, second or third during the failure.


def of_sessions(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if "session_id" in dict(key[1])}


def session_ids(samples: Samples) -> set[str]:
    return {dict(labels)["session_id"] for _, labels in of_sessions(samples)}


def check_kept(scenario: Scenario, poll: int, scrape: Scrape) -> None:
    if poll < 3:
        assert scrape.of("hq") == scenario.healthy.of("hq")
    else:
        assert session_samples(scrape, "hq") == {}
        assert session_counters(scrape, "hq") == session_counters(scenario.healthy, "hq")


def check_followed(scenario: Scenario, poll: int, scrape: Scrape) -> None:
    shown = session_samples(scrape, "hq")
    unseen = () if scenario.ids[SessionRole.NEW] in session_ids(shown) else (SessionRole.NEW,)
    if poll < 3:
        assert_same(shown, scenario.expected(*unseen))
    else:
        finished = (SessionRole.RECENT, SessionRole.DONE, SessionRole.LONG_DONE)
        assert_same(shown, of_sessions(scenario.expected(*finished, *unseen)))


def check_one_kept(scenario: Scenario, poll: int, scrape: Scrape) -> None:
    assert_same(
        session_samples(scrape, "hq"), scenario.expected(*(() if poll < 3 else (SessionRole.OPEN,)))
    )


def check_unknown(scenario: Scenario, _poll: int, scrape: Scrape) -> None:
    shown = of_sessions(session_samples(scrape, "hq"))
    requested = (SessionRole.OPEN, SessionRole.RECENT, SessionRole.DONE, SessionRole.NEW)
    unknown = {key: value for key, value in shown.items() if ("type", "Unknown") in key[1]}
    known = {key: value for key, value in shown.items() if key not in unknown}
    assert_same(known, of_sessions(scenario.expected(*requested)))
    states = {
        (dict(labels)["session_id"], dict(labels)["state"])
        for (name, labels), value in unknown.items()
        if name == "vb365_restore_session_state" and value
    }
    assert states == {(scenario.ids[role], "Unknown") for role in requested}
    assert {name for name, _ in unknown} == {
        "vb365_restore_session_state",
        "vb365_restore_session_start_timestamp_seconds",
        "vb365_restore_session_processed_items",
    }


def check_marked(scenario: Scenario, _poll: int, scrape: Scrape) -> None:
    def anonymous(samples: Samples) -> Samples:
        return {
            (name, frozenset(pair for pair in labels if pair[0] != "organization")): value
            for (name, labels), value in of_sessions(samples).items()
        }

    shown = session_samples(scrape, "hq")
    assert_same(anonymous(shown), anonymous(scenario.expected()))
    organizations = {dict(labels)["organization"] for _, labels in shown}
    true_ones = {session.organization for session in scenario.world.sessions()}
    assert {name.partition("\ufffd")[0] for name in organizations} == true_ones
    assert organizations != true_ones
    assert not [
        character
        for character in "".join(organizations)
        if unicodedata.category(character) in {"Cc", "Cs"} and character != "\n"
    ]


def check_no_duration(scenario: Scenario, _poll: int, scrape: Scrape) -> None:
    damaged = {scenario.ids[SessionRole.RECENT], scenario.ids[SessionRole.DONE]}
    changed = (
        "vb365_restore_session_duration_seconds",
        "vb365_restore_session_end_timestamp_seconds",
        "vb365_restore_sessions_last_end_timestamp_seconds",
        "vb365_restore_sessions_last_restored_timestamp_seconds",
    )

    def unchanged(samples: Samples) -> Samples:
        return {key: value for key, value in samples.items() if key[0] not in changed}

    assert_same(unchanged(session_samples(scrape, "hq")), unchanged(scenario.expected()))
    durations, ends = (scrape.by("session_id", name, "hq") for name in changed[:2])
    starts = scrape.by("session_id", "vb365_restore_session_start_timestamp_seconds", "hq")
    assert durations.keys() == {scenario.ids[SessionRole.LONG_DONE]}
    for session_id in damaged:
        assert ends[session_id] == pytest.approx(starts[session_id] - 3600, rel=0, abs=1e-5)


def check_true(scenario: Scenario, _poll: int, scrape: Scrape) -> None:
    assert_same(session_samples(scrape, "hq"), scenario.expected())


CHECKS: Mapping[Series, Callable[[Scenario, int, Scrape], None]] = {
    Series.TRUE: check_true,
    Series.KEPT: check_kept,
    Series.STALE: check_kept,
    Series.FOLLOWED: check_followed,
    Series.ONE_KEPT: check_one_kept,
    Series.ONE_ABSENT: lambda scenario, _, scrape: assert_same(
        session_samples(scrape, "hq"), scenario.expected(SessionRole.NEW)
    ),
    Series.UNKNOWN: check_unknown,
    Series.MARKED: check_marked,
    Series.NO_DURATION: check_no_duration,
    Series.BY_ITS_CLOCK: check_true,
}


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_failure_is_handled_as_its_row_states(
    failure: Failure, start_scenario: StartScenario
) -> None:
    handling = failure.handling
    with start_scenario(failure) as scenario:
        healthy = scenario.healthy = scenario.poll_until_up()
        assert_same(session_samples(healthy, "hq"), scenario.expected())
        scenario.log.clear()
        scenario.simulator.traffic.reset()

        scenario.fail()
        for poll in (1, 2, 3):
            scrape = scenario.exporter.step(BETWEEN_POLLS_SECONDS)
            assert scrape.value("vb365_up", "hq") == float(handling.reason is None)
            CHECKS[handling.series](scenario, poll, scrape)
            assert scrape.value("vb365_up", "beside") == 1
            assert_same(session_samples(scrape, "beside"), scenario.expected_beside())

        assert scenario.log.events("hq") == handling.events
        failures = {} if handling.reason is None else {handling.reason.value: 3}
        assert growth(healthy, scrape, "vb365_poll_failures_total", "reason") == failures
        assert growth(healthy, scrape, "vb365_polls_total", "server") == {"hq": 3}
        rejected = growth(healthy, scrape, "vb365_records_rejected_total", "reason")
        assert rejected.keys() == ({failure.rejected.value} if failure.rejected else set())
        unknown = growth(healthy, scrape, "vb365_unknown_values_total", "field")
        assert unknown.keys() == ({"type", "state"} if handling.series is Series.UNKNOWN else set())
        retries = growth(healthy, scrape, "vb365_api_retries_total", "operation")
        assert bool(retries) == handling.retries, retries
        assert scrape.of("hq", "vb365_server_") == healthy.of("hq", "vb365_server_")
        if handling.reason is not None:
            succeeded = "vb365_last_successful_poll_timestamp_seconds"
            assert scrape.value(succeeded, "hq") == healthy.value(succeeded, "hq")

        if failure.needs_new_password:
            # The refresh token, the password, and the same password again after more than a minute.
            assert scenario.simulator.requests["POST", "token"] == 3

        scenario.recover()
        scenario.log.clear()
        gap_seconds = SECONDS_TO_RECOVERY.get(handling.series, BETWEEN_POLLS_SECONDS)
        recovered = scenario.poll_until_up(0.0 if failure.needs_new_password else gap_seconds)
        assert_same(session_samples(recovered, "hq"), scenario.expected())
        scenario.exporter.step(BETWEEN_POLLS_SECONDS)
        assert scenario.log.events("hq") == handling.events_after
        assert [e for e in scenario.log.entries() if e.get("server") == "beside"] == []
        outages = [
            entry["failed_for_seconds"]
            for entry in scenario.log.entries()
            if entry["msg"] == POLL_AGAIN
        ]
        assert not [seconds for seconds in outages if seconds < 2 * BETWEEN_POLLS_SECONDS]
        for counter in ("started", "finished"):
            seen = recovered.of("hq", f"vb365_restore_sessions_{counter}_total")
            assert sum(seen.values()) == 1


@pytest.mark.parametrize(
    "failure",
    {
        failure.handling: failure
        for failure in reversed(FAILURES)
        if failure.handling.series in {Series.KEPT, Series.FOLLOWED}
    }.values(),
    ids=str,
)
def test_nothing_is_invented_for_a_server_that_fails_from_the_start(
    failure: Failure, start_scenario: StartScenario
) -> None:
    with start_scenario(failure) as scenario:
        scenario.fail()
        for _ in range(2):
            scrape = scenario.exporter.step(BETWEEN_POLLS_SECONDS)
        shown = session_samples(scrape, "hq")
        assert shown.items() <= of_sessions(scenario.expected()).items()
        knows_nothing = failure.handling.series is Series.KEPT or failure.rejected is not None
        assert (shown == {}) == knows_nothing
        assert not any(session_counters(scrape, "hq").values())
        assert scrape.value("vb365_up", "hq") == 0
        failures = scrape.by("reason", "vb365_poll_failures_total", "hq")
        assert {k: v for k, v in failures.items() if v} == {failure.handling.reason: 2}
        assert scrape.value("vb365_last_successful_poll_timestamp_seconds", "hq") is None
        assert scenario.log.events("hq").count(POLL_FAILED) == 1

        scenario.recover()
        recovered = scenario.poll_until_up(BETWEEN_POLLS_SECONDS)
        assert_same(session_samples(recovered, "hq"), scenario.expected())
        # Sessions found by the first poll are not counted.
        assert not any(session_counters(recovered, "hq").values())


def test_series_end_on_time_while_a_poll_waits_for_a_response(
    start_scenario: StartScenario,
) -> None:
    silent = Failure(
        title="silence", faults=(FaultSetting(name="silence"),), handling=FAILURES[0].handling
    )
    with start_scenario(silent) as scenario:
        scenario.poll_until_up()
        scenario.simulator.traffic.reset()
        scenario.fail()
        polling = threading.Thread(target=scenario.exporter.poll)
        polling.start()
        wait_until(lambda: scenario.simulator.requests["GET", "list"] == 1, "the list is requested")
        assert session_samples(scenario.exporter.scrape(), "hq") != {}

        scenario.exporter.pass_time(180)

        assert session_samples(scenario.exporter.scrape(), "hq") == {}
        assert polling.is_alive()
        scenario.recover()
        scenario.exporter.stop()
        polling.join(10)
        assert not polling.is_alive()


def test_every_fault_of_the_simulator_is_in_a_row() -> None:
    used = {fault.name for failure in FAILURES for fault in failure.faults}
    # Faults of the change feed and of extras do not affect polls, and endless sessions are no truth to compare with.
    of_polls = {
        name for name, fault in CATALOGUE.items() if fault.route not in {"change_feed", "events"}
    }
    of_polls -= {"endless_sessions"}

    assert used == {*of_polls, NAME_NOT_RESOLVED}


def test_rows_are_unique_and_rows_with_one_handling_are_adjacent() -> None:
    handlings = [failure.handling for failure in FAILURES]
    changes = sum(one != other for one, other in pairwise(handlings))

    assert len(set(handlings)) == changes + 1
    assert len(FAILURES) == len({str(failure) for failure in FAILURES})
