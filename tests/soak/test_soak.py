"""Days of polls of a failing server within minutes: no leaks, and correct metrics at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from soak.figures import Figures
from soak.harness import MAX_CONNECTIONS, Harness, soaked

from support.benchmark_figures import print_table

pytestmark = pytest.mark.e2e

SEED = 1
WARM_UP_POLLS = 1000
MAX_GROWTH = 1.05


def test_days_of_failing_polls_leak_nothing_and_end_with_correct_metrics(
    tmp_path: Path, soak_polls: int
) -> None:
    with soaked(tmp_path, SEED) as harness:
        figures: list[Figures] = []
        print_table(
            f"Soak run of {soak_polls} polls",
            ("polls", "successes", "resident memory", "threads", "file descriptors"),
            map(row, collected(figures, soak(harness, soak_polls))),
        )
        print_faults(harness)

        assert harness.shown() == pytest.approx(harness.expected(), rel=0, abs=1e-6)
        assert harness.counted() == harness.expected_counts()
        assert 0 < harness.restored() <= harness.expected_restored()
        assert harness.unexpected_log_lines() == []
        check_figures(figures)
        check_token_requests(harness)


def soak(harness: Harness, polls: int) -> Iterator[Figures]:
    """Let the exporter poll; yield figures before the first poll, in between, and after the recovery."""
    yield harness.figures()
    for number in range(1, polls + 1):
        harness.poll()
        if number == WARM_UP_POLLS:
            harness.recover()  # as at the end, so that the figures are comparable
        if number == WARM_UP_POLLS or number % (polls / 20) == 0:
            yield harness.figures()
    harness.recover()
    yield harness.figures()


def collected(figures: list[Figures], source: Iterator[Figures]) -> Iterator[Figures]:
    """Yield the figures and append them to a list."""
    for one in source:
        figures.append(one)
        yield one


def check_figures(figures: Sequence[Figures]) -> None:
    """Check that nothing has leaked."""
    first, last = figures[0], figures[-1]
    # Threads of parallel requests end with them.
    assert last.threads == first.threads
    assert last.descriptors <= first.descriptors + MAX_CONNECTIONS
    warm = next((one for one in figures if one.polls >= WARM_UP_POLLS), last)
    assert last.resident_mib <= MAX_GROWTH * warm.resident_mib


def check_token_requests(harness: Harness) -> None:
    """Check that the rate limit was kept and logins were much rarer than polls."""
    assert harness.token_requests.max_within(1) == 1
    assert harness.token_requests.max_within(60) <= 5
    assert 1 < harness.simulator.tokens.logins < harness.polls / 10


def row(figures: Figures) -> Sequence[str]:
    """Return the figures as a row of the table."""
    return (
        *(str(figures.polls), str(figures.successes), f"{figures.resident_mib:.1f} MiB"),
        *(str(figures.threads), str(figures.descriptors)),
    )


def print_faults(harness: Harness) -> None:
    """Print token requests and faults."""
    requests = harness.token_requests
    print_table(
        "Token requests, in simulated time",
        ("total", "logins", "maximum within a minute", "maximum within a second"),
        [
            (
                str(len(requests.moments)),
                str(harness.simulator.tokens.logins),
                str(requests.max_within(60)),
                str(requests.max_within(1)),
            )
        ],
    )
    print_table(
        "Faults",
        ("fault", "polls"),
        [
            *((name, str(polls)) for name, polls in sorted(harness.faults.polls.items())),
            ("result cannot be published", str(harness.unpublished)),
        ],
    )
