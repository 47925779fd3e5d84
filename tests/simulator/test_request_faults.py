from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from simulator.support import NOON, Client

from exporter.simulator.world.world import World

LIST = "/v8/RestoreSessions"
OLD_LIST = "/v6/RestoreSessions"


@pytest.fixture
def sessions(world: World) -> list[str]:
    """A running and a finished session, newest first."""
    running = world.add_session(organization="contoso", items="r")
    stopped = world.add_session(
        creation_time=NOON - timedelta(hours=3),
        end_time=NOON - timedelta(hours=2),
        state="Stopped",
        result="Warning",
        organization="contoso",
        items="rw",
    )
    return [running, stopped]


@pytest.fixture
def faulty_list(client: Client) -> Callable[..., Any]:
    """Return a function that sets a fault and reiterations the JSON of the affected list."""

    def request(name: str, path: str = LIST, **options: Any) -> Any:
        client.simulator.faults.set(name, **options)
        return client.json(path)

    return request


# The token endpoint and tokens


def test_one_request_is_unauthorized_and_its_token_is_revoked(client: Client) -> None:
    client.simulator.faults.set("unauthorized_once")
    first, second = client.get(LIST), client.get(LIST)
    client.log_in()

    assert (first.status_code, first.content) == (401, b"")
    assert second.status_code == 401
    assert client.get(LIST).status_code == 200
    assert client.simulator.faults.hits["unauthorized_once"] == 1


def test_every_request_is_unauthorized_although_tokens_are_issued(client: Client) -> None:
    client.simulator.faults.set("unauthorized")

    assert client.log_in().status_code == 200
    assert client.get(LIST).status_code == 401
    assert client.log_in().status_code == 200
    assert client.get("/v8/ServiceInstance").status_code == 401


@pytest.mark.parametrize(("version", "status"), [("v6", 400), ("v8", 401)])
def test_the_password_is_refused_in_the_format_of_the_version(
    client: Client, version: str, status: int
) -> None:
    client.simulator.faults.set("password_refused")

    assert client.log_in(version).status_code == status


@pytest.mark.parametrize(("version", "status"), [("v6", 400), ("v8", 401)])
def test_the_refresh_token_is_refused_but_the_password_is_not(
    client: Client, version: str, status: int
) -> None:
    client.simulator.faults.set("refresh_refused")
    refresh = client.log_in().json()["refresh_token"]
    response = client.log_in(version, grant_type="refresh_token", refresh_token=refresh)

    assert response.status_code == status


def test_a_token_expires_after_a_few_requests_despite_its_expires_in(client: Client) -> None:
    client.simulator.faults.set("token_expires_early", value=2)
    token = client.log_in().json()

    assert token["expires_in"] == 3600
    assert [client.get(LIST).status_code for _ in range(4)] == [200, 200, 401, 401]


def test_the_lifetime_of_a_token_is_stated_wrongly(client: Client) -> None:
    client.simulator.faults.set("token_lifetime", value=-5)
    token = client.log_in().json()

    assert token["expires_in"] == -5
    assert client.get(LIST).status_code == 200


def test_the_rate_limits_apply_on_loopback(client: Client) -> None:
    client.simulator.faults.set("token_throttle")
    statuses = [client.log_in().status_code for _ in range(3)]

    assert 429 in statuses


def test_a_fault_can_affect_only_the_token_endpoint(client: Client) -> None:
    client.simulator.faults.set("status_503", route="token")

    assert client.get(LIST).status_code == 200
    assert client.log_in().status_code == 503


# Statuses


@pytest.mark.parametrize(
    ("version", "body"),
    [
        ("v6", {"message": "Access denied"}),
        ("v7", {"message": "Access denied", "errorCode": None}),
        (
            "v8",
            {
                "message": "Access denied",
                "errorCode": "ResourceAccessDenied",
                "stackTrace": None,
            },
        ),
    ],
)
def test_reading_is_forbidden(client: Client, version: str, body: dict[str, object]) -> None:
    client.simulator.faults.set("forbidden")
    response = client.get(f"/{version}/RestoreSessions")

    assert (response.status_code, response.json()) == (403, body)


def test_one_session_is_not_found_although_the_list_has_it(
    client: Client, sessions: list[str]
) -> None:
    client.simulator.faults.set("not_found", session_id=sessions[0])

    assert client.get(f"{LIST}/{sessions[0]}").status_code == 404
    assert client.get(f"{LIST}/{sessions[1]}").status_code == 200
    assert client.json(LIST)["results"][0]["id"] == sessions[0]


def test_the_whole_api_is_missing(client: Client) -> None:
    client.simulator.faults.set("api_missing")
    responses = [client.get(LIST), client.get("/v8/ServiceInstance"), client.log_in("v7")]

    assert [(response.status_code, response.content) for response in responses] == [(404, b"")] * 3


def test_a_throttled_response_has_retry_after_in_seconds(client: Client) -> None:
    client.simulator.faults.set("throttled_seconds", value=7)
    response = client.get(LIST)

    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert response.reason == "API calls quota exceeded! maximum admitted 1 per Second."
    assert response.content == b""


def test_a_throttled_response_has_retry_after_as_a_date(client: Client) -> None:
    client.simulator.faults.set("throttled_date", value=60)
    response = client.get(LIST)
    left = parsedate_to_datetime(response.headers["Retry-After"]) - datetime.now(UTC)

    assert response.status_code == 429
    assert timedelta(seconds=40) < left <= timedelta(seconds=60)


def test_a_throttled_response_has_no_retry_after(client: Client) -> None:
    client.simulator.faults.set("throttled_bare")
    response = client.get(LIST)

    assert response.status_code == 429
    assert "Retry-After" not in response.headers


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_the_server_responds_with_an_error(client: Client, status: int) -> None:
    client.simulator.faults.set(f"status_{status}")
    response = client.get(LIST)

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith(
        "application/json" if status == 500 else "text/html"
    )


def test_a_redirect_leads_to_another_host(client: Client) -> None:
    client.simulator.faults.set("redirect_to_other_host", target="https://localhost:1")
    response = client.get(f"{LIST}?limit=7")

    assert response.status_code == 307
    assert response.headers["Location"] == "https://localhost:1/v8/RestoreSessions?limit=7"
    assert client.log_in().headers["Location"] == "https://localhost:1/v8/token"


# Bodies


def test_a_login_page_is_sent_instead_of_json(client: Client) -> None:
    client.simulator.faults.set("html")
    response = client.get(LIST)

    assert (response.status_code, response.headers["Content-Type"]) == (
        200,
        "text/html; charset=utf-8",
    )
    assert "<html>" in response.text


def test_the_body_is_empty(client: Client) -> None:
    client.simulator.faults.set("empty_body")
    response = client.get(LIST)

    assert (response.status_code, response.content) == (200, b"")


def test_the_json_is_cut_in_half(client: Client, sessions: list[str]) -> None:
    whole = client.get(LIST).text
    client.simulator.faults.set("truncated_json")
    response = client.get(LIST)

    assert len(sessions) == 2
    assert whole.startswith(response.text)
    assert len(response.text) == len(whole) // 2
    with pytest.raises(ValueError, match=r".+"):
        response.json()


def test_the_document_is_a_string(faulty_list: Callable[..., Any]) -> None:
    assert faulty_list("wrong_type_top") == "a string"


def test_results_is_not_a_list(faulty_list: Callable[..., Any]) -> None:
    assert faulty_list("wrong_type_page")["results"] == {"not": "a list"}


def test_sessions_are_strings(faulty_list: Callable[..., Any], sessions: list[str]) -> None:
    assert len(sessions) == 2
    assert faulty_list("wrong_type_record")["results"] == ["session 0", "session 1"]


def test_only_the_session_of_the_fault_is_corrupted(
    faulty_list: Callable[..., Any], client: Client, sessions: list[str]
) -> None:
    right = client.json(LIST)["results"][1]

    for name in ("wrong_type_record", "wrong_type_field", "nulls", "not_uuids", "nan"):
        damaged, other = faulty_list(name, session_id=sessions[0], first=1)["results"]
        assert other == right
        assert damaged != client.json(LIST)["results"][0]


def test_fields_have_wrong_types(faulty_list: Callable[..., Any], sessions: list[str]) -> None:
    record = faulty_list("wrong_type_field", f"{LIST}/{sessions[1]}")

    assert record["id"] == sessions[1]
    assert isinstance(record["name"], int)
    assert isinstance(record["creationTime"], int)
    assert isinstance(record["endTime"], dict)
    assert isinstance(record["eTag"], str)


def test_numbers_are_nan_or_infinite(client: Client, sessions: list[str]) -> None:
    client.simulator.faults.set("nan")
    response = client.get(OLD_LIST)
    page = response.json()

    assert len(sessions) == 2
    assert "NaN" in response.text
    assert "Infinity" in response.text
    assert not math.isfinite(page["offset"])
    assert not math.isfinite(page["results"][0]["eTag"])


def test_numbers_are_too_large_for_a_float(client: Client, sessions: list[str]) -> None:
    client.simulator.faults.set("huge_number")
    response = client.get(OLD_LIST)

    assert len(sessions) == 2
    assert '"limit":1e999' in response.text
    assert '"eTag":1e999' in response.text
    assert response.json()["limit"] == math.inf


def test_a_huge_body_has_no_content_length(client: Client) -> None:
    client.simulator.faults.set("huge_body", value=3_000_000)
    response = client.get(LIST)

    assert "Content-Length" not in response.headers
    assert len(response.content) > 3_000_000
    assert response.json()["results"] == []


def test_a_huge_body_has_200_mb_by_default_and_ends_when_the_client_leaves(client: Client) -> None:
    client.simulator.faults.set("huge_body")
    with client.request("GET", LIST, stream=True) as response:
        assert len(next(response.iter_content(1 << 20))) > 0

    assert client.simulator.faults.active()[0].value == 200 * 1024 * 1024
    client.simulator.faults.clear()
    assert client.json(LIST)["results"] == []


def test_clients_may_disconnect_during_a_huge_body(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    client.simulator.faults.set("huge_body")
    for _ in range(100):
        with client.request("GET", LIST, stream=True) as response:
            response.raw.read(1 << 20)
    client.simulator.close()

    assert [record.message for record in caplog.records] == []


def test_a_small_gzip_body_inflates_to_a_huge_one(client: Client) -> None:
    client.simulator.faults.set("gzip_bomb", value=50_000_000)
    with client.request("GET", LIST, stream=True) as response:
        packed = response.raw.read(decode_content=False)
    inflate = zlib.decompressobj(wbits=31)
    unpacked = len(inflate.decompress(packed))

    assert response.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 100_000
    assert unpacked > 49_000_000
    assert inflate.eof
    assert inflate.unused_data == b""


def test_a_large_body_is_not_strict_json(client: Client) -> None:
    client.simulator.faults.set("odd_json", value=100_000)
    response = client.get(LIST)

    assert 99_000 < len(response.content) < 101_000
    assert response.json()["odd"][-1] == {"a": "\ud800"}


def test_a_response_has_large_headers(client: Client) -> None:
    client.simulator.faults.set("large_headers", value=1_000_000)
    response = client.get(LIST)

    assert 980_000 < sum(map(len, response.raw.headers.values())) < 1_020_000
    assert "results" in response.json()


def test_a_response_has_more_cookies_than_the_simulator_accepts_in_a_request(
    client: Client,
) -> None:
    client.simulator.faults.set("cookies", first=1)
    response = client.get(LIST)
    cookies = "; ".join(f"{name}={value}" for name, value in response.cookies.items())

    assert response.status_code == 200
    assert len(response.cookies) == 60
    assert client.get(LIST, headers={"Cookie": cookies}).status_code == 400


def test_lists_are_nested_deeply(client: Client) -> None:
    client.simulator.faults.set("deep_nesting")
    text = client.get(LIST).text

    assert text == "[" * 100_000 + "]" * 100_000


def test_the_charset_is_another_one(client: Client, sessions: list[str]) -> None:
    client.simulator.faults.set("wrong_charset")
    response = client.get(LIST)

    assert len(sessions) == 2
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    with pytest.raises(UnicodeDecodeError):
        response.content.decode()
    assert json.loads(response.content.decode("latin-1"))["results"][0]["name"].endswith("é")


def test_texts_have_lone_surrogates(faulty_list: Callable[..., Any], sessions: list[str]) -> None:
    record = faulty_list("lone_surrogates")["results"][0]

    assert record["id"] == sessions[0]
    assert record["organization"] == "contoso\ud800"


def test_texts_have_control_characters(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    record = faulty_list("control_characters")["results"][1]

    assert record["id"] == sessions[1]
    assert {"\x00", "\x1b", "\n", "\u2028"} <= set(record["organization"])
    assert "\x00" in record["details"]


def test_everything_but_the_id_is_null(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    record = faulty_list("nulls")["results"][0]

    assert record.pop("id") == sessions[0]
    assert set(record.values()) == {None}
    assert "state" in record


def test_everything_but_the_id_is_missing(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    assert faulty_list("missing_fields")["results"] == [{"id": key} for key in sessions]


def test_enum_values_are_of_a_newer_server(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    record = faulty_list("unknown_enums", f"{OLD_LIST}/{sessions[0]}")

    assert (record["type"], record["state"], record["result"]) == ("Vpp", "Suspended", "Cancelled")


def test_a_session_comes_twice(faulty_list: Callable[..., Any], sessions: list[str]) -> None:
    page = faulty_list("duplicate_ids")

    assert [record["id"] for record in page["results"]] == [*sessions, sessions[0]]


def test_a_list_is_empty(faulty_list: Callable[..., Any]) -> None:
    page = faulty_list("empty_list")

    assert page["results"] == []
    assert "next" not in page["_links"]


def test_ids_are_no_uuids(faulty_list: Callable[..., Any], sessions: list[str]) -> None:
    page = faulty_list("not_uuids")

    assert [record["id"] for record in page["results"]] == [
        f"session-{key[:8]}" for key in sessions
    ]


def test_a_session_ends_before_it_starts(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    running, stopped = faulty_list("end_before_creation")["results"]

    assert (running["id"], running["endTime"][:4]) == (sessions[0], "9999")
    assert stopped["creationTime"] == "2026-11-24T09:00:00Z"
    assert stopped["endTime"] == "2026-11-24T08:00:00Z"


def test_the_clock_of_the_server_is_ahead_in_all_it_says(
    client: Client, sessions: list[str]
) -> None:
    client.simulator.faults.set("clock_skew")
    response = client.get(LIST)
    running, stopped = response.json()["results"]
    date = parsedate_to_datetime(response.headers["Date"])
    token = client.log_in().json()

    assert [running["id"], stopped["id"]] == sessions
    assert running["creationTime"] == "2026-11-24T17:00:00Z"
    assert running["endTime"] == "9999-12-31T23:59:59.9999999Z"
    assert stopped["endTime"] == "2026-11-24T15:00:00Z"
    assert date == NOON + timedelta(hours=5)
    issued = datetime.fromisoformat(token[".issued"])
    assert timedelta(hours=4, minutes=59) < issued - datetime.now(UTC) <= timedelta(hours=5)


def test_the_clock_of_the_server_is_ahead_in_what_it_understands(
    client: Client, sessions: list[str]
) -> None:
    client.simulator.faults.set("clock_skew", value=-2)
    after = client.json(LIST, startTimeFrom="2026-11-24T10:00:00Z")
    until = client.json(LIST, startTimeTo="2026-11-24T10:00:01Z")

    assert client.json(LIST)["results"][0]["creationTime"] == "2026-11-24T10:00:00Z"
    assert after["results"] == []
    assert [record["id"] for record in until["results"]] == sessions
    assert client.get(LIST, startTimeFrom="noon").status_code == 400


def test_pages_never_end(client: Client, sessions: list[str]) -> None:
    client.simulator.faults.set("endless_paging")
    path = f"{LIST}?limit=2"
    for offset in (0, 2, 4, 6):
        page = client.json(path)
        path = page["_links"]["next"]["href"]
        assert page["offset"] == offset
        assert [record["id"] for record in page["results"]] == sessions

    assert path == "/v8/RestoreSessions?offset=8&limit=2"


def test_the_next_link_leads_to_another_host(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    path = f"{LIST}?limit=1"
    page = faulty_list("next_to_other_host", path, target="https://localhost:1")
    default = faulty_list("next_to_other_host", path)
    last = faulty_list("next_to_other_host")

    assert [record["id"] for record in page["results"]] == sessions[:1]
    assert page["_links"]["next"]["href"] == (
        "https://localhost:1/v8/RestoreSessions?offset=1&limit=1"
    )
    assert default["_links"]["next"]["href"].startswith("https://elsewhere.invalid/v8/")
    assert "next" not in last["_links"]


def test_later_pages_begin_late_as_if_sessions_had_been_deleted(
    client: Client, sessions: list[str]
) -> None:
    client.simulator.faults.set("rows_shift")

    assert [record["id"] for record in client.json(LIST)["results"]] == sessions
    assert client.json(LIST, offset="1")["results"] == []


def test_pages_are_from_lists_in_different_orders(client: Client, world: World) -> None:
    ids = {world.add_session() for _ in range(40)}
    client.simulator.faults.set("shuffled_pages")

    pages = [client.json(LIST, offset=str(offset), limit="20") for offset in (0, 20)]
    shown = [record["id"] for page in pages for record in page["results"]]

    assert len(shown) == 40
    assert set(shown) < ids
    assert "next" in pages[0]["_links"]
    assert "next" not in pages[1]["_links"]
    assert client.get(LIST, limit="0").status_code == 400


def test_sessions_that_do_not_exist_never_end(client: Client) -> None:
    client.simulator.faults.set("endless_sessions", value=3)

    first = client.json(LIST)
    second = client.json(first["_links"]["next"]["href"])

    ids = [record["id"] for page in (first, second) for record in page["results"]]
    assert len(set(ids)) == 6
    assert first["results"][0]["creationTime"] == "2026-11-24T00:00:00Z"
    assert second["_links"]["next"]["href"] == "/v8/RestoreSessions?offset=6&limit=3"
    assert client.get(LIST, limit="0").status_code == 400


@pytest.mark.parametrize(
    "name",
    ["wrong_type_page", "wrong_type_record", "duplicate_ids", "empty_list", "endless_paging"],
)
def test_what_is_no_page_is_spared_by_faults_of_pages(client: Client, name: str) -> None:
    right = client.json("/v8/ServiceInstance")
    client.simulator.faults.set(name, route="all")

    assert client.json("/v8/ServiceInstance") == right


@pytest.mark.parametrize("name", ["nulls", "truncated_json", "clock_skew", "endless_paging"])
def test_an_error_is_not_damaged(client: Client, name: str) -> None:
    client.simulator.faults.set(name, route="all")

    assert client.get(f"{LIST}/unknown").status_code == 404
    assert client.get(f"{LIST}/unknown").json()["errorCode"] == "ResourceNotFound"


def test_statistics_and_events_can_be_damaged_too(
    faulty_list: Callable[..., Any], sessions: list[str]
) -> None:
    statistics = faulty_list(
        "wrong_type_field", f"{LIST}/{sessions[1]}/Statistics", route="statistics"
    )
    [start, *_] = faulty_list("unknown_enums", f"{LIST}/{sessions[1]}/Events", route="events")[
        "results"
    ]

    assert statistics["totalItemsCount"] == "all"
    assert (start["type"], start["status"]) == ("Vpp", "Suspended")


# The change feed


def test_a_change_token_is_outdated_and_a_new_one_is_given(client: Client, world: World) -> None:
    token = client.json("/v8/Events")["nextChangeToken"]
    world.add_session()
    client.simulator.faults.set("change_token_outdated")

    refused = client.get("/v8/Events", **{"from": token}, timeoutSeconds=0)

    assert refused.status_code == 400
    assert refused.json()["errorCode"] == "OutdatedChangeToken"
    assert client.json("/v8/Events")["nextChangeToken"] != token
    assert client.json(LIST)["results"]
    client.simulator.faults.clear()
    assert len(client.json("/v8/Events", **{"from": token}, timeoutSeconds=0)["results"]) == 1


def test_the_feed_names_other_unknown_sessions_each_time(client: Client) -> None:
    client.simulator.faults.set("feed_unknown_sessions", value=3000)

    responses = [client.json("/v8/Events", **{"from": "1"}, limit=1000) for _ in range(2)]

    ids = {change["id"] for response in responses for change in response["results"]}
    assert len(ids) == 6000
    assert client.get(f"{LIST}/{min(ids)}").status_code == 404


def test_the_feed_repeats_deletes_of_sessions_that_exist(client: Client, world: World) -> None:
    for _ in range(5):
        world.add_session()
    client.simulator.faults.set("feed_repeats_deletes", value=3)

    first, second = (client.json("/v8/Events", **{"from": "1"})["results"] for _ in range(2))

    assert first == second
    assert {change["eventType"] for change in first} == {"RestoreSessionDelete"}
    assert [client.get(f"{LIST}/{change['id']}").status_code for change in first] == [200] * 3


def test_the_feed_has_other_events_besides_the_changes(client: Client, world: World) -> None:
    token = client.json("/v8/Events")["nextChangeToken"]
    key = world.add_session()
    client.simulator.faults.set("feed_unknown_events")

    *others, change = client.json("/v8/Events", **{"from": token})["results"]

    assert (change["eventType"], change["id"]) == ("RestoreSessionUpdate", key)
    kinds = {other.get("eventType") for other in others}
    assert kinds >= {"LicenseUpdate", "RestoreSessionUpdate", "RestoreSessionDelete", None}
    assert [other for other in others if other.get("eventType") == "RestoreSessionUpdate"] == [
        {"eventType": "RestoreSessionUpdate", "eTag": 42}
    ]


@pytest.mark.parametrize("status", [400, 503])
def test_an_error_code_is_not_in_the_specification(client: Client, status: int) -> None:
    client.simulator.faults.set("unknown_error_code", value=status)

    response = client.get(LIST)

    assert response.status_code == status
    assert response.json()["errorCode"] == "RepositoryUnderMaintenance"


def test_a_session_has_many_events(client: Client, world: World) -> None:
    client.simulator.faults.set("many_events", value=1200)
    events = f"{LIST}/{world.add_session()}/Events"

    pages = [client.json(events, offset=offset, limit=500) for offset in (0, 500, 1000, 1500)]

    assert [len(page["results"]) for page in pages] == [500, 500, 200, 0]
