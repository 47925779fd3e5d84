"""The random sequence of a server's failures, and the outcome that each poll must have."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from exporter.simulator import Simulator
from exporter.vb365.errors import Reason
from support.failure_catalogue import (
    FAILURES,
    NAME_NOT_RESOLVED,
    Failure,
    FaultSetting,
    Series,
    SessionRole,
)

_MIB = 1 << 20
_VALUES = {
    # Longer than a poll may wait, but over before the next poll.
    "throttled_seconds": 5.0,
    "throttled_date": 5.0,
    # Just above the bound.
    "huge_body": 20.0 * _MIB,
    "gzip_bomb": 20.0 * _MIB,
    # More requests than one minute has, because tokens are renewed at most once a minute.
    "token_expires_early": 60.0,
}
_CALM_PROBABILITY = 0.15
"""The probability of a phase without a failure."""
_RENEWAL_SECONDS = 60.0
# Afterwards a token may be refused again, and the five token requests a minute are available again.
_REST_SECONDS = 66.0
_REST_AFTER_EARLY_SECONDS = 400.0


@dataclass(frozen=True, kw_only=True)
class Poll:
    """A poll as the exporter reported it; times in Unix seconds."""

    began: float
    ended: float
    reason: str | None
    """None when the poll succeeded."""


@dataclass(frozen=True)
class _Phase:
    """The failure that lasts for some polls, if any."""

    failure: Failure | None = None
    polls: int = 1
    recovers_from: Failure | None = None

    def __str__(self) -> str:
        if self.recovers_from is not None:
            return f"after {self.recovers_from}"
        return "nothing" if self.failure is None else str(self.failure)


class Schedule:
    """Changes the failure of a simulated server between polls.

    Attributes:
        polls: number of polls in each phase.
        succeeded: number of successful polls in each phase.
    """

    def __init__(
        self,
        simulator: Simulator,
        ids: dict[SessionRole, list[str]],
        password_file: Path,
        random: Random,
    ) -> None:
        self.polls: Counter[str] = Counter()
        self.succeeded: Counter[str] = Counter()
        self._simulator = simulator
        self._ids = ids
        self._password_file = password_file
        self._random = random
        self._deck: list[Failure] = []
        self._phase = _Phase()
        self._left = 1
        self._tokens_rest_until = 0.0
        self._renewed: Poll | None = None
        """The poll that renewed a token which was then refused as well."""

    @property
    def untried(self) -> set[str]:
        """The failures that have not occurred yet."""
        return {str(failure) for failure in _failures()} - self.polls.keys()

    def check(self, poll: Poll) -> None:
        """Check the outcome of a poll.

        Raises:
            AssertionError: the outcome is not the expected one.
        """
        name = str(self._phase)
        self.polls[name] += 1
        self.succeeded[name] += poll.reason is None
        if self._phase.failure is not None and str(self._phase.failure) == "401 persistently":
            self._renewed = self._renewed or poll
        assert poll.reason in self._expected(poll), (name, poll)

    def advance(self, last: Poll) -> None:
        """Prepare the server for the next poll."""
        self._left -= 1
        if self._phase.recovers_from is not None:
            self._left = 0 if last.reason is None else 1
        if self._left == 0:
            before = self._phase
            self._end(before.failure, last)
            self._phase = self._next(before, last)
            self._left = self._phase.polls
            self._begin(self._phase.failure)

    def _expected(self, poll: Poll) -> set[str | None]:
        failure = self._phase.failure
        if failure is not None:
            return {failure.handling.reason}
        if self._phase.recovers_from is None or self._renewed is None:
            return {None}
        # The renewed token is refused, too; it may be renewed again once it is a minute old.
        may = poll.ended >= self._renewed.began + _RENEWAL_SECONDS
        must = poll.began >= self._renewed.ended + _RENEWAL_SECONDS
        return {None} if must else {None, Reason.AUTH} if may else {Reason.AUTH}

    def _next(self, before: _Phase, last: Poll) -> _Phase:
        if before.failure is not None and before.failure.backoff_seconds:
            return _Phase(recovers_from=before.failure)
        self._renewed = None
        # Without a token the next failure would affect the login, and logins are rate-limited. Sessions in an unknown state
        # count as running: the next failure would affect their requests by id.
        needs_calm = before.failure is not None and (
            _refuses_tokens(before.failure) or _makes_states_unknown(before.failure)
        )
        if needs_calm or self._random.random() < _CALM_PROBABILITY:
            return _Phase()
        if not self._deck:
            self._deck = list(_failures())
            self._random.shuffle(self._deck)
            # A token that expires early blocks other renewals for a long time: it comes last.
            self._deck.sort(key=_expires_early)
        for failure in self._deck:
            if not _refuses_tokens(failure) or last.ended >= self._tokens_rest_until:
                self._deck.remove(failure)
                return _Phase(failure, polls=self._random.choice((1, 1, 1, 2)))
        return _Phase()

    def _begin(self, failure: Failure | None) -> None:
        for fault in failure.faults if failure else ():
            # The rate limit of the token endpoint is always active.
            if fault.name != "token_throttle":
                self._set(fault)

    def _set(self, fault: FaultSetting) -> None:
        self._simulator.faults.set(
            fault.name,
            route=fault.route,
            session_id=self._ids[fault.role][0] if fault.role else None,
            value=_VALUES.get(fault.name, fault.value),
        )

    def _end(self, failure: Failure | None, last: Poll) -> None:
        self._simulator.faults.clear()
        if self._phase.recovers_from is not None:
            self._tokens_rest_until = last.ended + _REST_SECONDS
        if failure is None:
            return
        if failure.needs_new_password:
            self._simulator.tokens.password += "+"
            self._password_file.write_text(self._simulator.tokens.password)
        if _refuses_tokens(failure):
            rest = _REST_AFTER_EARLY_SECONDS if _expires_early(failure) else _REST_SECONDS
            self._tokens_rest_until = last.ended + rest


def _failures() -> list[Failure]:
    """Return the failures that can start and end while the server runs.

    A refused refresh token alone is left out: with the rate limit always active, the row with the limit covers it.
    """
    return [
        failure
        for failure in FAILURES
        if "v8" in failure.api_versions
        and failure.handling.series is not Series.STALE
        and not any(fault.from_start or fault.name == NAME_NOT_RESOLVED for fault in failure.faults)
        and failure.title != "refresh token refused"
    ]


def _refuses_tokens(failure: Failure) -> bool:
    return any(fault.name.startswith("unauthorized") for fault in failure.faults)


def _makes_states_unknown(failure: Failure) -> bool:
    return any(fault.name == "unknown_enums" for fault in failure.faults)


def _expires_early(failure: Failure) -> bool:
    return any(fault.name == "token_expires_early" for fault in failure.faults)
