"""Random but reproducible faults and revoked tokens of a server over a long time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from exporter.simulator import Simulator
from exporter.simulator.faults.catalogue import CATALOGUE

_START_PROBABILITY = 0.25
"""The probability that a fault starts at a poll without one."""
_MAX_POLLS = 4
_REVOKE_PROBABILITY = 0.03
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class _Scenario:
    """A fault with parameters that differ from its defaults."""

    fault: str
    weight: float = 1.0
    route: str | None = None
    first: int | None = None
    value: float | None = None
    harmless: bool = False
    """Polls succeed, and show all sessions as they are, in spite of the fault."""


def _named(*scenarios: _Scenario) -> dict[str, _Scenario]:
    return {
        " ".join(filter(None, (scenario.fault, scenario.route))): scenario for scenario in scenarios
    }


def _slow(fault: str) -> _Scenario:
    """Return a scenario whose timeouts take real time: it is rare and affects a single request."""
    return _Scenario(fault=fault, weight=0.1, first=1)


_SCENARIOS = _named(
    *(_Scenario(fault=name) for name in CATALOGUE),
    _slow("tls_handshake_hangs"),
    _slow("silence"),
    _slow("slower_than_timeout"),
    _slow("one_byte_per_second"),
    _slow("slow_headers"),
    _slow("slow_body"),
    _Scenario(fault="huge_body", weight=0.3, value=20 * _MIB),
    _Scenario(fault="odd_json", weight=0.3),
    _Scenario(fault="gzip_bomb", weight=0.3, value=20 * _MIB),
    _Scenario(fault="throttled_seconds", value=100),
    _Scenario(fault="throttled_date", value=100),
    # Its sessions are counted as if they existed, so that no truth is left to compare with.
    _Scenario(fault="endless_sessions", weight=0.0),
    # The exporter follows no change feed here.
    _Scenario(fault="feed_unknown_sessions", weight=0.0),
    _Scenario(fault="feed_repeats_deletes", weight=0.0),
    _Scenario(fault="feed_unknown_events", weight=0.0),
    # It is read until half of the poll interval has passed, in real time.
    _Scenario(fault="many_events", weight=0.0),
    _Scenario(fault="token_lifetime", harmless=True),
    _Scenario(fault="interim_responses", harmless=True),
    _Scenario(fault="cookies", harmless=True),
    _Scenario(fault="throttled_seconds", route="statistics", value=900, harmless=True),
    _Scenario(fault="throttled_seconds", route="events", value=900, harmless=True),
    _Scenario(fault="silence", weight=0.3, route="statistics", harmless=True),
    _Scenario(fault="silence", weight=0.3, route="events", harmless=True),
    _Scenario(fault="huge_body", weight=0.3, route="events", value=20 * _MIB, harmless=True),
)


class RandomFaults:
    """Sets and clears faults of a simulator, and revokes its tokens.

    Attributes:
        polls: number of polls with each fault.
    """

    def __init__(self, simulator: Simulator, random: Random) -> None:
        self.polls: Counter[str] = Counter()
        self._simulator = simulator
        self._random = random
        self._weights = [scenario.weight for scenario in _SCENARIOS.values()]
        self._name: str | None = None
        self._polls_left = 0

    def before_poll(self) -> None:
        """Prepare the server for the next poll."""
        if self._polls_left == 0:
            self.end()
            if self._random.random() < _START_PROBABILITY:
                self._begin()
        self._polls_left = max(0, self._polls_left - 1)
        if self._name is not None:
            self.polls[self._name] += 1
        if self._random.random() < _REVOKE_PROBABILITY:
            self._simulator.tokens.revoke_all(refresh_too=self._random.random() < 0.5)

    @property
    def harmless(self) -> bool:
        """Whether a poll that succeeds now shows all sessions as they are."""
        return self._name is None or _SCENARIOS[self._name].harmless

    def end(self) -> None:
        """End the fault."""
        if self._name is not None:
            self._simulator.faults.clear()
            self._name = None

    def _begin(self) -> None:
        (self._name,) = self._random.choices(list(_SCENARIOS), self._weights)
        self._polls_left = self._random.randint(1, _MAX_POLLS)
        scenario = _SCENARIOS[self._name]
        definition = CATALOGUE[scenario.fault]
        self._simulator.faults.set(
            scenario.fault, route=scenario.route, first=scenario.first, value=scenario.value
        )
        if definition.route == "token":
            self._simulator.tokens.revoke_all(refresh_too=definition.grant_type != "refresh_token")
