"""What a server suffers in the long run: faults and the end of tokens, at random, but the same for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

from exporter.simulator import Simulator
from exporter.simulator.faults.catalogue import CATALOGUE

_STARTS = 0.25
"""How probably a poll that nothing troubles is the first of some that a fault troubles."""
_MOST_POLLS = 4
_TOKENS_END = 0.03
_MIB = 1 << 20


@dataclass(frozen=True)
class _Trouble:
    """How a fault is set, where that is not as it is by default."""

    weight: float = 1.0
    first: int | None = None
    value: float | None = None


# Timeouts are real: a request that waits for one is rare, and a single one.
_SLOW = _Trouble(weight=0.1, first=1)
_DIFFERENT = {
    "tls_handshake_hangs": _SLOW,
    "silence": _SLOW,
    "slower_than_timeout": _SLOW,
    "one_byte_per_second": _SLOW,
    "slow_headers": _SLOW,
    "slow_body": _SLOW,
    "huge_body": _Trouble(weight=0.3, value=20 * _MIB),
    "gzip_bomb": _Trouble(weight=0.3, value=20 * _MIB),
    "throttled_seconds": _Trouble(value=100),
    "throttled_date": _Trouble(value=100),
}


class Troubles:
    """Sets faults of a simulator, ends them, and ends its tokens.

    Attributes:
        troubled: how many polls each fault was set for.
    """

    def __init__(self, simulator: Simulator, random: Random) -> None:
        self.troubled: Counter[str] = Counter()
        self._simulator = simulator
        self._random = random
        self._names = list(CATALOGUE)
        self._weights = [_DIFFERENT.get(name, _Trouble()).weight for name in self._names]
        self._name: str | None = None
        self._polls_left = 0

    def before_poll(self) -> None:
        """Bring the server into the state of the next poll."""
        if self._polls_left == 0:
            self.end()
            if self._random.random() < _STARTS:
                self._begin()
        self._polls_left = max(0, self._polls_left - 1)
        if self._name is not None:
            self.troubled[self._name] += 1
        if self._random.random() < _TOKENS_END:
            self._simulator.tokens.revoke_all(refresh_too=self._random.random() < 0.5)

    def end(self) -> None:
        """Let the server be well."""
        if self._name is not None:
            self._simulator.faults.clear()
            self._name = None

    def _begin(self) -> None:
        (self._name,) = self._random.choices(self._names, self._weights)
        self._polls_left = self._random.randint(1, _MOST_POLLS)
        definition = CATALOGUE[self._name]
        how = _DIFFERENT.get(self._name, _Trouble())
        self._simulator.faults.set(self._name, first=how.first, value=how.value)
        if definition.route == "token":
            self._simulator.tokens.revoke_all(refresh_too=definition.grant_type != "refresh_token")
