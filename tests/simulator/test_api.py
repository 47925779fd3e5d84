from __future__ import annotations

import json
from datetime import timedelta
from threading import Timer
from typing import Any
from uuid import UUID

import pytest
from simulator.support import NOON, Client, Simulate, WallClock

from exporter.simulator import Simulator
from exporter.simulator.world.world import SessionFields, World

ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"
SESSION: SessionFields = {
    "id": ID,
    "name": "Exchange restore (Entire organization - 1/29/2022 10:29:05 AM)",
    "organization": "Müller & Söhne",
    "type": "Vex",
    "creation_time": NOON - timedelta(hours=2),
    "end_time": NOON - timedelta(hours=1),
    "state": "Stopped",
    "initiated_by": "SRV0101\\Administrator",
    "details": "0 items processed",
    "scope_name": "",
    "client_host": "srv0101 (via: 127.0.0.1)",
    "reason": "",
}


def ids(page: dict[str, Any]) -> list[str]:
    return [record["id"] for record in page["results"]]


def add_many(world: World, count: int) -> list[str]:
    """Add sessions a minute apart; return their ids, newest first."""
    keys = [world.add_session(creation_time=NOON - timedelta(minutes=n)) for n in range(count)]
    assert len(set(keys)) == count
    return keys


@pytest.mark.parametrize("version", ["v6", "v7", "v8"])
def test_a_stopped_session_has_the_documented_fields(
    client: Client, world: World, version: str
) -> None:
    world.add_session(**SESSION)
    response = client.get(f"/{version}/RestoreSessions/{ID}")
    href = f"/{version}/restoresessions/{ID}"
    expected = {
        "id": ID,
        "name": "Exchange restore (Entire organization - 1/29/2022 10:29:05 AM)",
        "organization": "Müller & Söhne",
        "type": "Vex",
        "creationTime": "2026-11-24T10:00:00Z",
        "endTime": "2026-11-24T11:00:00Z",
        "state": "Stopped",
        "result": "Success",
        "initiatedBy": "SRV0101\\Administrator",
        "details": "0 items processed",
        "scopeName": "",
        "clientHost": "srv0101 (via: 127.0.0.1)",
        **({"eTag": 1} if version == "v8" else {}),
        "_links": {
            "self": {"href": href},
            "organization": {"href": f"{href}/organization"},
            "restoreSessionEvents": {"href": f"{href}/events"},
        },
    }

    assert json.dumps(response.json()) == json.dumps(expected)
    assert "Müller".encode() in response.content


@pytest.mark.parametrize(
    ("working_end", "expected"),
    [
        ("sentinel", {"endTime": "9999-12-31T23:59:59.9999999Z"}),
        ("null", {"endTime": None}),
        ("absent", {}),
    ],
)
def test_a_running_session_is_successful_and_has_no_details_and_no_end(
    simulate: Simulate, world: World, working_end: str, expected: dict[str, object]
) -> None:
    key = world.add_session(items="rra")
    record = simulate(working_end=working_end).json(f"/v6/RestoreSessions/{key}")

    assert (record["state"], record["result"]) == ("Working", "Success")
    assert {name: record[name] for name in record if name == "endTime"} == expected
    assert not {"details", "reason", "eTag"} & set(record)


def test_a_changed_session_is_serialized_again(client: Client, world: World) -> None:
    key = world.add_session()
    before = client.json(f"/v8/RestoreSessions/{key}")
    world.finish(key, result="Failed")
    after = client.json(f"/v8/RestoreSessions/{key}")

    assert (before["state"], after["state"], after["result"]) == ("Working", "Stopped", "Failed")
    assert after["eTag"] > before["eTag"]


def test_an_organization_of_none_is_absent(client: Client, world: World) -> None:
    key = world.add_session(organization=None)

    assert "organization" not in client.json(f"/v8/RestoreSessions/{key}")


@pytest.mark.parametrize(
    ("version", "extra"),
    [
        ("v6", {}),
        ("v7", {"errorCode": None}),
        ("v8", {"errorCode": "ResourceNotFound", "stackTrace": None}),
    ],
)
def test_an_unknown_session_is_a_404_in_the_format_of_the_version(
    client: Client, version: str, extra: dict[str, object]
) -> None:
    response = client.get(f"/{version}/RestoreSessions/{ID}")

    assert response.status_code == 404
    assert response.json() == {"message": "Restore session not found.", **extra}


def test_ids_are_case_insensitive(client: Client, world: World) -> None:
    world.add_session(**SESSION)

    assert client.json(f"/v6/RESTORESESSIONS/{ID.upper()}")["id"] == ID


def test_the_list_has_30_sessions_newest_first_with_keys_in_the_original_order(
    client: Client, world: World
) -> None:
    keys = add_many(world, 40)
    page = client.json("/v6/RestoreSessions")

    assert list(page) == ["offset", "limit", "_links", "results"]
    assert (page["offset"], page["limit"]) == (0, 30)
    assert ids(page) == keys[:30]
    assert page["_links"] == {
        "self": {"href": "/v6/RestoreSessions?offset=0&limit=30"},
        "next": {"href": "/v6/RestoreSessions?offset=30&limit=30"},
    }
    assert page["results"][0]["_links"]["self"] == {"href": f"v6/restoresessions/{keys[0]}"}


def test_following_next_links_reads_the_whole_list(client: Client, world: World) -> None:
    keys = add_many(world, 25)
    seen, path = [], "/v8/RestoreSessions?limit=10&startTimeFrom=2026-11-23"
    while path:
        page = client.json(path)
        seen += ids(page)
        path = page["_links"].get("next", {}).get("href", "")

    assert seen == keys


def test_a_later_page_links_to_the_first_and_the_previous_one(client: Client, world: World) -> None:
    add_many(world, 25)
    links = client.json("/v6/restoresessions", offset=15, limit=20)["_links"]

    assert {name: link["href"] for name, link in links.items()} == {
        "self": "/v6/restoresessions?offset=15&limit=20",
        "first": "/v6/restoresessions?offset=0&limit=20",
        "prev": "/v6/restoresessions?offset=0&limit=20",
    }


def test_links_keep_the_filters(client: Client, world: World) -> None:
    add_many(world, 3)
    page = client.json("/v7/RestoreSessions", StartTimeFrom="2026-11-24T00:00:00Z", limit=2)

    assert page["_links"]["next"]["href"] == (
        "/v7/RestoreSessions?offset=2&limit=2&StartTimeFrom=2026-11-24T00%3A00%3A00Z"
    )


def test_a_page_has_at_most_10000_sessions_and_shows_that_limit(client: Client) -> None:
    assert client.json("/v8/RestoreSessions", limit=50000)["limit"] == 10000


def test_the_page_size_can_be_capped(simulate: Simulate, world: World) -> None:
    keys = add_many(world, 5)
    page = simulate(page_cap=2).json("/v8/RestoreSessions", limit=1000)

    assert (page["limit"], ids(page)) == (2, keys[:2])
    assert page["_links"]["next"]["href"] == "/v8/RestoreSessions?offset=2&limit=2"


def test_start_time_bounds_are_exclusive_to_the_last_digit(client: Client, world: World) -> None:
    keys = add_many(world, 4)
    page = client.json(
        "/v6/restoreSessions",
        starttimeFrom="2026-11-24T11:57:00Z",
        STARTTIMETO="2026-11-24T12:00:00.0000000Z",
    )

    assert ids(page) == keys[1:3]


def test_v8_filters_by_end_time_and_v6_ignores_it(client: Client, world: World) -> None:
    world.add_session(**SESSION)
    running = world.add_session()
    later = client.json("/v8/RestoreSessions", endTimeFrom="2026-11-24T11:00:00Z")
    until = client.json("/v8/RestoreSessions", endTimeTo="2026-11-24T11:00:00.0000001Z")
    older = client.json("/v6/RestoreSessions", endTimeFrom="2026-11-24T11:00:00Z")

    assert (ids(later), ids(until)) == ([running], [ID])
    assert ids(older) == [running, ID]


def test_v8_orders_as_requested(client: Client, world: World) -> None:
    keys = add_many(world, 3)
    world.finish(keys[1])

    assert ids(client.json("/v8/RestoreSessions", orderAsc="true")) == keys[::-1]
    assert ids(client.json("/v8/RestoreSessions", orderBy="endTime", orderAsc="true"))[0] == keys[1]
    assert ids(client.json("/v6/RestoreSessions", orderAsc="true")) == keys


@pytest.mark.parametrize(
    "query",
    [
        "limit=-1",
        "limit=0",
        "limit=many",
        "offset=-1",
        "startTimeFrom=yesterday",
        "orderBy=colour",
        "orderAsc=perhaps",
    ],
)
def test_an_invalid_parameter_is_a_400(client: Client, query: str) -> None:
    response = client.get(f"/v8/RestoreSessions?{query}")

    assert response.status_code == 400
    assert response.json()["errorCode"] == "ParameterValidationFailure"
    assert query.partition("=")[0] in response.json()["message"]


def test_the_events_of_a_session_are_paged(client: Client, world: World) -> None:
    key = world.add_session(items="r" * 40)
    page = client.json(f"/v6/RestoreSessions/{key}/Events")
    rest = client.json(page["_links"]["next"]["href"])

    assert (page["limit"], len(page["results"]), len(rest["results"])) == (30, 30, 11)
    assert [event["order"] for event in page["results"] + rest["results"]] == list(range(41))
    assert "next" not in rest["_links"]


def test_the_first_event_is_the_start_of_the_session(client: Client, world: World) -> None:
    key = world.add_session(items="r", creation_time=NOON - timedelta(hours=1))
    first, item = client.json(f"/v6/RestoreSessions/{key}/Events")["results"]

    assert (first["type"], first["title"], first["duration"]) == (
        "None",
        "Restore session started",
        "00:00:00",
    )
    assert "itemName" not in first
    assert first["itemSizeBytes"] == 0
    assert item["type"] in {"Restore", "Save", "Export", "Send"}
    assert item["message"].startswith("Item Item 1 was ")
    assert item["_links"]["restoreSession"] == {"href": f"v6/restoresessions/{key}"}
    assert item["startTime"] < item["endTime"]
    assert str(UUID(item["id"])) == item["id"]
    assert "organizationId" not in item


def test_an_event_can_be_requested_by_id(client: Client, world: World) -> None:
    key = world.add_session(items="r")
    path = f"/v8/RestoreSessions/{key}/Events"
    _, item = client.json(path)["results"]
    event = client.json(f"{path}/{item['id']}")

    assert event["order"] == 1
    assert "organizationId" in event
    assert client.get(f"{path}/{ID}").status_code == 404


def test_v8_counts_the_items_of_a_session(client: Client, world: World) -> None:
    key = world.add_session(items="orrwfsa")
    statistics = client.json(f"/v8/RestoreSessions/{key}/Statistics")
    items = statistics.pop("items")

    assert statistics == {
        "totalItemsCount": 5,
        "restoredItemsCount": 3,
        "failedItemsCount": 1,
        "skippedItemsCount": 1,
        "warnings": ["An item was restored with a warning"],
        "errors": ["An item could not be restored"],
    }
    statuses = [item["status"] for item in items]
    assert statuses == ["Success", "Success", "Warning", "Failed", "Skipped"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/v6/RestoreSessions/{ID}/Statistics", 404),
        ("/v7/Events", 404),
        ("/v6/Health", 404),
        ("/v8/ServerInfo", 404),
        ("/v5/RestoreSessions", 404),
        ("/", 404),
        ("/v8/Health", 200),
        ("/V8/serviceinstance/", 200),
    ],
)
def test_operations_missing_in_a_version_are_404_with_an_empty_body(
    client: Client, world: World, path: str, status: int
) -> None:
    world.add_session(**SESSION)
    response = client.get(path)

    assert response.status_code == status
    assert bool(response.content) == (status == 200)


def test_a_version_that_is_not_served_is_404_with_an_empty_body(simulate: Simulate) -> None:
    client = simulate(log_in="v6", api_versions=("v6",))

    assert client.json("/v6/ServiceInstance")["version"].startswith("6.")
    assert client.get("/v8/ServiceInstance").status_code == 404
    assert client.log_in("v8").status_code == 404
    assert client.get("/v7/RestoreSessions").content == b""


def test_the_wrong_method_is_405(client: Client) -> None:
    response = client.request("DELETE", "/v8/RestoreSessions")

    assert response.status_code == 405
    assert "DELETE" in response.json()["message"]


def test_the_service_instance_has_version_and_installation_id(client: Client) -> None:
    service = client.json("/v8/ServiceInstance")

    assert set(service) == {"installationId", "version"}
    assert service["version"].startswith("8.4.0.")
    assert str(UUID(service["installationId"])) == service["installationId"]


def test_health_needs_no_token(simulate: Simulate) -> None:
    assert simulate(log_in=None).json("/v8/Health")["status"] == "Healthy"


def test_responses_have_the_headers_of_real_servers(client: Client) -> None:
    headers = client.get("/v8/RestoreSessions").headers

    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Strict-Transport-Security"].startswith("max-age=")


def test_the_change_feed_starts_with_a_token_and_reiterations_later_changes(
    client: Client, world: World
) -> None:
    start = client.json("/v8/Events", **{"from": "latest"})
    key = world.add_session()
    world.remove(key)
    feed = client.json("/v8/Events", **{"from": start["nextChangeToken"]}, timeoutSeconds=0)
    rest = client.json("/v8/Events", **{"from": feed["nextChangeToken"]}, timeoutSeconds=0)

    assert start["results"] == []
    update, delete = feed["results"]
    assert update == {"eventType": "RestoreSessionUpdate", "id": key, "eTag": update["eTag"]}
    assert delete == {"eventType": "RestoreSessionDelete", "id": key}
    assert rest["results"] == []
    assert rest["nextChangeToken"] == feed["nextChangeToken"]


def test_the_change_feed_reiterations_at_most_limit_changes(client: Client, world: World) -> None:
    token = client.json("/v8/Events", **{"from": "latest"})["nextChangeToken"]
    keys = [world.add_session() for _ in range(3)]
    feed = client.json("/v8/Events", **{"from": token}, limit=2)
    rest = client.json("/v8/Events", **{"from": feed["nextChangeToken"]})

    assert [event["id"] for event in feed["results"] + rest["results"]] == keys


def test_the_change_feed_waits_until_something_changes(client: Client, world: World) -> None:
    token = client.json("/v8/Events", **{"from": "latest"})["nextChangeToken"]
    timer = Timer(0.1, world.add_session)
    timer.start()
    feed = client.json("/v8/Events", **{"from": token}, timeoutSeconds=15)
    timer.join()

    assert len(feed["results"]) == 1


@pytest.mark.parametrize("token", ["1000", "never", "²"])
def test_an_outdated_change_token_is_400(client: Client, token: str) -> None:
    response = client.get("/v8/Events", **{"from": token})

    assert response.status_code == 400
    assert response.json()["errorCode"] == "OutdatedChangeToken"


def test_a_long_list_is_the_same_when_requested_again(simulate: Simulate) -> None:
    client = simulate(world=World(sessions=2000, activity=False, clock=WallClock()))
    first = client.get("/v8/RestoreSessions", limit=1000)
    again = client.get("/v8/RestoreSessions", limit=1000)

    assert len(first.json()["results"]) == 1000
    assert again.content == first.content


@pytest.mark.parametrize(
    "options",
    [
        {"working_end": "never"},
        {"token_style": "saml"},
        {"api_versions": ("v6", "v9")},
        {"api_versions": ()},
    ],
)
def test_an_unknown_option_is_rejected(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="unknown"):
        Simulator(**options)
