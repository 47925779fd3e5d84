from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from vb365.support import URL, FakeTime, Recorder, requested

from exporter.vb365.client import Client
from exporter.vb365.errors import (
    BadResponseError,
    ForbiddenError,
    RecordsMovedError,
    RequestTimeoutError,
)
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.organization import Organization, OrganizationRejection

MakeClient = Callable[..., Client]

ORGANIZATIONS = f"{URL}/v7/Organizations"
CONTOSO = Organization("contoso.onmicrosoft.com")
FABRIKAM = Organization("", "Fabrikam")

pytestmark = pytest.mark.usefixtures("logins")


def page(*records: object, limit: int, offset: int = 0) -> dict[str, object]:
    return {"offset": offset, "limit": limit, "results": list(records)}


def named(number: int) -> dict[str, str]:
    return {"id": str(number), "name": f"tenant-{number}"}


def test_an_array_of_organizations_is_read_with_one_request(
    api: responses.RequestsMock, make_client: MakeClient, observer: Recorder
) -> None:
    records = [
        {"id": "1", "name": "contoso.onmicrosoft.com", "isBackedup": None},
        {"id": "2", "officeName": "Fabrikam"},
    ]
    api.get(ORGANIZATIONS, json=records)

    assert make_client().organizations() == (CONTOSO, FABRIKAM)
    (url,) = requested(api, "/Organizations")
    assert parse_qs(urlsplit(url).query)["extendedView"] == ["false"]
    assert [call for call in observer.requests if call[0] != "token"] == [("organizations", "200")]


class PagedOrganizations:
    """Serves organizations by offset, thirty a page at most; two swap places before each page but the first, up to a request."""

    def __init__(
        self,
        api: responses.RequestsMock,
        numbers: list[int],
        *,
        swapped: tuple[int, int] = (0, 0),
        until_request: int = 0,
    ) -> None:
        self.numbers = numbers
        self.swapped = swapped
        self.until_request = until_request
        self.offsets: list[int] = []
        api.add_callback("GET", ORGANIZATIONS, callback=self._answer)

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert request.url
        offset = int(parse_qs(urlsplit(request.url).query)["offset"][0])
        self.offsets.append(offset)
        if offset and len(self.offsets) <= self.until_request:
            one, other = self.swapped
            numbers = self.numbers
            numbers[one], numbers[other] = numbers[other], numbers[one]
        records = map(named, self.numbers[offset : offset + 30])
        return 200, {}, json.dumps(page(*records, limit=30, offset=offset))


def test_pages_of_organizations_are_read_to_the_end(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    server = PagedOrganizations(api, list(range(45)))

    organizations = make_client().organizations()

    assert [one.name for one in organizations] == [f"tenant-{number}" for number in range(45)]
    assert server.offsets == [0, 27]


@pytest.mark.parametrize("swapped", [(29, 30), (3, 40), (3, 80)])
def test_organizations_that_swap_places_between_two_requests_are_all_found(
    api: responses.RequestsMock, make_client: MakeClient, swapped: tuple[int, int]
) -> None:
    PagedOrganizations(api, list(range(90)), swapped=swapped, until_request=3)

    assert len(make_client().organizations()) == 90


def test_organizations_that_move_at_every_attempt_are_an_error(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    PagedOrganizations(api, list(range(90)), swapped=(29, 30), until_request=1000)

    with pytest.raises(RecordsMovedError, match=r"^organizations: "):
        make_client().organizations()


def test_organizations_are_listed_again_if_one_was_renamed_meanwhile(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    records = [named(number) for number in range(75)]
    renamed = {**named(3), "name": "renamed"}

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert request.url
        offset = int(parse_qs(urlsplit(request.url).query)["offset"][0])
        results = records[offset : offset + 30]
        records[:] = [record for record in records if record["id"] != "3"] + [renamed]
        return 200, {}, json.dumps(page(*results, limit=30, offset=offset))

    api.add_callback("GET", ORGANIZATIONS, callback=answer)

    names = {one.name for one in make_client().organizations()}

    assert names == {record["name"] for record in records}


def test_an_organization_that_a_server_always_lists_on_two_pages_is_one(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    server = PagedOrganizations(api, [*range(70), 3])

    assert len(make_client().organizations()) == 70
    assert server.offsets == [0, 27, 54] * 2


@pytest.mark.parametrize(
    ("record", "reason", "field"),
    [
        ("contoso", RejectionReason.NOT_AN_OBJECT, ""),
        (None, RejectionReason.NOT_AN_OBJECT, ""),
        ({}, RejectionReason.MISSING_FIELD, "name"),
        ({"name": None, "officeName": None}, RejectionReason.MISSING_FIELD, "name"),
        ({"name": ""}, RejectionReason.MISSING_FIELD, "name"),
        ({"name": 17, "officeName": ["Contoso"]}, RejectionReason.WRONG_TYPE, "name"),
        ({"officeName": ["Contoso"]}, RejectionReason.WRONG_TYPE, "officeName"),
    ],
)
def test_a_record_without_a_name_is_rejected(
    api: responses.RequestsMock,
    make_client: MakeClient,
    record: object,
    reason: RejectionReason,
    field: str,
) -> None:
    api.get(ORGANIZATIONS, json=[record, {"name": "contoso.onmicrosoft.com"}])
    rejected: list[OrganizationRejection] = []

    assert make_client().organizations(on_rejected=rejected.append) == (CONTOSO,)
    assert rejected == [OrganizationRejection(reason=reason, field=field)]


def test_if_no_organization_can_be_read_all_are_rejected(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(ORGANIZATIONS, json=[{"id": "1", "name": 17}, {"id": 2, "name": 17}])
    rejected: list[OrganizationRejection] = []

    with pytest.raises(
        BadResponseError, match=r"^organizations: none of the 2 records can be read"
    ):
        make_client().organizations(on_rejected=rejected.append)
    assert [rejection.id for rejection in rejected] == ["1", ""]


def test_one_usable_name_is_enough(api: responses.RequestsMock, make_client: MakeClient) -> None:
    api.get(ORGANIZATIONS, json=[{"name": 17, "officeName": "Fabrikam"}])

    assert make_client().organizations() == (FABRIKAM,)


def test_an_organization_that_is_listed_twice_is_one(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(ORGANIZATIONS, json=[{"name": "contoso.onmicrosoft.com"}] * 2)

    assert make_client().organizations() == (CONTOSO,)


def test_a_server_may_have_no_organizations(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(ORGANIZATIONS, json=[])

    assert make_client().organizations() == ()


@pytest.mark.parametrize("body", ["text", {}, {"results": {"not": "a list"}}, [{}, "x"]])
def test_what_is_no_list_of_organizations_is_a_bad_response(
    api: responses.RequestsMock, make_client: MakeClient, body: object
) -> None:
    api.get(ORGANIZATIONS, body=json.dumps(body))

    with pytest.raises(BadResponseError, match=r"^organizations: "):
        make_client().organizations()


def test_no_more_than_10000_organizations_are_read(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(ORGANIZATIONS, json=[named(number) for number in range(10_001)])

    assert len(make_client().organizations()) == 10_000


def test_organizations_that_the_account_may_not_see_are_forbidden_and_not_retried(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, observer: Recorder
) -> None:
    api.get(ORGANIZATIONS, status=403)
    client = make_client()

    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(ForbiddenError):
        client.organizations()
    assert observer.retries == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_organizations_are_never_retried(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    observer: Recorder,
    status: int,
) -> None:
    api.get(ORGANIZATIONS, status=status)
    client = make_client()

    with (
        client.retrying_until(deadline=fake_time.now + 60),
        pytest.raises(Exception, match=str(status)),
    ):
        client.organizations()
    assert observer.retries == []


def test_organizations_are_not_requested_when_the_time_is_over(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    with pytest.raises(RequestTimeoutError):
        make_client().organizations(until=fake_time.now)
    assert requested(api, "/Organizations") == []


@pytest.mark.parametrize(
    ("organization", "session_name", "expected"),
    [
        (CONTOSO, "Contoso.OnMicrosoft.com", True),
        (FABRIKAM, "FABRIKAM", True),
        (Organization("fabrikam.com", "Fabrikam"), "fabrikam", True),
        (Organization("STRASSE GmbH"), "Straße GmbH", True),
        (CONTOSO, "contoso", False),
        (CONTOSO, "", False),
        (FABRIKAM, "", False),
    ],
)
def test_an_organization_is_recognized_by_either_name_in_any_case(
    organization: Organization, session_name: str, *, expected: bool
) -> None:
    assert (session_name.casefold() in organization.session_names) == expected
