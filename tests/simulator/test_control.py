from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from aiohttp.test_utils import make_mocked_request
from simulator.support import NOON, Client, Simulate

from exporter.simulator.api.login import is_loopback
from exporter.simulator.control import Control
from exporter.simulator.faults.registry import Faults
from exporter.simulator.world.world import World

TRUTH = "/_simulator/truth"
SESSIONS = "/_simulator/sessions"
FAULTS = "/_simulator/faults"
ID = "635b22cf-9cdc-4004-9160-9b90f90f1bbf"


def test_the_truth_of_a_finished_session_is_complete(client: Client, world: World) -> None:
    world.add_session(
        id=ID,
        name="Teams restore",
        organization="contoso",
        type="Vet",
        creation_time=NOON - timedelta(minutes=1),
        state="Stopped",
        result="Failed",
        initiated_by="CONTOSO\\x",
        client_host="SRV",
        items="orf",
        reason="Ticket",
    )
    truth = client.json(TRUTH)

    assert truth["now"] == "2026-11-24T12:00:00Z"
    assert truth["organizations"] == [one.session_name for one in world.organizations]
    [session] = truth["sessions"]
    assert truth["sessions"] == [
        {
            "id": ID,
            "name": "Teams restore",
            "organization": "contoso",
            "type": "Vet",
            "state": "Stopped",
            "result": "Failed",
            "creationTime": "2026-11-24T11:59:00Z",
            "endTime": "2026-11-24T12:00:00Z",
            "durationSeconds": 60.0,
            "initiatedBy": "CONTOSO\\x",
            "details": "2 items processed",
            "scopeName": "",
            "clientHost": "SRV",
            "reason": "Ticket",
            "eTag": 1,
            "processedItems": 2,
            "statistics": {"restored": 1, "failed": 1, "skipped": 0},
            "lastEventTime": "2026-11-24T12:00:00Z",
            "activeDurationSeconds": session["activeDurationSeconds"],
        }
    ]
    assert 0 < session["activeDurationSeconds"] < 60


def test_the_truth_of_a_running_session_has_no_result_and_no_end(
    client: Client, world: World
) -> None:
    world.add_session(items="r")
    [session] = client.json(TRUTH)["sessions"]

    assert [session[name] for name in ("result", "endTime", "durationSeconds")] == [None] * 3
    assert session["processedItems"] is None
    assert session["activeDurationSeconds"] == 0
    assert session["statistics"]["restored"] == 1


def test_the_truth_of_one_session_can_include_its_events(client: Client, world: World) -> None:
    world.add_session()
    world.add_session(id=ID, items="o")
    [session] = client.json(TRUTH, id=ID.upper(), events="true")["sessions"]
    listed = client.json(f"/v8/RestoreSessions/{ID}/Events")["results"]

    assert session["events"] == [
        {
            "operation": event["type"],
            "status": event["status"],
            "bytes": event["itemSizeBytes"],
            "startTime": event["startTime"],
            "endTime": event["endTime"],
        }
        for event in listed
    ]


def test_the_truth_needs_no_token_and_is_unaffected_by_faults(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    client.simulator.faults.set("status_500")

    assert client.json(TRUTH)["sessions"] == []
    assert not client.simulator.requests


def test_a_session_is_added_with_the_field_names_of_the_api(client: Client, world: World) -> None:
    response = client.request(
        "POST",
        SESSIONS,
        json={
            "id": ID,
            "type": "Vesp",
            "organization": None,
            "creationTime": "2026-11-24T11:00:00Z",
            "endTime": None,
            "state": "Suspended",
            "initiatedBy": "me",
        },
    )
    session = world.session(ID)

    assert response.json() == {"id": ID, "added": True}
    assert session is not None
    assert (session.type, session.organization, session.state) == ("Vesp", None, "Suspended")
    assert session.creation_time == NOON - timedelta(hours=1)


def test_a_session_added_without_an_id_gets_one(client: Client, world: World) -> None:
    key = client.request("POST", SESSIONS, data=b"").json()["id"]

    assert world.session(key) is not None


def test_a_session_is_changed_when_its_id_is_known(client: Client, world: World) -> None:
    key = world.add_session()
    response = client.request("POST", SESSIONS, json={"id": key.upper(), "state": "Stopped"})
    session = world.session(key)

    assert response.json() == {"id": key, "changed": True}
    assert session is not None
    assert session.end_time == NOON


def test_a_session_is_removed(client: Client, world: World) -> None:
    key = world.add_session()
    response = client.request("POST", SESSIONS, json={"id": key, "remove": True})

    assert response.json() == {"id": key, "removed": True}
    assert world.session(key) is None


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (SESSIONS, {"colour": "red"}, "unknown field 'colour'"),
        (SESSIONS, {"id": 7}, "id must be a string"),
        (SESSIONS, {"type": 7}, "type must be a string, not 7"),
        (SESSIONS, {"name": None}, "name must be a string, not None"),
        (SESSIONS, {"creationTime": "noon"}, "'noon' is not a timestamp"),
        (SESSIONS, {"id": ID, "remove": True}, f"unknown session '{ID}'"),
        (SESSIONS, [], "the body must be a JSON object"),
        (FAULTS, {"name": "gremlins"}, "unknown fault 'gremlins'"),
        (FAULTS, {"clear": "gremlins"}, "unknown fault 'gremlins'"),
        (FAULTS, {"clear": False}, "clear must be true or a fault's name"),
        (FAULTS, {"first": 1}, "name is missing"),
        (FAULTS, {"name": "html", "first": "1"}, "first must be a int, not '1'"),
        (FAULTS, {"name": "html", "often": 1}, "unknown field 'often'"),
    ],
)
def test_an_invalid_request_is_a_400_with_a_reason(
    client: Client, path: str, body: object, message: str
) -> None:
    response = client.request("POST", path, json=body)

    assert (response.status_code, response.json()) == (400, {"message": message})


def test_an_unknown_endpoint_is_a_404(client: Client) -> None:
    assert client.get("/_simulator/lies").status_code == 404


def test_faults_are_set_listed_and_cleared(client: Client) -> None:
    fault = {"name": "clock_skew", "route": "list", "first": 3, "probability": 0.5, "value": 7}
    response = client.request("POST", FAULTS, json={**fault, "sessionId": ID})
    expected = {**fault, "sessionId": ID, "target": ""}

    assert response.json()["faults"] == [expected]
    assert client.json(FAULTS)["faults"] == [expected]
    assert client.json(FAULTS)["known"]["silence"]
    client.request("POST", FAULTS, json={"name": "html"})
    client.request("POST", FAULTS, json={"clear": "clock_skew"})
    assert [fault["name"] for fault in client.json(FAULTS)["faults"]] == ["html"]
    client.request("POST", FAULTS, json={"clear": True})
    assert client.json(FAULTS)["faults"] == []


@pytest.mark.parametrize("path", [TRUTH, FAULTS])
def test_other_machines_are_refused(world: World, path: str) -> None:
    async def follow(_: asyncio.BaseProtocol) -> None:
        raise AssertionError

    request = make_mocked_request("GET", path).clone(remote="192.0.2.1")
    response = asyncio.run(Control(world, Faults(), follow).handle(request))

    assert response.status == 403


@pytest.mark.parametrize(
    ("remote", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("a socket without an address", False),
    ],
)
def test_loopback_is_recognized(
    remote: str,
    local: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    assert is_loopback(make_mocked_request("GET", "/").clone(remote=remote)) == local
