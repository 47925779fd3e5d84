"""An organization that VB365 knows, parsed from untrusted JSON.

Source: `GET /v6/Organizations`. None of its fields is required.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from exporter.vb365.records.fields import RejectionReason, read_strings


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization; one of its names is not empty."""

    name: str = ""
    """`name`, such as `contoso.onmicrosoft.com`."""
    office_name: str = ""
    """`officeName`."""
    id: str = field(default="", compare=False)
    """`id`; two records with the same names are one organization."""

    @property
    def label(self) -> str:
        """The value of the `organization` label while no session names the organization."""
        return self.name or self.office_name

    @property
    def session_names(self) -> set[str]:
        """How restore sessions may name it (`organization`), case-folded."""
        return {name.casefold() for name in (self.name, self.office_name) if name}


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationRejection:
    """A record that is no organization with a name."""

    reason: RejectionReason
    field: str = ""
    """The missing or invalid field, as the API names it; empty if the record is not an object."""
    id: str = ""
    """`id`; empty if the record has none that can be read."""


def without_sessions(
    organizations: Collection[Organization], named: set[str]
) -> Iterator[Organization]:
    """Yield the organizations that no session names.

    Sessions name an organization by its `name`, or by its `officeName` if that is not the `name` of another one.

    Args:
        organizations: all that the server lists.
        named: the organizations that sessions name, case-folded.
    """
    names = {one.name.casefold() for one in organizations}
    for one in organizations:
        if named.isdisjoint((one.session_names - names) | {one.label.casefold()}):
            yield one


def parse_organization(record: object) -> Organization | OrganizationRejection:
    """Parse one record, any JSON value; reject it if it has no name that can be read."""
    if not isinstance(record, dict):
        return OrganizationRejection(reason=RejectionReason.NOT_AN_OBJECT)
    texts = {field: value for field, value in record.items() if isinstance(value, str)}
    organization = Organization(*read_strings(texts, ("name", "officeName", "id")))
    if organization.label:
        return organization
    invalid = [
        field
        for field in ("name", "officeName")
        if field not in texts and record.get(field) is not None
    ]
    return OrganizationRejection(
        reason=RejectionReason.WRONG_TYPE if invalid else RejectionReason.MISSING_FIELD,
        field=invalid[0] if invalid else "name",
        id=organization.id,
    )
