from __future__ import annotations

import pytest

from exporter.polling.organizations import KnownOrganizations
from exporter.vb365.records.organization import Organization
from support.ledger_harness import sessions_config

CONTOSO = Organization("Contoso.onmicrosoft.com")
IDLE = Organization("idle.example.com", "Idle")


def tenants(count: int) -> list[Organization]:
    return [Organization(f"tenant-{number}") for number in range(count)]


def seen(*sessions: str, max_organizations: int = 100) -> KnownOrganizations:
    """Organizations that sessions named, each a second after the one before it."""
    organizations = KnownOrganizations(sessions_config(max_sessions=max_organizations))
    for seconds, organization in enumerate(sessions):
        organizations.add(organization, float(seconds))
    return organizations


def test_organizations_are_known_once_in_the_order_they_were_seen() -> None:
    assert seen("b", "a", "b").names() == ("b", "a")


def test_more_organizations_than_the_maximum_are_left_out_unless_they_are_required_up_to_twice_as_many() -> (
    None
):
    organizations = seen("a", "b", max_organizations=2)

    assert organizations.add("c", 9.0) is False
    assert organizations.add("b", 9.0) is True
    assert organizations.add("d", 9.0, required=True) is True
    assert organizations.add("e", 9.0, required=True) is True
    assert organizations.add("f", 9.0, required=True) is False
    assert organizations.names() == ("a", "b", "d", "e")


def test_organizations_that_were_not_seen_for_long_are_forgotten_unless_they_are_kept() -> None:
    organizations = seen("a", "b", "c", "d", "a")

    organizations.forget(3.0, keep=("c",))

    assert organizations.names() == ("a", "c", "d")


def test_those_that_are_not_kept_make_room() -> None:
    organizations = seen("a", "b", "c", max_organizations=2)
    was_full = organizations.is_full

    organizations.make_room(keep=("b", "z"))

    assert (was_full, organizations.is_full) == (True, False)
    assert organizations.names() == ("b",)
    assert organizations.add("c", 9.0)


def known(
    *listed: Organization, sessions: tuple[str, ...] = (), max_organizations: int = 100
) -> tuple[str, ...]:
    organizations = seen(*sessions, max_organizations=max_organizations)
    organizations.set_listed(listed)
    return organizations.names()


def test_the_sessions_decide_how_an_organization_is_written() -> None:
    assert known(CONTOSO, sessions=("contoso.ONMICROSOFT.com",)) == ("contoso.ONMICROSOFT.com",)
    assert known(IDLE, sessions=("IDLE",)) == ("IDLE",)
    assert known(Organization("", "Idle")) == ("Idle",)


def test_two_organizations_of_one_name_are_one() -> None:
    assert known(IDLE, Organization("idle.example.com", "Other")) == ("idle.example.com",)


def test_a_session_means_the_organization_of_that_name_before_one_of_that_office_name() -> None:
    alpha = Organization("alpha", "Shared.onmicrosoft.com")
    shared = Organization("shared.onmicrosoft.com")
    nameless = Organization("", "SHARED.onmicrosoft.com")

    for listed in ((alpha, shared), (shared, alpha), (alpha, shared, nameless)):
        assert known(*listed, sessions=("shared.onmicrosoft.com",)) == (
            "shared.onmicrosoft.com",
            "alpha",
        )
    assert known(alpha, sessions=("shared.onmicrosoft.com",)) == ("shared.onmicrosoft.com",)


def test_listed_organizations_take_the_room_that_sessions_leave() -> None:
    assert known(*tenants(9), sessions=("a", "b"), max_organizations=4) == (
        *("a", "b"),
        *("tenant-0", "tenant-1"),
    )
    assert known(*tenants(9), sessions=("a", "b"), max_organizations=2) == ("a", "b")


@pytest.mark.parametrize(
    ("before", "now", "believed"), [(0, 0, True), (4, 2, True), (5, 2, False), (5, 0, False)]
)
def test_a_list_with_half_of_the_organizations_is_believed_and_one_with_fewer_is_not(
    before: int, now: int, *, believed: bool
) -> None:
    organizations = seen(max_organizations=3)
    if before:
        organizations.set_listed(tenants(before))

    assert organizations.believes(tenants(now)) is believed


def test_listed_organizations_beyond_the_maximum_change_nothing() -> None:
    organizations = seen(max_organizations=4)

    changed = [organizations.set_listed(tenants(count)) for count in (4, 5, 3)]

    assert changed == [True, False, True]


@pytest.mark.parametrize(
    ("listed", "sessions", "left_out"),
    [(4, (), 0), (6, (), 2), (6, ("tenant-5",), 2), (4, ("gone",), 1), (1, tuple("abcde"), 1)],
)
def test_listed_organizations_that_are_not_known_are_those_left_out(
    listed: int, sessions: tuple[str, ...], left_out: int
) -> None:
    organizations = seen(*sessions, max_organizations=4)
    if len(sessions) > 4:
        organizations.add(sessions[4], 9.0, required=True)
    organizations.set_listed(tenants(listed))

    shown = {one.label for one in tenants(listed)}.intersection(organizations.names())
    assert (organizations.left_out, listed - len(shown)) == (left_out, left_out)
