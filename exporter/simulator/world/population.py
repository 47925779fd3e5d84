"""Seeded generation of operators and sessions, with hostile names."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random
from typing import TypedDict

from exporter.simulator.world.sessions import (
    TICKS_PER_SECOND,
    Session,
    datetime_from_ticks,
    details_of,
)

TYPES = ("Vex", "Veod", "Vesp", "Vet")
RESULTS = ("Success", "Warning", "Failed")

_EXPLORERS = {
    "Vex": "Exchange restore",
    "Veod": "OneDrive restore",
    "Vesp": "SharePoint restore",
    "Vet": "Teams restore",
}
_SCOPES = (
    "Entire organization",
    "All organizations",
    "Job: Office 365 Suite to Blob",
    'Job: "Quarterly", \\\\nas01\\backup',
    "Job: Größe & Übersicht",
    "Job: 財務部, メール",
)
_OPERATORS = (
    "SRV0101\\Administrator",
    "CONTOSO\\svc-helpdesk",
    "CONTOSO\\Zoë.Ångström",
    "FABRIKAM\\o'brien",
    "contoso.onmicrosoft.com",  # the form seen through Cloud Connect
)
_HOSTS = (
    "SRV (via: 10.0.0.1)",
    "srv0101 (via: 127.0.0.1)",
    "HELPDESK-07 (via: 10.20.0.15)",
)
_PORTAL_SCOPES = ("Finance team", "Zoë Ångström")
_REASONS = ("Ticket 4711: mail deleted by mistake", 'Legal hold, "Project Ü"')
_MAX_ITEMS = 24
_MAX_VIEWED = 2
_DAYS_TO_RESTORE_POINT = 5


class _Person(TypedDict):
    initiated_by: str
    client_host: str
    scope_name: str


class _Subject(TypedDict):
    id: str
    name: str
    organization: str | None
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The future of a new session: its duration, result and items."""

    duration_seconds: float
    result: str
    items: str

    @property
    def duration(self) -> int:
        """The duration in ticks."""
        return int(self.duration_seconds * TICKS_PER_SECOND)


class Population:
    """Generates sessions that look like those of real servers, reproducibly for the same random source.

    Args:
        random: the random source.
        organizations: the names of the organizations that restore; without any, sessions have no organization.
    """

    def __init__(self, random: Random, organizations: tuple[str, ...]) -> None:
        self._organizations = organizations
        self._random = random

    def new_id(self) -> str:
        """Return a random UUID (version 4) in lower case."""
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"

    def open_session(self, created: int) -> Session:
        """Return a new session: without details and reason, and already with the result Success."""
        return Session(
            **self._person(),
            **self._subject(self.type(), created),
            created=created,
            ended=None,
            state="Working",
            result="Success",
        )

    def finished_session(
        self, *, created: int, ended: int, type_: str, result: str, items: str, e_tag: int
    ) -> Session:
        """Return a finished session."""
        person = self._person()
        return Session(
            **person,
            **self._subject(type_, created),
            created=created,
            ended=ended,
            state="Stopped",
            result=result,
            items=items,
            details=details_of(items),
            reason=self._pick(_REASONS) if person["scope_name"] else "",
            e_tag=e_tag,
        )

    def close_session(self, opened: Session, ended: int, *, result: str) -> Session:
        """Return the session after its end; sessions of the Restore Portal have a reason."""
        return replace(
            opened,
            ended=ended,
            state="Stopped",
            result=result,
            details=details_of(opened.items),
            reason=self._pick(_REASONS) if opened.scope_name else "",
        )

    def result(self) -> str:
        """Return a random result, mostly Success."""
        draw = self._random.random()
        return "Success" if draw < 0.82 else "Warning" if draw < 0.92 else "Failed"

    def items(self, result: str) -> str:
        """Return random item outcomes that fit the result; in some successful sessions, items were only viewed."""
        random = self._random
        count = int(random.random() ** 2 * _MAX_ITEMS)
        letters = ["rrrro"[random.getrandbits(3) % 5] for _ in range(count)]
        if result != "Success":
            letters.append("w" if result == "Warning" else "f")
            letters.append("sc"[random.getrandbits(1)])
            random.shuffle(letters)
        elif count <= _MAX_VIEWED:
            letters = ["o"] * count
        return "".join(letters)

    def plan(self) -> Plan:
        """Return the plan of a new session that takes 10 s to 3 min."""
        result = self.result()
        return Plan(
            duration_seconds=self._random.uniform(10, 180), result=result, items=self.items(result)
        )

    def truncate(self, ticks: int) -> int:
        """Truncate a time so that its timestamp has 0 to 7 fractional digits, mostly 7."""
        unit = int(10 ** max(0, self._random.randrange(12) - 4))
        return ticks // unit * unit

    def type(self) -> str:
        """Return a random type."""
        return self._pick(TYPES)

    def _person(self) -> _Person:
        through_portal = self._random.random() < 0.1
        return {
            "initiated_by": self._pick(_OPERATORS),
            "client_host": self._pick(_HOSTS),
            "scope_name": self._pick(_PORTAL_SCOPES) if through_portal else "",
        }

    def _subject(self, type_: str, created: int) -> _Subject:
        point = self._restore_point(created)
        return {
            "id": self.new_id(),
            "name": f"{_EXPLORERS[type_]} ({self._pick(_SCOPES)} - {point})",
            "organization": self._pick(self._organizations) if self._organizations else None,
            "type": type_,
        }

    def _pick(self, options: tuple[str, ...]) -> str:
        return options[int(self._random.random() * len(options))]

    def _restore_point(self, created: int) -> str:
        """Return the time of a restore point in the server's culture, en-US or en-NZ."""
        point = datetime_from_ticks(created) - timedelta(
            seconds=self._random.random() * _DAYS_TO_RESTORE_POINT * 86_400
        )
        clock = f"{point.hour % 12 or 12}:{point.minute:02}:{point.second:02}"
        half = "AM" if point.hour < 12 else "PM"
        if self._random.random() < 0.2:
            return f"{point.day:02}/{point.month:02}/{point.year} {clock} {half}"
        return f"{point.month}/{point.day}/{point.year} {clock} {half}"
