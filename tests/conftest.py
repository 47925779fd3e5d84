"""Options and settings of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from support.processes import RELEASES, programs_of

# The duration of an example depends on the machine rather than on the code.
settings.register_profile("untimed", deadline=None)
# About ten minutes on two cores.
settings.register_profile("fuzz", settings.get_profile("untimed"), max_examples=10_000)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options for the length of random runs."""
    add = parser.addoption
    add("--chaos-seconds", type=int, default=60, help="duration of the chaos run in seconds (60)")
    add(
        "--restarts-seconds",
        type=int,
        default=60,
        help="duration of the restart run in seconds (60)",
    )
    add("--soak-polls", type=int, default=200, help="number of polls of the soak run (200)")


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest) -> Iterator[str]:
    """Run a test with the Prometheus, Alertmanager and VictoriaMetrics of each release; return which."""
    with programs_of(request.param):
        yield request.param


@pytest.fixture
def chaos_seconds(request: pytest.FixtureRequest) -> int:
    seconds: int = request.config.getoption("--chaos-seconds")
    return seconds


@pytest.fixture
def restarts_seconds(request: pytest.FixtureRequest) -> int:
    seconds: int = request.config.getoption("--restarts-seconds")
    return seconds


@pytest.fixture
def soak_polls(request: pytest.FixtureRequest) -> int:
    polls: int = request.config.getoption("--soak-polls")
    return polls
