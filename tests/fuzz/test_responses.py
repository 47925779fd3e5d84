"""Whatever a server sends, each poll ends in success or a typed failure, and the next scrape is valid and correct."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
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
def test_any_responses_end_in_success_or_a_typed_failure_and_in_correct_scrapes(
    harness: Harness, script: Script
) -> None:
    threads = threads_of_polls()

    outcome = harness.run(script, polls=POLLS)

    assert len(outcome.scrapes) == POLLS + 1
    for polls, scrape in enumerate(outcome.scrapes[:-1], start=1):
        assert scrape.total("vb365_polls_total") == polls
        check_values(scrape, outcome, script)
        check_sums(scrape, script)
    for before, after in pairwise(outcome.scrapes[:-1]):
        check_counts(before, after)
    check_form(outcome.scrapes[-2])
    check_nothing_stale(outcome.scrapes[-1])
    check_log(outcome)
    wait_until(lambda: threads_of_polls() <= threads, "all threads have ended")


def threads_of_polls() -> int:
    """Count all threads but that of the deadlines, which stays."""
    return sum(thread.name != "watchdog" for thread in threading.enumerate())


def check_form(scrape: Scrape) -> None:
    """Check that both formats have the same series without duplicates."""
    series = scrape.series()
    assert len(set(series)) == len(series)
    assert set(series) == set(scrape.openmetrics_series())
    assert PASSWORD not in scrape.text


def check_values(scrape: Scrape, outcome: Outcome, script: Script) -> None:
    """Check that every value comes from a response, and all values of a session from the same one.

    A session keeps its organization if a new one does not fit.
    """
    sent = outcome.sent
    for session_id, view in scrape.sessions().items():
        views = sent.sessions(session_id)
        if script.sessions.max_sessions < len(IDS):
            assert view.organization in {one.organization for one in views}
            views = {replace(one, organization=view.organization) for one in views}
        assert view in views
    assert scrape.labels("organization") <= sent.organizations
    assert scrape.labels("version", "vb365_server_info") <= sent.versions


def check_sums(scrape: Scrape, script: Script) -> None:
    """Check that the sums of organizations, if a list confirms them, match the exported sessions."""
    if script.sessions.max_series < len(IDS) or not scrape.labels("organization", WORKING):
        return
    states = Counter(view.state == "Stopped" for view in scrape.sessions().values())
    assert scrape.total(WORKING) == states[False]
    assert scrape.total(STOPPED) == states[True]


def check_counts(before: Scrape, after: Scrape) -> None:
    """Check that a poll is up or has failed for one known reason."""
    failures = [each.total("vb365_poll_failures_total") for each in (before, after)]
    assert after.total("vb365_poll_failures_total", reason="internal") == 0
    assert failures[1] - failures[0] == 1 - after.total("vb365_up")


def check_nothing_stale(scrape: Scrape) -> None:
    """Check that stale data leaves only counters and the server's own series."""
    assert not scrape.sessions()
    assert not scrape.labels("organization", WORKING) | scrape.labels("organization", STOPPED)


def check_log(outcome: Outcome) -> None:
    """Check that every event is a printable line without the password."""
    assert PASSWORD not in outcome.log
    assert "log event lost" not in outcome.log
    assert "Traceback" not in outcome.log
    assert all(line.isprintable() for line in outcome.log.splitlines())
