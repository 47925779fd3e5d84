"""Problems of a configuration, each with its place in the file, and the error that has them all."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Location = tuple[str | int, ...]
"""The keys and list indices that lead from the top of the file to a value."""

_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]")
_MAX_SHOWN_KEY = 64


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in the file: its place (`servers[0].auth`), and what is wrong there."""

    place: str
    message: str

    def __str__(self) -> str:
        # One line, although file names may have line breaks.
        text = f"{self.place}: {self.message}"
        return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has every reason, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=by_place))
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(slots=True, kw_only=True)
class ProblemCollector:
    """Collects the problems of a file, so that one does not hide the next."""

    found: list[Problem] = field(default_factory=list)
    invalid: set[Location] = field(default_factory=set)
    """Places whose value was reported as invalid and dropped."""
    hints: list[Problem] = field(default_factory=list)
    """Characters of the file that may be the cause of its problems."""

    def report(self, location: Location, message: str) -> None:
        """Add a problem."""
        self.found.append(Problem(dotted(location), message))

    def error(self) -> ConfigError:
        """Return the error with all problems and the hints."""
        return ConfigError([*self.found, *self.hints])

    def is_invalid(self, location: Location) -> bool:
        """Return whether the value there, one around it or one inside it was dropped."""
        return any(
            bad[: len(location)] == location or location[: len(bad)] == bad for bad in self.invalid
        )


def dotted(location: Location) -> str:
    """Return `servers[0].auth` for `("servers", 0, "auth")`."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{_shown(step)}"
    return text.removeprefix(".")


def _shown(key: str) -> str:
    """Return a plain word as it is; cut other keys where they stop being one.

    What follows may be a secret: without a space after the colon, `{password:hunter2}` is one key.
    """
    word = _NOT_PLAIN.split(key, maxsplit=1)[0][:_MAX_SHOWN_KEY]
    return word if word and word == key else f"{word}…"


def by_place(problem: Problem) -> list[tuple[int, str]]:
    """Return a sort key that puts servers[2] before servers[10]."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"([0-9]+)", problem.place)
    ]
