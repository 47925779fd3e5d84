"""Problems of a configuration: where they are, what is wrong, and the error with all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["ConfigError", "Location", "Problem", "ProblemCollector", "dotted", "shown_key"]

Location = tuple[str | int, ...]
"""Keys and list indices on the way from the top of the file to a value."""

_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]{0,64}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One line for the user: where in the file (`servers[0].auth`), and what is wrong there."""

    place: str
    message: str

    def __str__(self) -> str:
        # Paths may hold line breaks; a problem is one line all the same.
        text = f"{self.place}: {self.message}"
        return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


class ConfigError(Exception):
    """The configuration cannot be used. `problems` has all of them, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(dict.fromkeys(problems), key=_by_place))
        super().__init__("; ".join(map(str, self.problems)))


@dataclass(slots=True, kw_only=True)
class ProblemCollector:
    """Collects the problems of a file, so that one does not hide the next."""

    found: list[Problem] = field(default_factory=list)
    invalid: set[Location] = field(default_factory=set)
    """Places whose value was reported and left out."""

    def report(self, location: Location, message: str) -> None:
        """Add a problem."""
        self.found.append(Problem(dotted(location), message))

    def is_invalid(self, location: Location) -> bool:
        """Return whether the value there, one around it or one inside it was left out."""
        return any(
            bad[: len(location)] == location or location[: len(bad)] == bad for bad in self.invalid
        )


def dotted(location: Location) -> str:
    """Return `servers[0].auth` for `("servers", 0, "auth")`."""
    text = ""
    for step in location:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{shown_key(step)}" if text else shown_key(step)
    return text


def shown_key(key: str) -> str:
    """Return the key as far as it is a plain word.

    The rest may be a secret: `{password:hunter2}` is one key, as its colon lacks the space.
    """
    plain = _PLAIN_KEY.match(key)
    word = plain.group() if plain else ""
    return word if word == key and word else f"{word}…"


def _by_place(problem: Problem) -> list[tuple[int, str]]:
    """Sort servers[2] before servers[10]."""
    return [
        (int(part), "") if part.isdecimal() else (-1, part)
        for part in re.split(r"([0-9]+)", problem.place)
    ]
