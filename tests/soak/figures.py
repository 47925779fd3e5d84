"""What a soak run measures: resources of the exporter's process, and token requests."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from soak.clock import SharedClock


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Resources of the exporter's process at one moment."""

    polls: int
    successes: int
    resident_mib: float
    threads: int
    descriptors: int


@dataclass
class TokenRequests(deque[str]):
    """The simulator's log of requests, which records the times of token requests."""

    clock: SharedClock
    moments: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(maxlen=1)

    def append(self, line: str) -> None:
        """Record a request."""
        if line.startswith("POST ") and line.endswith("/token"):
            self.moments.append(self.clock.monotonic())
        super().append(line)

    def max_within(self, seconds: float) -> int:
        """Return the maximum number of token requests within any such period."""
        maximum = first = 0
        for last, moment in enumerate(self.moments):
            while moment - self.moments[first] >= seconds:
                first += 1
            maximum = max(maximum, last - first + 1)
        return maximum
