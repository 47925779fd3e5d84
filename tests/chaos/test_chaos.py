"""One of two servers goes through all failures at random while a real Prometheus records both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from pathlib import Path

import pytest
from chaos.harness import SCRAPE_SECONDS, Harness, running_harness
from chaos.record import Record

from exporter.simulator.api.documents import truth_of
from support.benchmark_figures import print_table
from support.expected_metrics import expected_extras, expected_samples
from support.exporter_stepped import Key
from support.prometheus_process import scraped_by_prometheus

pytestmark = pytest.mark.e2e

SEED = 1
MARGIN_SECONDS = 60


def test_a_failing_server_is_shown_correctly_poll_by_poll_and_does_not_affect_the_other(
    tmp_path: Path, chaos_seconds: int
) -> None:
    with (
        running_harness(tmp_path, SEED) as harness,
        scraped_by_prometheus(
            harness.address, tmp_path / "prometheus", scrape_interval=f"{SCRAPE_SECONDS}s"
        ) as prometheus,
    ):
        harness.run(chaos_seconds)
        record = Record(prometheus, chaos_seconds + MARGIN_SECONDS)

        check_scrapes(record)
        series = check_healthy(record, harness)
        shown = check_faulty(record, harness)
    print_figures(record, harness, series, shown)


def check_scrapes(record: Record) -> None:
    """Check that each scrape succeeded."""
    assert set(record.scrapes.values()) == {1.0}


def check_healthy(record: Record, harness: Harness) -> int:
    """Check that each series of the healthy server is in each scrape and correct; return their number."""
    expected = dict.fromkeys(record.scrapes, 1.0)
    assert record.of_one('vb365_up{server="healthy"}') == expected
    truth = dict(expected_samples(harness.healthy.world, "healthy"))
    for session in harness.healthy.world.sessions():
        if not session.stopped:
            truth |= expected_extras(truth_of(session, with_events=True), "healthy")
    series = record.of('{__name__=~"vb365_restored?_.+",server="healthy"}')
    organizations = {one.session_name for one in harness.healthy.world.organizations}
    assert truth.keys() <= series.keys()
    for key, samples in series.items():
        # A series that no session explains is one of the zeros that every organization has.
        value = pytest.approx(truth.get(key, 0.0), rel=0, abs=1e-6)
        assert samples == dict.fromkeys(record.scrapes, value), key
        assert key in truth or is_zero_of(key, organizations), key
    return len(series)


def is_zero_of(key: Key, organizations: Container[str]) -> bool:
    """Whether a series may exist without a session, with the value 0."""
    name, labels = key[0], dict(key[1])
    assert "session_id" not in labels
    # Durations have no organization label.
    return "finished_duration_seconds" in name or labels["organization"] in organizations


def check_faulty(record: Record, harness: Harness) -> int:
    """Check that each scrape shows the outcome of the latest poll; return the number of polls scraped."""
    ended = record.of_one('vb365_last_poll_timestamp_seconds{server="faulty"}')
    up = record.of_one('vb365_up{server="faulty"}')
    assert record.scrapes.keys() == ended.keys() == up.keys()
    polls = {poll.ended: poll for poll in harness.polls}
    for scrape, moment in ended.items():
        if moment in polls:  # a poll may have ended after the last report
            assert up[scrape] == (polls[moment].reason is None), polls[moment]
    known = {session.id for session in harness.faulty.world.sessions()}
    series = record.of('{session_id!="",server="faulty"}')
    assert {dict(labels)["session_id"] for _, labels in series} <= known
    return len(polls.keys() & set(ended.values()))


def print_figures(record: Record, harness: Harness, series: int, shown: int) -> None:
    """Print the figures of the run."""
    reasons = Counter(poll.reason or "success" for poll in harness.polls)
    print_table(
        "Chaos run",
        ("figure", "number"),
        (
            ("scrapes, all successful", str(len(record.scrapes))),
            ("series of the healthy server, each in each scrape", str(series)),
            ("polls of the faulty server, each with the expected outcome", str(len(harness.polls))),
            ("of these, recorded by Prometheus", str(shown)),
            *((f"polls that ended in {reason}", str(n)) for reason, n in reasons.most_common()),
            ("phases that occurred", str(len(harness.schedule.polls))),
            ("failures that did not occur", "; ".join(sorted(harness.schedule.untried)) or "none"),
        ),
    )
    schedule = harness.schedule
    print_table(
        "Phases of the faulty server",
        ("phase", "polls", "of these successful"),
        (
            (phase, str(n), str(schedule.succeeded[phase]))
            for phase, n in sorted(schedule.polls.items())
        ),
    )
