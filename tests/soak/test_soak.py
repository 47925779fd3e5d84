"""Days of polls, most of them in trouble, in minutes: what is left of them, and whether the end is the truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from soak.harness import MOST_CONNECTIONS, Figures, Harness, soaked

from support.benchmark_figures import print_table

pytestmark = pytest.mark.e2e

SEED = 1
WARM_UP_POLLS = 1000
MOST_GROWTH = 1.05


def test_days_of_troubled_polls_leave_nothing_behind_and_end_in_the_truth(
    tmp_path: Path, soak_polls: int
) -> None:
    with soaked(tmp_path, SEED) as harness:
        figures: list[Figures] = []
        print_table(
            f"A week of trouble in {soak_polls} polls",
            ("polls", "successes", "resident memory", "threads", "file descriptors"),
            map(row, kept(figures, soak(harness, soak_polls))),
        )
        print_troubles(harness)

        assert harness.shown() == pytest.approx(harness.truth(), rel=0, abs=1e-6)
        assert "Traceback" not in harness.log()
        assert "reason=internal" not in harness.log()
        check_figures(figures)
        check_token_requests(harness)


def soak(harness: Harness, polls: int) -> Iterator[Figures]:
    """Let the exporter poll; gives figures from before the first poll, on the way, and from when all is well again."""
    yield harness.figures()
    for number in range(1, polls + 1):
        harness.poll()
        if number == WARM_UP_POLLS:
            harness.recover()  # as at the end, so that like is compared with like
        if number == WARM_UP_POLLS or number % (polls / 20) == 0:
            yield harness.figures()
    harness.recover()
    yield harness.figures()


def kept(figures: list[Figures], source: Iterator[Figures]) -> Iterator[Figures]:
    """The same figures, which are appended to a list."""
    for one in source:
        figures.append(one)
        yield one


def check_figures(figures: Sequence[Figures]) -> None:
    """Nothing has leaked."""
    first, last = figures[0], figures[-1]
    # The threads that ask, and the one that watches over them.
    assert last.threads == first.threads + MOST_CONNECTIONS + 1
    assert first.descriptors + MOST_CONNECTIONS >= last.descriptors
    warm = next((one for one in figures if one.polls >= WARM_UP_POLLS), last)
    assert last.resident_mib <= MOST_GROWTH * warm.resident_mib


def check_token_requests(harness: Harness) -> None:
    """The limits of the token endpoint were kept, and nobody logged in at every poll."""
    assert harness.token_requests.most_within(1) == 1
    assert harness.token_requests.most_within(60) <= 5
    assert 1 < harness.logins < harness.polls / 10


def row(figures: Figures) -> Sequence[str]:
    """The figures as a table has them."""
    return (
        *(str(figures.polls), str(figures.successes), f"{figures.resident_mib:.1f} MiB"),
        *(str(figures.threads), str(figures.descriptors)),
    )


def print_troubles(harness: Harness) -> None:
    """Write what there was."""
    requests = harness.token_requests
    print_table(
        "Token requests, in made-up time",
        ("in all", "logins", "most within a minute", "most within a second"),
        [
            (
                str(len(requests.moments)),
                str(harness.logins),
                str(requests.most_within(60)),
                str(requests.most_within(1)),
            )
        ],
    )
    print_table(
        "Faults",
        ("fault", "polls"),
        ((name, str(polls)) for name, polls in sorted(harness.troubles.troubled.items())),
    )
