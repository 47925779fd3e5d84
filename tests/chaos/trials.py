"""The faults that a server cycles through at random, and what each poll has to make of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random

from exporter.simulator import Simulator
from exporter.vb365.errors import Reason
from support.failure_catalogue import FAILURES, NAME_NOT_RESOLVED, Failure, Series, Strike, Whose

_MIB = 1 << 20
_VALUES = {
    # Longer than a poll may wait, and over when the next one begins: that one is not to suffer from it.
    "throttled_seconds": 5.0,
    "throttled_date": 5.0,
    # Above the bound; the rest would only heat the room.
    "huge_body": 20.0 * _MIB,
    "gzip_bomb": 20.0 * _MIB,
    # Requests: of more than a minute, because tokens are renewed once a minute.
    "token_expires_early": 60.0,
}
_CALM = 0.15
"""How probably nothing is wrong next."""
_RENEWAL_SECONDS = 60.0
# After it a token may be refused once more, and there are token requests left of five in a minute.
_REST_SECONDS = 66.0
_REST_AFTER_EARLY_SECONDS = 400.0


@dataclass(frozen=True, kw_only=True)
class Poll:
    """How a poll ended, by the exporter's own account; Unix seconds."""

    began: float
    ended: float
    reason: str | None
    """None when it is a success."""


@dataclass(frozen=True)
class _Trial:
    """What is wrong for some polls; nothing without a failure."""

    failure: Failure | None = None
    polls: int = 1
    recovers_from: Failure | None = None

    def __str__(self) -> str:
        if self.recovers_from is not None:
            return f"after {self.recovers_from}"
        return "nothing" if self.failure is None else str(self.failure)


class Trials:
    """Puts a simulated server into one state after the other, between polls.

    Attributes:
        polls: how many polls there were in each state.
        succeeded: how many of those were successes.
    """

    def __init__(
        self, simulator: Simulator, ids: dict[Whose, list[str]], password_file: Path, random: Random
    ) -> None:
        self.polls: Counter[str] = Counter()
        self.succeeded: Counter[str] = Counter()
        self._simulator = simulator
        self._ids = ids
        self._password_file = password_file
        self._random = random
        self._deck: list[Failure] = []
        self._trial = _Trial()
        self._left = 1
        self._tokens_rest_until = 0.0
        self._renewed: Poll | None = None
        """The poll in which a token was renewed that was then refused again."""

    @property
    def untried(self) -> set[str]:
        """The failures that have not been on."""
        return {str(failure) for failure in _failures()} - self.polls.keys()

    def judge(self, poll: Poll) -> None:
        """Compare how a poll ended with how it has to.

        Raises:
            AssertionError: it ended otherwise.
        """
        name = str(self._trial)
        self.polls[name] += 1
        self.succeeded[name] += poll.reason is None
        if self._trial.failure is not None and str(self._trial.failure) == "401 for ever":
            self._renewed = self._renewed or poll
        assert poll.reason in self._expected(poll), (name, poll)

    def go_on(self, last: Poll) -> None:
        """Bring the server into the state of the next poll."""
        self._left -= 1
        if self._trial.recovers_from is not None:
            self._left = 0 if last.reason is None else 1
        if self._left == 0:
            before = self._trial
            self._end(before.failure, last)
            self._trial = self._next(before, last)
            self._left = self._trial.polls
            self._begin(self._trial.failure)

    def _expected(self, poll: Poll) -> set[str | None]:
        failure = self._trial.failure
        if failure is not None:
            return {failure.answer.reason}
        if self._trial.recovers_from is None or self._renewed is None:
            return {None}
        # The token of the last renewal is refused, too; whether it is a minute old a poll finds out while it goes on.
        may = poll.ended >= self._renewed.began + _RENEWAL_SECONDS
        must = poll.began >= self._renewed.ended + _RENEWAL_SECONDS
        return {None} if must else {None, Reason.AUTH} if may else {Reason.AUTH}

    def _next(self, before: _Trial, last: Poll) -> _Trial:
        if before.failure is not None and before.failure.held_off_seconds:
            return _Trial(recovers_from=before.failure)
        self._renewed = None
        lacks_token = before.failure is not None and _is_of_tokens(before.failure)
        # Without a token the next failure would strike the login, of which there are not many in a minute.
        if lacks_token or self._random.random() < _CALM:
            return _Trial()
        if not self._deck:
            last_one_open = len(self._ids[Whose.OPEN]) == 1
            self._deck = [
                failure
                for failure in _failures()
                if not (last_one_open and failure.answer.series is Series.ONE_ENDED)
            ]
            self._random.shuffle(self._deck)
            # Its token ends a good while later, when no other may be renewed.
            self._deck.sort(key=_is_early)
        for failure in self._deck:
            if not _is_of_tokens(failure) or last.ended >= self._tokens_rest_until:
                self._deck.remove(failure)
                return _Trial(failure, polls=self._random.choice((1, 1, 1, 2)))
        return _Trial()

    def _begin(self, failure: Failure | None) -> None:
        for strike in failure.strikes if failure else ():
            # The limits of the token endpoint hold all the time.
            if strike.name != "token_throttle":
                self._set(strike)

    def _set(self, strike: Strike) -> None:
        self._simulator.faults.set(
            strike.name,
            route=strike.route,
            session_id=self._ids[strike.whose][0] if strike.whose else None,
            value=_VALUES.get(strike.name, strike.value),
        )

    def _end(self, failure: Failure | None, last: Poll) -> None:
        self._simulator.faults.clear()
        if self._trial.recovers_from is not None:
            self._tokens_rest_until = last.ended + _REST_SECONDS
        if failure is None:
            return
        if failure.answer.series is Series.ONE_ENDED:
            self._ids[Whose.OPEN].pop(0)  # the exporter asks for it no more
        if failure.needs_new_password:
            self._simulator.tokens.password += "+"
            self._password_file.write_text(self._simulator.tokens.password)
        if _is_of_tokens(failure):
            rest = _REST_AFTER_EARLY_SECONDS if _is_early(failure) else _REST_SECONDS
            self._tokens_rest_until = last.ended + rest


def _failures() -> list[Failure]:
    """Those that a server can have and lose while it is asked, each once.

    A refresh token is refused only as the limits of the token endpoint hold: they do all the time here.
    """
    return [
        failure
        for failure in FAILURES
        if "v8" in failure.api_versions
        and failure.answer.series is not Series.STALE
        and not any(
            strike.from_the_start or strike.name == NAME_NOT_RESOLVED for strike in failure.strikes
        )
        and failure.what != "refresh token refused"
    ]


def _is_of_tokens(failure: Failure) -> bool:
    return any(strike.name.startswith("unauthorized") for strike in failure.strikes)


def _is_early(failure: Failure) -> bool:
    return any(strike.name == "token_expires_early" for strike in failure.strikes)
