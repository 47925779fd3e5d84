"""One of two servers cycles through all faults at random, and a real Prometheus records what is said of both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container
from pathlib import Path

import pytest
from chaos.harness import SCRAPE_SECONDS, Harness, running_bench
from chaos.record import Record

from support.benchmark_figures import print_table
from support.expected_metrics import expected_samples
from support.exporter_stepped import Key
from support.prometheus_process import scraped_by_prometheus

pytestmark = pytest.mark.e2e

SEED = 1
SECONDS_BEYOND = 60


def test_a_server_in_trouble_is_told_of_truly_poll_by_poll_and_the_other_as_if_it_were_alone(
    tmp_path: Path, chaos_seconds: int
) -> None:
    with (
        running_bench(tmp_path, SEED) as harness,
        scraped_by_prometheus(
            harness.address, tmp_path / "prometheus", scrape_interval=f"{SCRAPE_SECONDS}s"
        ) as prometheus,
    ):
        harness.go_on(chaos_seconds)
        record = Record(prometheus, chaos_seconds + SECONDS_BEYOND)

        check_scrapes(record)
        series = check_healthy(record, harness)
        shown = check_faulty(record, harness)
    print_figures(record, harness, series, shown)


def check_scrapes(record: Record) -> None:
    """Each scrape was a success."""
    assert {1.0} == set(record.scrapes.values())


def check_healthy(record: Record, harness: Harness) -> int:
    """Each series of the healthy server is in each scrape, and says what is true; returns how many there are."""
    expected = dict.fromkeys(record.scrapes, 1.0)
    assert expected == record.of_one('vb365_up{server="healthy"}')
    truth = expected_samples(harness.healthy.world, "healthy")
    series = record.of('{__name__=~"vb365_restore_.+",server="healthy"}')
    assert truth.keys() <= series.keys()
    for key, samples in series.items():
        # What is not told of a session is one of the zeros that every organization has.
        value = pytest.approx(truth.get(key, 0.0), rel=0, abs=1e-6)
        assert dict.fromkeys(record.scrapes, value) == samples, key
        assert key in truth or is_zero_of(key, harness.healthy.world.organizations), key
    return len(series)


def is_zero_of(key: Key, organizations: Container[str]) -> bool:
    """Whether a series may be there although there is nothing to tell of."""
    name, labels = key[0], dict(key[1])
    assert "session_id" not in labels
    # Durations are told by type alone.
    return "finished_duration_seconds" in name or labels["organization"] in organizations


def check_faulty(record: Record, harness: Harness) -> int:
    """Each scrape says how the last poll ended that it knows of; returns how many polls were scraped."""
    ended = record.of_one('vb365_last_poll_timestamp_seconds{server="faulty"}')
    up = record.of_one('vb365_up{server="faulty"}')
    assert record.scrapes.keys() == ended.keys() == up.keys()
    polls = {poll.ended: poll for poll in harness.polls}
    for scrape, moment in ended.items():
        if moment in polls:  # else it has ended since
            assert up[scrape] == (polls[moment].reason is None), polls[moment]
    known = {session.id for session in harness.faulty.world.sessions()}
    series = record.of('{session_id!="",server="faulty"}')
    assert known >= {dict(labels)["session_id"] for _, labels in series}
    return len(polls.keys() & set(ended.values()))


def print_figures(record: Record, harness: Harness, series: int, shown: int) -> None:
    """Write what there was."""
    reasons = Counter(poll.reason or "success" for poll in harness.polls)
    print_table(
        "Ten minutes, or as long as it was, of trouble",
        ("what", "number"),
        (
            ("scrapes, all successful", str(len(record.scrapes))),
            ("series of the healthy server, each in each scrape", str(series)),
            ("polls of the faulty server, each as it has to be", str(len(harness.polls))),
            ("of these, recorded by Prometheus", str(shown)),
            *((f"polls that ended in {reason}", str(n)) for reason, n in reasons.most_common()),
            ("states that were on", str(len(harness.trials.polls))),
            ("failures that were not on", "; ".join(sorted(harness.trials.untried)) or "none"),
        ),
    )
    trials = harness.trials
    print_table(
        "The faulty server's states",
        ("state", "polls", "of these successes"),
        ((what, str(n), str(trials.succeeded[what])) for what, n in sorted(trials.polls.items())),
    )
