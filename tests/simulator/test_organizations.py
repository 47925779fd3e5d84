from __future__ import annotations

from typing import Any

import pytest
from simulator.support import Client, Simulate, WallClock

from exporter.simulator.world.world import World

NAMES = ["Contoso.Onmicrosoft.Com", 'Fabrikam "North", Inc.', None, "tailspin-toys.onmicrosoft.com"]


@pytest.fixture
def client(simulate: Simulate) -> Client:
    """A client of a simulator with three organizations that restore and one that does not."""
    return simulate(world=World(organizations=3, activity=False, clock=WallClock()))


def names(records: list[dict[str, Any]]) -> list[str | None]:
    return [record.get("name") for record in records]


@pytest.mark.parametrize("version", ["v6", "v7"])
def test_organizations_are_an_array_until_v7(client: Client, version: str) -> None:
    assert names(client.json(f"/{version}/Organizations", limit=1)) == NAMES


def test_organizations_are_pages_in_v8(client: Client) -> None:
    first = client.json("/v8/Organizations", limit=3, extendedView="false")
    second = client.json(first["_links"]["next"]["href"])

    assert names(first["results"]) == NAMES[:3]
    assert first["_links"]["next"]["href"] == (
        "/v8/Organizations?offset=3&limit=3&extendedView=false"
    )
    assert names(second["results"]) == NAMES[3:]
    assert "next" not in second["_links"]


def test_organizations_miss_what_real_servers_leave_out(client: Client) -> None:
    first, second, third, _ = client.json("/v7/Organizations")

    assert (first["officeName"], first["isBackedup"]) == ("Contoso", True)
    assert second["isBackedup"] is None
    assert "officeName" not in second
    assert "name" not in third
    assert third["officeName"] == "Müller & Söhne GmbH"


@pytest.mark.parametrize(
    ("version", "query", "extended"),
    [
        ("v6", {}, True),
        ("v6", {"extendedView": "false"}, False),
        ("v7", {}, False),
        ("v7", {"extendedview": "True"}, True),
    ],
)
def test_the_extended_view_has_the_settings_of_services(
    client: Client, version: str, query: dict[str, str], *, extended: bool
) -> None:
    organization = client.json(f"/{version}/Organizations", **query)[0]

    assert ("exchangeOnlineSettings" in organization) == extended


def test_an_unusable_extended_view_is_a_400(client: Client) -> None:
    assert client.get("/v8/Organizations", extendedView="some").status_code == 400


def test_the_truth_names_organizations_as_sessions_do(client: Client) -> None:
    assert client.json("/_simulator/truth")["organizations"] == [
        "contoso.onmicrosoft.com",
        'Fabrikam "North", Inc.',
        "Müller & Söhne GmbH",
        "tailspin-toys.onmicrosoft.com",
    ]


def test_organizations_can_be_forbidden(client: Client) -> None:
    client.simulator.faults.set("forbidden", route="organizations")

    assert client.get("/v8/Organizations").status_code == 403
    assert client.get("/v8/RestoreSessions").status_code == 200


@pytest.mark.parametrize("version", ["v7", "v8"])
@pytest.mark.parametrize(
    ("fault", "damaged"),
    [
        ("wrong_type_top", "a string"),
        ("wrong_type_record", "session 0"),
        ("wrong_type_field", 17),
        ("nulls", None),
    ],
)
def test_organizations_can_be_damaged(
    client: Client, version: str, fault: str, damaged: object
) -> None:
    client.simulator.faults.set(fault, route="organizations")
    body = client.json(f"/{version}/Organizations")
    records = body["results"] if isinstance(body, dict) else body
    first = body if isinstance(body, str) else records[0]

    assert (first["name"] if isinstance(first, dict) else first) == damaged


def test_the_product_version_can_be_chosen(simulate: Simulate) -> None:
    client = simulate(product_version="8.6.0.1")

    assert client.json("/v8/ServiceInstance")["version"] == "8.6.0.1"
