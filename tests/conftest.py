"""What holds for all tests."""

from __future__ import annotations

import pytest
from hypothesis import settings

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
# About ten minutes on two cores.
settings.register_profile("fuzz", settings.get_profile("untimed"), max_examples=10_000)
settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How long the tests go on that are the better the longer they are."""
    add = parser.addoption
    add("--chaos-seconds", type=int, default=60, help="how long a server is in trouble (60)")
    add("--restarts-seconds", type=int, default=60, help="how long things restart (60)")
    add("--soak-polls", type=int, default=200, help="how many polls a server is in trouble (200)")


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
