"""The organizations of the simulated server, with hostile names."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import NAMESPACE_OID, uuid5

_NAMES = (
    "contoso.onmicrosoft.com",
    'Fabrikam "North", Inc.',
    "Müller & Söhne GmbH",
    "NORTHWIND\\Tenant",
    "日本支社.onmicrosoft.com",
    "adventure-works.onmicrosoft.com",
)
NEVER_RESTORED = "tailspin-toys.onmicrosoft.com"
"""The organization of every world that has no restore session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization (`GET /v6/Organizations`).

    `session_name` is how its restore sessions name it. The API may write it in another case, or as `office_name` alone.
    An empty `name` or `office_name` is absent in the API; an `is_backed_up` of None is null.
    """

    session_name: str
    name: str
    office_name: str = ""
    is_backed_up: bool | None = True

    @property
    def id(self) -> str:
        """The id, which the events of v8 contain, too."""
        return str(uuid5(NAMESPACE_OID, self.session_name))


def organizations_of(number: int, *, never_restored: bool) -> tuple[Organization, ...]:
    """Return this many organizations, and another one that never restored anything if `never_restored`."""
    names = [_name(position) for position in range(number)]
    organizations = [_organization(position, name) for position, name in enumerate(names)]
    if never_restored:
        organizations.append(Organization(session_name=NEVER_RESTORED, name=NEVER_RESTORED))
    return tuple(organizations)


def _organization(position: int, name: str) -> Organization:
    """Return an organization; the first three show what the API does with names and nulls."""
    match position:
        case 0:
            return Organization(session_name=name, name=name.title(), office_name="Contoso")
        case 1:
            return Organization(session_name=name, name=name, is_backed_up=None)
        case 2:
            return Organization(session_name=name, name="", office_name=name)
        case _:
            return Organization(session_name=name, name=name, is_backed_up=position % 4 != 3)


def _name(position: int) -> str:
    if position < len(_NAMES):
        return _NAMES[position]
    return f"tenant-{position + 1:04}.onmicrosoft.com"
