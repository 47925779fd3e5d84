"""Whatever a server answers, each poll ends in a success or a typed failure, and the next scrape is readable and true."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise

import pytest
from fuzz.documents import IDS
from fuzz.harness import PASSWORD, Harness, Outcome
from fuzz.replies import Script, scripts
from fuzz.scrapes import Scrape
from hypothesis import HealthCheck, given, settings

from support.waiting import wait_until

POLLS = 3
WORKING = "vb365_restore_sessions_working"
STOPPED = "vb365_restore_sessions_stopped"


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return Harness(tmp_path_factory.mktemp("fuzz"))


@given(script=scripts())
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_any_answers_end_in_a_success_or_a_typed_failure_and_in_true_scrapes(
    harness: Harness, script: Script
) -> None:
    threads = threading.active_count()

    outcome = harness.run(script, polls=POLLS)

    assert len(outcome.scrapes) == POLLS + 1
    for polls, scrape in enumerate(outcome.scrapes[:-1], start=1):
        assert scrape.total("vb365_polls_total") == polls
        check_truth(scrape, outcome)
        check_sums(scrape, script)
    for before, after in pairwise(outcome.scrapes[:-1]):
        check_counts(before, after)
    check_form(outcome.scrapes[-2])
    check_nothing_stale(outcome.scrapes[-1])
    check_log(outcome)
    wait_until(lambda: threading.active_count() <= threads, "all threads have ended")


def check_form(scrape: Scrape) -> None:
    """Both formats hold the same series, and none of them twice."""
    series = scrape.series()
    assert len(set(series)) == len(series)
    assert set(series) == set(scrape.openmetrics_series())
    assert PASSWORD not in scrape.text


def check_truth(scrape: Scrape, outcome: Outcome) -> None:
    """Nothing is shown that no answer has said."""
    told = outcome.told
    for session_id, sight in scrape.sights().items():
        assert sight in told.sights(session_id)
    assert told.organizations >= scrape.labels("organization")
    assert told.versions >= scrape.labels("version", "vb365_server_info")


def check_sums(scrape: Scrape, script: Script) -> None:
    """Organizations' sums, where a list vouches for them, are those of the sessions that are shown."""
    if script.sessions.max_series < len(IDS) or not scrape.labels("organization", WORKING):
        return
    states = Counter(sight.state == "Stopped" for sight in scrape.sights().values())
    assert states[False] == scrape.total(WORKING)
    assert states[True] == scrape.total(STOPPED)


def check_counts(before: Scrape, after: Scrape) -> None:
    """A poll is up or has failed for one reason that is known."""
    failures = [each.total("vb365_poll_failures_total") for each in (before, after)]
    assert after.total("vb365_poll_failures_total", reason="internal") == 0
    assert failures[1] - failures[0] == 1 - after.total("vb365_up")


def check_nothing_stale(scrape: Scrape) -> None:
    """When all is too old, only counters and the server are left."""
    assert not scrape.sights()
    assert not scrape.labels("organization", WORKING) | scrape.labels("organization", STOPPED)


def check_log(outcome: Outcome) -> None:
    """Every event is a printable line, without the password."""
    assert PASSWORD not in outcome.log
    assert "log event lost" not in outcome.log
    assert "Traceback" not in outcome.log
    assert all(line.isprintable() for line in outcome.log.splitlines())
