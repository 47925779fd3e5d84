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


@dataclass(frozen=True)
class _Parameters:
    """Parameters of a fault that differ from its defaults."""

    weight: float = 1.0
    first: int | None = None
    value: float | None = None


# Timeouts take real time: such faults are rare and affect a single request.
_SLOW = _Parameters(weight=0.1, first=1)
_PARAMETERS = {
    # They are counted as if they existed, so that no truth is left to compare with.
    "endless_sessions": _Parameters(weight=0.0),
    # The soak requests neither a change feed nor extras.
    "feed_unknown_sessions": _Parameters(weight=0.0),
    "feed_repeats_deletes": _Parameters(weight=0.0),
    "many_events": _Parameters(weight=0.0),
    "tls_handshake_hangs": _SLOW,
    "silence": _SLOW,
    "slower_than_timeout": _SLOW,
    "one_byte_per_second": _SLOW,
    "slow_headers": _SLOW,
    "slow_body": _SLOW,
    "huge_body": _Parameters(weight=0.3, value=20 * _MIB),
    "gzip_bomb": _Parameters(weight=0.3, value=20 * _MIB),
    "odd_json": _Parameters(weight=0.3),
    "throttled_seconds": _Parameters(value=100),
    "throttled_date": _Parameters(value=100),
}


class RandomFaults:
    """Sets and clears faults of a simulator, and revokes its tokens.

    Attributes:
        polls: number of polls with each fault.
    """

    def __init__(self, simulator: Simulator, random: Random) -> None:
        self.polls: Counter[str] = Counter()
        self._simulator = simulator
        self._random = random
        self._names = list(CATALOGUE)
        self._weights = [_PARAMETERS.get(name, _Parameters()).weight for name in self._names]
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

    def end(self) -> None:
        """End the fault."""
        if self._name is not None:
            self._simulator.faults.clear()
            self._name = None

    def _begin(self) -> None:
        (self._name,) = self._random.choices(self._names, self._weights)
        self._polls_left = self._random.randint(1, _MAX_POLLS)
        definition = CATALOGUE[self._name]
        parameters = _PARAMETERS.get(self._name, _Parameters())
        self._simulator.faults.set(self._name, first=parameters.first, value=parameters.value)
        if definition.route == "token":
            self._simulator.tokens.revoke_all(refresh_too=definition.grant_type != "refresh_token")
