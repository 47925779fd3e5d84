"""What the exporter makes of every failure of the API, over real HTTPS; the rows are in `support.failure_catalogue`."""

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
from support.exporter_harness import wait_until
from support.exporter_stepped import Samples, Scrape
from support.failure_catalogue import (
    FAILURES,
    NAME_NOT_RESOLVED,
    POLL_AGAIN,
    POLL_FAILED,
    Failure,
    Series,
    Strike,
    Whose,
)
from support.failure_scenario import FakeResolver, Scenario, running_scenario

BETWEEN_POLLS_SECONDS = 80.0
"""The second poll after a success comes before `stale_after` (180 s), the third one after it."""

SECONDS_TO_RECOVERY = {Series.ONE_ENDED: 3600.0, Series.BY_ITS_CLOCK: 3600.0}
"""Until the next poll, where that is not enough: after an hour everything is listed again."""

Stage = Callable[[Failure], AbstractContextManager[Scenario]]


@pytest.fixture(scope="module")
def beside() -> Iterator[Simulator]:
    """A server that never fails."""
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    for kind, state in (("Vex", "Working"), ("Vet", "Stopped"), ("Vesp", "Stopped")):
        world.add_session(type=kind, state=state, organization="northwind.example")
    with Simulator(world) as simulator:
        yield simulator


@pytest.fixture
def stage(beside: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    resolver = FakeResolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    return lambda failure: running_scenario(failure, beside, tmp_path / "password", resolver)


def assert_same(expected: Samples, shown: Samples) -> None:
    """The same samples with the same values, to the microsecond that timestamps are cut to."""
    assert pytest.approx(expected, rel=0, abs=1e-6) == shown


def growth(before: Scrape, after: Scrape, name: str, label: str) -> Mapping[str, float]:
    """By how much counters of the failing server have grown, those that have."""
    earlier = before.by(label, name, "hq")
    return {
        value: count - earlier.get(value, 0.0)
        for value, count in after.by(label, name, "hq").items()
        if count != earlier.get(value, 0.0)
    }


# What happens to the series, a check for each kind. `poll` is the first, second or third during the failure.


def of_sessions(samples: Samples) -> Samples:
    return {key: value for key, value in samples.items() if "session_id" in dict(key[1])}


def session_ids(samples: Samples) -> set[str]:
    return {dict(labels)["session_id"] for _, labels in of_sessions(samples)}


def check_kept(scene: Scenario, poll: int, scrape: Scrape) -> None:
    if poll < 3:
        assert scene.healthy.of("hq") == scrape.of("hq")
    else:
        assert session_samples(scrape, "hq") == {}
        assert session_counters(scene.healthy, "hq") == session_counters(scrape, "hq")


def check_followed(scene: Scenario, poll: int, scrape: Scrape) -> None:
    shown = session_samples(scrape, "hq")
    unseen = () if scene.ids[Whose.NEW] in session_ids(shown) else (Whose.NEW,)
    if poll < 3:
        assert_same(scene.truth(*unseen), shown)
    else:
        finished = (Whose.RECENT, Whose.DONE, Whose.LONG_DONE)
        assert_same(of_sessions(scene.truth(*finished, *unseen)), shown)


def check_one_kept(scene: Scenario, poll: int, scrape: Scrape) -> None:
    assert_same(scene.truth(*(() if poll < 3 else (Whose.OPEN,))), session_samples(scrape, "hq"))


def check_unknown(scene: Scenario, _poll: int, scrape: Scrape) -> None:
    shown = of_sessions(session_samples(scrape, "hq"))
    asked_for = (Whose.OPEN, Whose.RECENT, Whose.DONE, Whose.NEW)
    unknown = {key: value for key, value in shown.items() if ("type", "Unknown") in key[1]}
    known = {key: value for key, value in shown.items() if key not in unknown}
    assert_same(of_sessions(scene.truth(*asked_for)), known)
    states = {
        (dict(labels)["session_id"], dict(labels)["state"])
        for (name, labels), value in unknown.items()
        if name == "vb365_restore_session_state" and value
    }
    assert {(scene.ids[whose], "Unknown") for whose in asked_for} == states
    assert {
        "vb365_restore_session_state",
        "vb365_restore_session_start_timestamp_seconds",
        "vb365_restore_session_processed_items",
    } == {name for name, _ in unknown}


def check_marked(scene: Scenario, _poll: int, scrape: Scrape) -> None:
    def anonymous(samples: Samples) -> Samples:
        return {
            (name, frozenset(pair for pair in labels if pair[0] != "organization")): value
            for (name, labels), value in of_sessions(samples).items()
        }

    shown = session_samples(scrape, "hq")
    assert_same(anonymous(scene.truth()), anonymous(shown))
    organizations = {dict(labels)["organization"] for _, labels in shown}
    true_ones = {session.organization for session in scene.world.sessions()}
    assert true_ones == {name.partition("\ufffd")[0] for name in organizations}
    assert true_ones != organizations
    assert not [
        character
        for character in "".join(organizations)
        if unicodedata.category(character) in {"Cc", "Cs"} and character != "\n"
    ]


def check_no_duration(scene: Scenario, _poll: int, scrape: Scrape) -> None:
    damaged = {scene.ids[Whose.RECENT], scene.ids[Whose.DONE]}
    changed = (
        "vb365_restore_session_duration_seconds",
        "vb365_restore_session_end_timestamp_seconds",
        "vb365_restore_sessions_last_end_timestamp_seconds",
    )

    def unchanged(samples: Samples) -> Samples:
        return {key: value for key, value in samples.items() if key[0] not in changed}

    assert_same(unchanged(scene.truth()), unchanged(session_samples(scrape, "hq")))
    durations, ends = (scrape.by("session_id", name, "hq") for name in changed[:2])
    starts = scrape.by("session_id", "vb365_restore_session_start_timestamp_seconds", "hq")
    assert {scene.ids[Whose.LONG_DONE]} == durations.keys()
    for session_id in damaged:
        assert pytest.approx(starts[session_id] - 3600, rel=0, abs=1e-5) == ends[session_id]


def check_true(scene: Scenario, _poll: int, scrape: Scrape) -> None:
    assert_same(scene.truth(), session_samples(scrape, "hq"))


CHECKS: Mapping[Series, Callable[[Scenario, int, Scrape], None]] = {
    Series.TRUE: check_true,
    Series.KEPT: check_kept,
    Series.STALE: check_kept,
    Series.FOLLOWED: check_followed,
    Series.ONE_KEPT: check_one_kept,
    Series.ONE_ENDED: lambda scene, _, scrape: assert_same(
        scene.truth(Whose.OPEN), session_samples(scrape, "hq")
    ),
    Series.ONE_ABSENT: lambda scene, _, scrape: assert_same(
        scene.truth(Whose.NEW), session_samples(scrape, "hq")
    ),
    Series.UNKNOWN: check_unknown,
    Series.MARKED: check_marked,
    Series.NO_DURATION: check_no_duration,
    Series.BY_ITS_CLOCK: check_true,
}


@pytest.mark.parametrize("failure", FAILURES, ids=str)
def test_a_failure_is_answered_as_its_row_says(failure: Failure, stage: Stage) -> None:
    answer = failure.answer
    with stage(failure) as scene:
        healthy = scene.healthy = scene.poll_well()
        assert_same(scene.truth(), session_samples(healthy, "hq"))
        scene.log.forget()
        scene.simulator.traffic.reset()

        scene.fail()
        for poll in (1, 2, 3):
            scrape = scene.exporter.step(BETWEEN_POLLS_SECONDS)
            assert float(answer.reason is None) == scrape.value("vb365_up", "hq")
            CHECKS[answer.series](scene, poll, scrape)
            assert scrape.value("vb365_up", "beside") == 1
            assert_same(scene.truth_beside(), session_samples(scrape, "beside"))

        assert answer.events == scene.log.events("hq")
        failures = {} if answer.reason is None else {answer.reason.value: 3}
        assert failures == growth(healthy, scrape, "vb365_poll_failures_total", "reason")
        assert growth(healthy, scrape, "vb365_polls_total", "server") == {"hq": 3}
        rejected = growth(healthy, scrape, "vb365_records_rejected_total", "reason")
        assert rejected.keys() == ({failure.rejected.value} if failure.rejected else set())
        unknown = growth(healthy, scrape, "vb365_unknown_values_total", "field")
        assert unknown.keys() == ({"type", "state"} if answer.series is Series.UNKNOWN else set())
        retries = growth(healthy, scrape, "vb365_api_retries_total", "operation")
        assert answer.repeats == bool(retries), retries
        assert healthy.of("hq", "vb365_server_") == scrape.of("hq", "vb365_server_")
        if answer.reason is not None:
            succeeded = "vb365_last_successful_poll_timestamp_seconds"
            assert healthy.value(succeeded, "hq") == scrape.value(succeeded, "hq")

        if failure.needs_new_password:
            # The refresh token, the password, and the same password again after more than a minute.
            assert scene.simulator.requests["POST", "token"] == 3

        scene.mend()
        scene.log.forget()
        gap_seconds = SECONDS_TO_RECOVERY.get(answer.series, BETWEEN_POLLS_SECONDS)
        recovered = scene.poll_well(0.0 if failure.needs_new_password else gap_seconds)
        assert_same(scene.truth(), session_samples(recovered, "hq"))
        scene.exporter.step(BETWEEN_POLLS_SECONDS)
        assert answer.events_after == scene.log.events("hq")
        assert [e for e in scene.log.entries() if e.get("server") == "beside"] == []
        outages = [
            entry["failed_for_seconds"]
            for entry in scene.log.entries()
            if entry["msg"] == POLL_AGAIN
        ]
        assert not [seconds for seconds in outages if seconds < 2 * BETWEEN_POLLS_SECONDS]
        for counter in ("started", "finished"):
            seen = recovered.of("hq", f"vb365_restore_sessions_{counter}_total")
            assert sum(seen.values()) == 1


@pytest.mark.parametrize(
    "failure",
    {
        failure.answer: failure
        for failure in reversed(FAILURES)
        if failure.answer.series in {Series.KEPT, Series.FOLLOWED}
    }.values(),
    ids=str,
)
def test_of_a_server_that_fails_from_the_start_nothing_is_invented(
    failure: Failure, stage: Stage
) -> None:
    with stage(failure) as scene:
        scene.fail()
        for _ in range(2):
            scrape = scene.exporter.step(BETWEEN_POLLS_SECONDS)
        shown = session_samples(scrape, "hq")
        assert shown.items() <= of_sessions(scene.truth()).items()
        has_told_nothing = failure.answer.series is Series.KEPT or failure.rejected is not None
        assert has_told_nothing == (not shown)
        assert not any(session_counters(scrape, "hq").values())
        assert scrape.value("vb365_up", "hq") == 0
        failures = scrape.by("reason", "vb365_poll_failures_total", "hq")
        assert {failure.answer.reason: 2} == {k: v for k, v in failures.items() if v}
        assert scrape.value("vb365_last_successful_poll_timestamp_seconds", "hq") is None
        assert scene.log.events("hq").count(POLL_FAILED) == 1

        scene.mend()
        recovered = scene.poll_well(BETWEEN_POLLS_SECONDS)
        assert_same(scene.truth(), session_samples(recovered, "hq"))
        # What was there at the first look is no event.
        assert not any(session_counters(recovered, "hq").values())


def test_series_end_on_time_while_a_poll_waits_for_an_answer(stage: Stage) -> None:
    silent = Failure(what="silence", strikes=(Strike(name="silence"),), answer=FAILURES[0].answer)
    with stage(silent) as scene:
        scene.poll_well()
        scene.simulator.traffic.reset()
        scene.fail()
        polling = threading.Thread(target=scene.exporter.poll)
        polling.start()
        wait_until(lambda: scene.simulator.requests["GET", "list"] == 1, "the list is asked for")
        assert session_samples(scene.exporter.scrape(), "hq") != {}

        scene.exporter.pass_time(180)

        assert session_samples(scene.exporter.scrape(), "hq") == {}
        assert polling.is_alive()
        scene.mend()
        scene.exporter.stop()
        polling.join(10)
        assert not polling.is_alive()


def test_every_fault_that_the_simulator_has_is_in_a_row() -> None:
    struck = {strike.name for failure in FAILURES for strike in failure.strikes}
    # Those of the change feed fail no poll.
    of_polls = {name for name, fault in CATALOGUE.items() if fault.route != "change_feed"}

    assert {*of_polls, NAME_NOT_RESOLVED} == struck


def test_no_row_stands_twice_and_rows_with_one_answer_stand_together() -> None:
    answers = [failure.answer for failure in FAILURES]
    changes = sum(one != other for one, other in pairwise(answers))

    assert len(set(answers)) == changes + 1
    assert len(FAILURES) == len({str(failure) for failure in FAILURES})
