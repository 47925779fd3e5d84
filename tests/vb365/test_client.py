from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from structlog.testing import capture_logs
from vb365.support import (
    ID,
    OTHER_ID,
    PASSWORD,
    TOKEN_RESPONSE,
    URL,
    FakeTime,
    Recorder,
    bearer,
    config,
    requested,
    session,
)

from exporter.config.model import ServerConfig
from exporter.vb365.client import Client, Timing
from exporter.vb365.errors import (
    BadResponseError,
    ForbiddenError,
    NotFoundError,
    Reason,
    RecordsMovedError,
    ServerError,
    StoppedError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.http.deadlines import Cancellation
from exporter.vb365.http.transport import Request, Response, Transport
from exporter.vb365.login import LoginThrottle
from exporter.vb365.records.changes import EXPIRED_TOKEN
from exporter.vb365.records.extras import EventOperation, EventStatus, Statistics
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Rejection, RestoreSession
from exporter.vb365.tokens import Token

MakeClient = Callable[..., Client]

ROOT = f"{URL}/v7"
GENEROUS = 10.0


def page(*records: object, limit: int = 1000, next_href: str | None = None) -> dict[str, object]:
    links = {"next": {"href": next_href}} if next_href else {}
    return {"offset": 0, "limit": limit, "_links": links, "results": list(records)}


# API versions


def detectable(api: responses.RequestsMock, *served: str) -> None:
    for version in ("v6", "v7", "v8"):
        status = 401 if version in served else 404
        api.get(f"{URL}/{version}/ServiceInstance", status=status)


@pytest.mark.parametrize(
    ("served", "selected", "requests_made"),
    [(("v6", "v7", "v8"), "v8", 1), (("v6", "v7"), "v7", 2), (("v6",), "v6", 3)],
)
def test_the_newest_version_that_responds_with_401_is_selected_once(
    api: responses.RequestsMock,
    make_client: MakeClient,
    served: tuple[str, ...],
    selected: str,
    requests_made: int,
) -> None:
    detectable(api, *served)
    api.post(f"{URL}/{selected}/token", json=TOKEN_RESPONSE)
    api.get(f"{URL}/{selected}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version="auto"))
    versions = [client.api_version]
    for _ in range(2):
        client.get_session(ID)
        versions.append(client.api_version)
    assert versions == [None, selected, selected]
    assert len(requested(api, "/ServiceInstance")) == requests_made
    assert "Authorization" not in api.calls[0].request.headers


def test_a_version_that_responds_with_200_without_a_token_is_selected_too(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{URL}/v8/ServiceInstance", json={"version": "8"})
    api.post(f"{URL}/v8/token", json=TOKEN_RESPONSE)
    client = make_client(config(api_version="auto"))
    assert client.product_version() == "8"


def test_a_server_without_any_version_is_not_found(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    detectable(api)
    with pytest.raises(NotFoundError, match="the API was not found") as caught:
        make_client(config(api_version="auto")).product_version()
    assert caught.value.reason == Reason.NOT_FOUND
    assert len(api.calls) == 3


@pytest.mark.parametrize(
    ("status", "error"), [(403, ForbiddenError), (500, ServerError), (302, BadResponseError)]
)
def test_other_statuses_during_detection_are_errors_and_select_no_version(
    api: responses.RequestsMock, make_client: MakeClient, status: int, error: type[Vb365Error]
) -> None:
    api.get(f"{URL}/v8/ServiceInstance", status=status)
    client = make_client(config(api_version="auto"))
    with pytest.raises(error):
        client.product_version()
    assert client.api_version is None


def test_a_403_before_any_login_does_not_blame_the_account(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{URL}/v8/ServiceInstance", status=403)
    with pytest.raises(ForbiddenError) as caught:
        make_client(config(api_version="auto")).product_version()
    api.post(f"{ROOT}/token", status=403, json={"message": "Blocked by policy 7."})
    with pytest.raises(ForbiddenError) as caught_login:
        make_client(config()).product_version()
    text = "access is forbidden before any login succeeded, perhaps by a reverse proxy or firewall"
    assert caught.value.message == f"{text} (HTTP 403)"
    assert caught_login.value.message.startswith(f"{text} (HTTP 403, Blocked by policy 7.)")


def test_the_default_port_is_named_where_the_url_leaves_it_out(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    for version in ("v6", "v7", "v8"):
        api.get(f"https://hq.example.com/vb/{version}/ServiceInstance", status=404)
    client = make_client(config("https://hq.example.com/vb", api_version="auto"))
    with pytest.raises(NotFoundError, match=r"https://hq\.example\.com:443/vb has none"):
        client.product_version()


@pytest.mark.usefixtures("logins")
def test_a_configured_version_is_kept_even_if_it_is_not_found(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/ServiceInstance", status=404)
    client = make_client(config(api_version="v7"))
    with pytest.raises(NotFoundError):
        client.product_version()
    assert client.api_version == "v7"


def test_the_version_is_detected_again_when_the_server_no_longer_has_it(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    served = {"v8"}

    def instance(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        version = (request.url or "").split("/")[3]
        if version not in served:
            return 404, {}, ""
        return (200, {}, '{"version":"x"}') if bearer(request) else (401, {}, "")

    for version in ("v8", "v7", "v6"):
        api.add_callback("GET", f"{URL}/{version}/ServiceInstance", callback=instance)
        api.post(f"{URL}/{version}/token", json=TOKEN_RESPONSE)
    client = make_client(config(api_version="auto"))
    client.product_version()
    assert client.api_version == "v8"
    served = {"v7", "v6"}
    client.product_version()
    assert client.api_version == "v7"


def test_the_version_is_detected_again_after_a_404_for_the_list(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    detectable(api, "v8")
    api.post(f"{URL}/v8/token", json=TOKEN_RESPONSE)
    api.get(f"{URL}/v8/RestoreSessions", status=404)
    client = make_client(config(api_version="auto"))
    for detections in (1, 2):
        with pytest.raises(NotFoundError):
            list(client.list_sessions(created_since=None))
        assert len(requested(api, "/ServiceInstance")) == detections
    assert client.api_version == "v8"


def test_the_version_is_detected_again_after_an_update_of_the_product(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    products = iter(["7.0", "7.0", "8.0", "8.0"])
    served = ["v7"]

    def instance(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if (request.url or "").split("/")[3] not in served:
            return 404, {}, ""
        return (200, {}, f'{{"version":"{next(products)}"}}') if bearer(request) else (401, {}, "")

    for version in ("v8", "v7"):
        api.add_callback("GET", f"{URL}/{version}/ServiceInstance", callback=instance)
        api.post(f"{URL}/{version}/token", json=TOKEN_RESPONSE)
    client = make_client(config(api_version="auto"))
    versions = []
    for _ in range(4):
        client.product_version()
        versions.append(client.api_version)
        served = ["v8", "v7"]
    assert versions == ["v7", "v7", "v7", "v8"]


def test_a_newer_version_that_the_server_has_only_later_is_selected_between_polls(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    detectable(api, "v7")
    api.post(f"{URL}/v7/token", json=TOKEN_RESPONSE)
    for version in ("v7", "v8"):
        api.get(f"{URL}/{version}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version="auto"))

    def poll() -> str | None:
        with client.retrying_until(deadline=fake_time.now):
            client.get_session(ID)
            api.replace("GET", f"{URL}/v8/ServiceInstance", status=401)
            client.get_session(ID)
            return client.api_version

    versions = [poll()]
    for _ in range(3):
        fake_time.now += 30
        versions.append(poll())
    assert versions == ["v7", "v7", "v8", "v8"]
    assert requested(api, "/v8/ServiceInstance") == ["GET /v8/ServiceInstance"] * 2


def test_no_newer_version_is_looked_for_during_a_retry_after(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    detectable(api, "v7")
    api.post(f"{URL}/v7/token", json=TOKEN_RESPONSE)
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=429, headers={"Retry-After": "900"})
    client = make_client(config(api_version="auto"))
    with client.retrying_until(deadline=fake_time.now), pytest.raises(ThrottledError):
        client.get_session(ID)
    before = len(api.calls)
    fake_time.now += 60

    with client.retrying_until(deadline=fake_time.now):
        pass

    assert len(api.calls) == before


@pytest.mark.parametrize("status", [401, 200])
def test_after_a_restart_without_the_newest_version_it_is_soon_selected_again(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, status: int
) -> None:
    for version in ("v8", "v7"):
        api.get(f"{URL}/{version}/ServiceInstance", status=status)
    for version in ("v8", "v7"):
        api.post(f"{URL}/{version}/token", json=TOKEN_RESPONSE | {"expires_in": 0})
        api.get(f"{URL}/{version}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version="auto"))
    for _ in range(60):  # two hours
        with client.retrying_until(deadline=fake_time.now):
            client.get_session(ID)
        fake_time.now += 120
    api.get(f"{URL}/v8/RestoreSessions", status=404)
    api.replace("GET", f"{URL}/v8/ServiceInstance", status=404)

    with capture_logs() as logs, client.retrying_until(deadline=fake_time.now):
        with pytest.raises(NotFoundError):
            list(client.list_sessions(created_since=None))
        client.get_session(ID)
    assert client.api_version == "v7"
    api.replace("GET", f"{URL}/v8/ServiceInstance", status=status)
    fake_time.now += 60
    with client.retrying_until(deadline=fake_time.now):
        pass

    assert client.api_version == "v8"
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [
        "older api version selected, trying the newer one again soon"
    ]


@pytest.mark.parametrize("status", [404, 200, 403, 500, 429])
def test_a_version_that_the_server_never_has_is_requested_at_most_once_an_hour(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, status: int
) -> None:
    detectable(api, "v7")
    api.post(f"{URL}/v7/token", json=TOKEN_RESPONSE | {"expires_in": 0})
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version="auto"))
    minutes = []
    for minute in range(360):
        before = len(requested(api, "/v8/ServiceInstance"))
        with client.retrying_until(deadline=fake_time.now):
            client.get_session(ID)
        if len(requested(api, "/v8/ServiceInstance")) > before:
            minutes.append(minute)
        if minute == 0:
            api.replace(
                "GET", f"{URL}/v8/ServiceInstance", status=status, headers={"Retry-After": "900"}
            )
        fake_time.now += 60
    assert minutes == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]
    assert client.api_version == "v7"


def test_no_newer_version_is_selected_than_the_configured_one(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE)
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version="v7"))
    for _ in range(3):
        with client.retrying_until(deadline=fake_time.now):
            client.get_session(ID)
        fake_time.now += 7200
    assert not requested(api, "/ServiceInstance")
    assert client.api_version == "v7"


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    ("body", "version"),
    [
        ({"version": "8.1.0.305", "installationId": "abc"}, "8.1.0.305"),
        ({"version": None}, ""),
        ({"version": 8, "installationId": []}, ""),
        ({"version": "x" * 10_000}, "x" * 512),
    ],
)
def test_the_product_version_is_parsed_leniently(
    api: responses.RequestsMock,
    make_client: MakeClient,
    body: object,
    version: str,
) -> None:
    api.get(f"{ROOT}/ServiceInstance", json=body)
    assert make_client().product_version() == version


@pytest.mark.usefixtures("logins")
def test_a_service_instance_that_is_not_an_object_is_a_bad_response(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/ServiceInstance", json=[])
    with pytest.raises(BadResponseError):
        make_client().product_version()


# Sessions


@pytest.mark.usefixtures("logins")
def test_a_session_id_is_quoted_in_the_path(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/a%2F..%2Fb%3Fc", json=session("a/../b?c"))
    assert isinstance(make_client().get_session("a/../b?c"), Rejection)
    assert requested(api)[1] == "GET /v7/RestoreSessions/a%2F..%2Fb%3Fc"


@pytest.mark.usefixtures("logins")
def test_ids_are_compared_case_insensitively(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID.upper()}", json=session())
    assert isinstance(make_client().get_session(ID.upper()), RestoreSession)


@pytest.mark.usefixtures("logins")
def test_another_session_than_the_requested_one_is_rejected(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session(OTHER_ID))
    assert make_client().get_session(ID) == Rejection(
        reason=RejectionReason.OTHER_SESSION, field="id", session_id=ID
    )


@pytest.mark.usefixtures("logins")
def test_a_record_that_is_not_a_session_is_returned_as_a_rejection(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=["no", "session"])
    assert make_client().get_session(ID) == Rejection(reason=RejectionReason.NOT_AN_OBJECT)


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        (302, BadResponseError, Reason.BAD_RESPONSE),
        (304, BadResponseError, Reason.BAD_RESPONSE),
        (400, BadResponseError, Reason.BAD_RESPONSE),
        (403, ForbiddenError, Reason.FORBIDDEN),
        (404, NotFoundError, Reason.NOT_FOUND),
        (418, BadResponseError, Reason.BAD_RESPONSE),
        (429, ThrottledError, Reason.THROTTLED),
        (500, ServerError, Reason.SERVER_ERROR),
        (501, ServerError, Reason.SERVER_ERROR),
    ],
)
def test_each_status_maps_to_its_error(
    api: responses.RequestsMock,
    make_client: MakeClient,
    observer: Recorder,
    status: int,
    error: type[Vb365Error],
    reason: Reason,
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=status)
    with pytest.raises(error) as caught:
        make_client().get_session(ID)
    assert (caught.value.reason, caught.value.status) == (reason, status)
    assert caught.value.operation == "get"
    assert observer.requests[1:] == [("get", str(status))]


@pytest.mark.usefixtures("logins")
def test_a_partial_response_is_not_a_list(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page(session()), status=206)
    with pytest.raises(BadResponseError, match=r"only a part .*HTTP 206"):
        list(make_client().list_sessions(created_since=None))


@pytest.mark.usefixtures("logins")
def test_an_error_quotes_the_server_in_one_printable_line_without_the_token(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    text = "No\r\n\x1b[31mway\ud800 access-1 " + "x" * 500
    api.get(
        f"{ROOT}/RestoreSessions/{ID}",
        body=json.dumps({"errorCode": "ResourceAccessDenied", "message": text}),
        status=403,
    )
    with pytest.raises(
        ForbiddenError, match=r"ResourceAccessDenied, No.*way.* <secret> x+"
    ) as caught:
        make_client().get_session(ID)
    assert str(caught.value).isprintable()
    assert "access-1" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    api: responses.RequestsMock, make_client: MakeClient, status: int
) -> None:
    elsewhere = {"Location": "https://evil.example.com/"}
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=status, headers=elsewhere)
    with pytest.raises(BadResponseError, match="redirects"):
        make_client().get_session(ID)
    assert len(api.calls) == 2


def test_credentials_are_not_sent_after_a_redirect(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    elsewhere = {"Location": "https://evil.example.com/v7/token"}
    api.post(f"{ROOT}/token", status=307, headers=elsewhere)
    with pytest.raises(BadResponseError, match="redirects"):
        make_client().get_session(ID)
    assert len(api.calls) == 1


# Lists


@pytest.mark.usefixtures("logins")
def test_a_list_filters_by_creation_time_in_utc_with_microseconds(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page())
    since = datetime(2022, 3, 12, 17, 55, 20, 855741, tzinfo=timezone(timedelta(hours=2)))
    list(make_client().list_sessions(created_since=since, page_size=50))
    url = urlsplit(api.calls[1].request.url or "")
    assert parse_qs(url.query) == {
        "startTimeFrom": ["2022-03-12T15:55:20.855741Z"],
        "offset": ["0"],
        "limit": ["50"],
    }


@pytest.mark.usefixtures("logins")
def test_a_whole_second_keeps_its_fraction(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page())
    since = datetime(2022, 3, 12, 15, 55, 20, tzinfo=UTC)
    list(make_client().list_sessions(created_since=since))
    assert "startTimeFrom=2022-03-12T15%3A55%3A20.000000Z" in requested(api)[1]


@pytest.mark.usefixtures("logins")
def test_records_that_are_not_sessions_do_not_hide_the_others(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    huge = json.dumps(page(session(), session(OTHER_ID) | {"eTag": 7}, "x")).replace("7}", "1e999}")
    api.get(f"{ROOT}/RestoreSessions", body=huge)
    (only,) = make_client().list_sessions(created_since=None)
    assert [each.id for each in only.sessions] == [ID]
    assert [each.reason for each in only.rejections] == [
        RejectionReason.WRONG_TYPE,
        RejectionReason.NOT_AN_OBJECT,
    ]


@pytest.mark.usefixtures("logins")
def test_a_list_without_a_readable_record_is_a_bad_response_at_its_end(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page("w", "x", "y", limit=3))
    api.get(f"{ROOT}/RestoreSessions", json=page("y", "z", limit=3))
    pages = make_client().list_sessions(created_since=None)
    assert [len(next(pages).rejections) for _ in range(2)] == [3, 1]
    with pytest.raises(BadResponseError, match="none of the 4 records can be read"):
        next(pages)


@pytest.mark.usefixtures("logins")
def test_a_list_of_one_unreadable_record_is_a_success(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page(session() | {"type": 7}))
    (only,) = make_client().list_sessions(created_since=None)
    assert [(each.session_id, each.reason) for each in only.rejections] == [
        (ID, RejectionReason.WRONG_TYPE)
    ]


@pytest.mark.usefixtures("logins")
def test_one_readable_record_makes_a_list_of_unreadable_ones_a_success(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page("x", "y", limit=2))
    api.get(f"{ROOT}/RestoreSessions", json=page("y", session(), limit=3))
    pages = list(make_client().list_sessions(created_since=None))
    assert [(len(each.sessions), len(each.rejections)) for each in pages] == [(0, 2), (1, 0)]


@pytest.mark.usefixtures("logins")
def test_a_list_is_fetched_lazily(api: responses.RequestsMock, make_client: MakeClient) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page(session(), next_href="/v7/x"))
    pages = make_client().list_sessions(created_since=None)
    assert not api.calls
    next(pages)
    assert len(api.calls) == 2


@pytest.mark.usefixtures("logins")
def test_a_next_link_to_another_version_is_followed_unchanged(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page(session(), next_href="/v8/RESTOREsessions?x=1"))
    api.get(f"{URL}/v8/RESTOREsessions?x=1", json=page(session(OTHER_ID)))
    pages = list(make_client().list_sessions(created_since=None))
    assert [each.id for one in pages for each in one.sessions] == [ID, OTHER_ID]
    assert bearer(api.calls[-1].request) == "access-1"


@pytest.mark.usefixtures("logins")
def test_a_next_link_under_another_name_is_followed_on_the_configured_server(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    href = "http://internal.example.com:9191/v7/RestoreSessions?x=1"
    api.get(f"{ROOT}/RestoreSessions", json=page(session(), next_href=href))
    api.get(f"{URL}/v7/RestoreSessions?x=1", json=page(session(OTHER_ID)))
    pages = list(make_client().list_sessions(created_since=None))
    assert [each.id for one in pages for each in one.sessions] == [ID, OTHER_ID]
    assert {urlsplit(str(call.request.url)).netloc for call in api.calls} == {urlsplit(URL).netloc}


@pytest.mark.usefixtures("logins")
def test_endless_paging_is_ended(api: responses.RequestsMock, make_client: MakeClient) -> None:
    numbers = iter(range(100))

    def respond(_request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        number = next(numbers)
        record = session(f"{number:08x}-9cdc-4004-9160-9b90f90f1bbf")
        return 200, {}, json.dumps(page(record, next_href=f"/v7/RestoreSessions?offset={number}1"))

    api.add_callback("GET", f"{ROOT}/RestoreSessions", callback=respond)
    with pytest.raises(BadResponseError, match="endless paging: more than 5 pages"):
        list(make_client(max_pages=5).list_sessions(created_since=None))
    assert len(api.calls) == 6


@pytest.mark.usefixtures("logins")
def test_sessions_that_moved_between_pages_are_an_error(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions", json=page(session(), session(OTHER_ID), limit=2))
    api.get(f"{ROOT}/RestoreSessions", json=page(limit=2))
    with pytest.raises(RecordsMovedError):
        list(make_client().list_sessions(created_since=None))


# The server's clock


@pytest.mark.usefixtures("logins")
def test_the_servers_time_is_its_newest_date_plus_the_time_since(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    client = make_client()
    for date in ("Sun, 29 Nov 2026 12:00:00 GMT", "Sat, 28 Nov 2026 12:00:00 GMT"):
        api.get(f"{ROOT}/RestoreSessions/{ID}", json=session(), headers={"Date": date})
    assert client.server_time is None

    client.get_session(ID)
    fake_time.now += 90
    assert client.server_time == datetime(2026, 11, 29, 12, 1, 30, tzinfo=UTC)

    client.get_session(ID)
    assert client.server_time == datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("date", ["", "noon", "Fri, 01 Jan 1960 00:00:00 GMT", "9" * 5000])
def test_a_response_without_a_usable_date_leaves_the_servers_time_unknown(
    api: responses.RequestsMock, make_client: MakeClient, date: str
) -> None:
    client = make_client()
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session(), headers={"Date": date})
    client.get_session(ID)
    assert client.server_time is None


@pytest.mark.usefixtures("logins")
def test_the_date_of_a_failed_request_is_not_taken_for_the_servers_time(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    client = make_client()
    date = {"Date": "Sun, 29 Nov 2026 12:00:00 GMT"}
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=502, headers=date)
    api.get(f"{ROOT}/RestoreSessions/{ID}", body="<html>", headers=date)
    for _ in range(2):
        with pytest.raises(Vb365Error):
            client.get_session(ID)
    assert client.server_time is None


# Retries and Retry-After


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    "failure",
    [
        {"status": 500},
        {"status": 502},
        {"status": 503},
        {"status": 504},
        {"status": 429},
        {"body": requests.ConnectionError()},
        {"body": requests.ReadTimeout()},
    ],
)
def test_transient_failures_are_tried_five_times_with_growing_waits(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    observer: Recorder,
    failure: dict[str, Any],
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", **failure)
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(Vb365Error):
        client.get_session(ID)
    assert fake_time.waits == [0.5, 1.0, 2.0, 4.0]
    assert len(requested(api, ID)) == 5
    assert observer.retries == ["get"] * 4


CALLS: Mapping[str, Callable[[Client], object]] = {
    "service_instance": lambda client: client.product_version(),
    "list": lambda client: list(client.list_sessions(created_since=None)),
    "get": lambda client: client.get_session(ID),
    "token": lambda client: client.get_session(ID),
}
PATHS = {
    "service_instance": "/ServiceInstance",
    "list": "/RestoreSessions",
    "get": f"/RestoreSessions/{ID}",
    "token": "/token",
}


@pytest.mark.parametrize(
    ("operation", "attempts"), [("service_instance", 5), ("list", 5), ("get", 5), ("token", 3)]
)
def test_an_operation_is_attempted_five_times_and_a_token_request_three_times(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    operation: str,
    attempts: int,
) -> None:
    if operation == "token":
        api.post(f"{ROOT}/token", status=503)
    else:
        api.post(f"{ROOT}/token", json=TOKEN_RESPONSE)
        api.get(ROOT + PATHS[operation], status=503)
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(ServerError):
        CALLS[operation](client)
    assert len(requested(api, PATHS[operation])) == attempts


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("status", [302, 400, 403, 404, 501])
def test_permanent_failures_are_not_retried(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, status: int
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=status)
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(Vb365Error):
        client.get_session(ID)
    assert len(requested(api, ID)) == 1
    assert not fake_time.waits


@pytest.mark.usefixtures("logins")
def test_nothing_is_retried_outside_of_a_poll(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=503)
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60):
        pass
    with pytest.raises(ServerError):
        client.get_session(ID)
    assert len(requested(api, ID)) == 1


@pytest.mark.usefixtures("logins")
def test_a_request_is_tried_once_after_the_polls_deadline(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=503)
    client = make_client()
    with client.retrying_until(deadline=fake_time.now - 1), pytest.raises(ServerError):
        client.get_session(ID)
    assert len(requested(api, ID)) == 1


@pytest.mark.usefixtures("logins")
def test_retry_after_within_the_poll_is_waited_for(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=429, headers={"Retry-After": "7"})
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60):
        client.get_session(ID)
    assert fake_time.waits == [7.0]


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_beyond_the_poll_ends_it_as_throttled_and_nothing_goes_out_before(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, status: int
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=status, headers={"Retry-After": "120"})
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    with (
        client.retrying_until(deadline=fake_time.now + 60),
        pytest.raises(ThrottledError) as caught,
    ):
        client.get_session(ID)
    assert caught.value.retry_after_seconds == 120
    assert not fake_time.waits
    calls = len(api.calls)
    fake_time.now += 59
    with (
        client.retrying_until(deadline=fake_time.now + 60),
        pytest.raises(ThrottledError, match="61 s"),
    ):
        client.get_session(OTHER_ID)
    assert len(api.calls) == calls
    fake_time.now += 60
    with client.retrying_until(deadline=fake_time.now + 60):
        client.get_session(ID)
    assert fake_time.waits == [1.0]


def test_retry_after_of_the_token_endpoint_is_obeyed(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", status=429, headers={"Retry-After": "900000"})
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(ThrottledError):
        client.get_session(ID)
    with (
        client.retrying_until(deadline=fake_time.now + 899),
        pytest.raises(ThrottledError, match="900 s"),
    ):
        client.get_session(ID)
    assert len(api.calls) == 1


@pytest.mark.usefixtures("logins")
def test_a_throttled_error_quotes_the_reason_phrase(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=429)
    with pytest.raises(ThrottledError, match="HTTP 429, Too Many Requests"):
        make_client().get_session(ID)


@pytest.mark.usefixtures("logins")
def test_stopping_ends_the_wait_before_a_retry(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=503)
    client = make_client()
    fake_time.stopped = True
    with client.retrying_until(deadline=fake_time.now + 60), pytest.raises(StoppedError):
        client.get_session(ID)
    assert len(requested(api, ID)) == 1


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    "waits_for", ["back-off", "retry-after", "another request's", "login pace"]
)
def test_stopping_ends_a_wait_under_way(
    api: responses.RequestsMock, observer: Recorder, stop: threading.Event, waits_for: str
) -> None:
    headers = {} if waits_for == "back-off" else {"Retry-After": "600"}
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=503, headers=headers)
    moment = time.monotonic()
    throttle = LoginThrottle(clock=lambda: moment)
    waiting = threading.Event()

    def wait(seconds: float) -> bool:
        assert seconds > 50
        waiting.set()
        return Cancellation(stop).wait(seconds)

    client = Client(
        config(),
        observer=observer,
        stop=stop,
        timing=Timing(wait=wait, random=lambda: 200.0),  # for a long back-off
        login_throttle=throttle,
    )
    if waits_for == "another request's":
        with pytest.raises(ThrottledError):
            client.get_session(ID)
    if waits_for == "login pace":
        for _ in range(5):
            assert throttle.acquire() == 0
            moment += 2
    with ThreadPoolExecutor(1) as pool, client.retrying_until(deadline=math.inf):
        outcome = pool.submit(client.get_session, ID)
        assert waiting.wait(GENEROUS)
        stop.set()
        assert isinstance(outcome.exception(GENEROUS), StoppedError)
    client.close()


class RecordingTransport(Transport):
    """A transport that records the requests it sends."""

    def __init__(self, server: ServerConfig, observer: Recorder, stop: threading.Event) -> None:
        super().__init__(server, observer=observer, stop=stop)
        self.sent: list[Request] = []

    def exchange(self, request: Request) -> Response:
        self.sent.append(request)
        return super().exchange(request)


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize("seconds", [0.5, math.inf])
def test_a_request_has_the_seconds_until_a_moment_or_any_number(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    observer: Recorder,
    stop: threading.Event,
    seconds: float,
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    transport = RecordingTransport(config(), observer, stop)

    make_client(transport=transport).get_session(ID, until=fake_time.now + seconds)

    assert [request.deadline_seconds for request in transport.sent] == [math.inf, seconds]


@pytest.mark.usefixtures("logins")
def test_a_logout_goes_out_after_the_stop_and_takes_two_seconds_at_most(
    api: responses.RequestsMock, make_client: MakeClient, observer: Recorder, stop: threading.Event
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    api.post(f"{ROOT}/token/logout")
    transport = RecordingTransport(config(), observer, stop)
    client = make_client(transport=transport)
    client.get_session(ID)
    stop.set()

    client.close()

    logout = transport.sent[-1]
    assert logout.target == "/v7/token/logout"
    assert (logout.allow_after_stop, logout.deadline_seconds) == (True, 2.0)
    assert observer.requests[-1] == ("token", "200")


# Bodies


@pytest.mark.usefixtures("logins")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "empty"),
        (b"<html>Sign in</html>", "HTML or XML"),
        (b'{"a": NaN}', "NaN"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"{]", "not JSON"),
    ],
)
def test_a_body_that_is_not_json_is_a_bad_response(
    api: responses.RequestsMock,
    make_client: MakeClient,
    observer: Recorder,
    body: bytes,
    text: str,
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", body=body, content_type="application/json")
    with pytest.raises(BadResponseError, match=text) as caught:
        make_client().get_session(ID)
    assert caught.value.status == 200
    assert caught.value.__context__ is None
    assert observer.requests[-1] == ("get", "200")


@pytest.mark.usefixtures("logins")
def test_the_body_of_a_single_session_has_a_lower_limit_than_that_of_a_page(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    spaces = " " * (1 << 20)
    api.get(f"{ROOT}/RestoreSessions/{ID}", body=json.dumps(session()) + spaces)
    api.get(f"{ROOT}/RestoreSessions", body=json.dumps(page(session())) + spaces)
    client = make_client()
    with pytest.raises(BadResponseError, match="larger than 1048576 bytes"):
        client.get_session(ID)
    (only,) = client.list_sessions(created_since=None)
    assert [each.id for each in only.sessions] == [ID]


@pytest.mark.usefixtures("logins")
def test_a_body_is_decoded_whatever_its_content_type(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    body = b"\xef\xbb\xbf" + json.dumps(session()).encode()
    api.get(f"{ROOT}/RestoreSessions/{ID}", body=body, content_type="text/html; charset=latin-1")
    assert isinstance(make_client().get_session(ID), RestoreSession)


@pytest.mark.usefixtures("logins")
def test_a_status_that_does_not_exist_is_a_bad_response_and_counted_as_error(
    api: responses.RequestsMock, make_client: MakeClient, observer: Recorder
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=777)
    with pytest.raises(BadResponseError, match="777"):
        make_client().get_session(ID)
    assert observer.requests[-1] == ("get", "error")


# The environment and secrets


@pytest.mark.usefixtures("logins")
def test_a_netrc_does_not_replace_the_token(
    api: responses.RequestsMock,
    make_client: MakeClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine vb365.example.com login evil password evil\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    make_client().get_session(ID)
    assert bearer(api.calls[1].request) == "access-1"


@pytest.mark.usefixtures("logins")
def test_no_secret_is_in_the_log_or_in_the_repr_of_objects(
    api: responses.RequestsMock,
    make_client: MakeClient,
    logged: list[MutableMapping[str, object]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=500)
    client = make_client()
    with pytest.raises(ServerError) as caught:
        client.get_session(ID)
    token = Token("access-1", refresh_token="refresh-1")
    texts = [str(logged), repr(client), repr(caught), repr(token)]
    assert [entry["path"] for entry in logged] == ["/v7/token", f"/v7/RestoreSessions/{ID}"]
    for secret in (PASSWORD, "access-1", "refresh-1"):
        assert not [text for text in texts if secret in text]


def test_the_path_of_the_configured_url_prefixes_the_paths_of_the_api(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.post(f"{URL}/veeam/v7/token", json=TOKEN_RESPONSE)
    api.get(f"{URL}/veeam/v7/RestoreSessions/{ID}", json=session())
    client = make_client(config(f"{URL}/veeam"))
    assert isinstance(client.get_session(ID), RestoreSession)


# Statistics, events and the change feed

V8 = f"{URL}/v8"


@pytest.fixture
def v8(api: responses.RequestsMock, make_client: MakeClient) -> Client:
    api.post(f"{V8}/token", json=TOKEN_RESPONSE)
    return make_client(config(api_version="v8"))


def test_statistics_of_a_session_are_its_counts(v8: Client, api: responses.RequestsMock) -> None:
    url = f"{V8}/RestoreSessions/{ID}/Statistics"
    api.get(url, json={"restoredItemsCount": 10, "failedItemsCount": 1, "items": []})

    assert v8.statistics(ID) == Statistics(restored=10, failed=1)


@pytest.mark.parametrize("items", [20_000, 60_000])
def test_however_many_items_statistics_list_their_counts_are_read(
    v8: Client, api: responses.RequestsMock, items: int
) -> None:
    item = {"name": "Re: offer", "itemType": "IPM.Note", "status": "Success", "path": "\\Inbox"}
    counts = {"totalItemsCount": items, "restoredItemsCount": items, "failedItemsCount": 0}
    api.get(f"{V8}/RestoreSessions/{ID}/Statistics", json={**counts, "items": [item] * items})

    assert v8.statistics(ID) == Statistics(restored=items, failed=0, total=items)


@pytest.mark.parametrize("body", ['{"restoredItemsCount":1', '{"restoredItemsCount":1}2', "{"])
def test_statistics_that_break_off_are_a_bad_response(
    v8: Client, api: responses.RequestsMock, body: str
) -> None:
    api.get(f"{V8}/RestoreSessions/{ID}/Statistics", body=body)

    with pytest.raises(BadResponseError, match="not JSON"):
        v8.statistics(ID)


def test_statistics_without_counts_are_a_bad_response(
    v8: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{V8}/RestoreSessions/{ID}/Statistics", json=["counts"])

    with pytest.raises(BadResponseError, match="no counts"):
        v8.statistics(ID)


def test_events_are_summed_up_over_all_pages(v8: Client, api: responses.RequestsMock) -> None:
    url = f"{V8}/RestoreSessions/{ID}/Events"
    one = {"id": "1", "type": "Export", "status": "Success", "itemSizeBytes": 5}
    two = {"id": "2", "type": "View", "status": "Failed"}
    api.get(url, json=page(one, next_href=f"/v8/RestoreSessions/{ID}/Events?offset=1"))
    api.get(url, json=page(two))

    summary = v8.events(ID).read(math.inf)

    assert summary is not None
    assert summary.counts == {
        (EventOperation.EXPORT, EventStatus.SUCCESS): 1,
        (EventOperation.VIEW, EventStatus.FAILED): 1,
    }
    assert summary.size_bytes == {EventOperation.EXPORT: 5, EventOperation.VIEW: 0}


def test_the_change_feed_is_requested_from_a_change_token(
    v8: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{V8}/Events", json={"nextChangeToken": "18", "results": []})

    changes = v8.change_feed("17", long_poll_seconds=30)

    assert changes.change_token == "18"
    assert requested(api, "/v8/Events") == ["GET /v8/Events?from=17&limit=1000&timeoutSeconds=30"]


def test_the_read_timeout_of_the_change_feed_includes_the_long_poll(
    v8: Client, api: responses.RequestsMock
) -> None:
    api.get(f"{V8}/Events", json={"nextChangeToken": "18", "results": []})

    v8.change_feed("17", long_poll_seconds=30)

    login, feed = (call.request.req_kwargs["timeout"] for call in api.calls)  # type: ignore[attr-defined] # responses adds them
    (connect, read) = login
    assert feed == (connect, read + 30)


def test_an_expired_change_token_is_recognised_by_its_error_code(
    v8: Client, api: responses.RequestsMock
) -> None:
    api.get(
        f"{V8}/Events",
        status=400,
        json={"message": "The change token is no longer valid.", "errorCode": EXPIRED_TOKEN},
    )

    with pytest.raises(BadResponseError) as caught:
        v8.change_feed("17", long_poll_seconds=30)

    assert caught.value.code == EXPIRED_TOKEN


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.statistics(ID),
        lambda client: client.events(ID).read(math.inf),
        lambda client: client.change_feed("17", long_poll_seconds=30),
    ],
)
def test_extras_and_the_change_feed_are_never_retried(
    v8: Client, api: responses.RequestsMock, call: Callable[[Client], object]
) -> None:
    for path in (f"RestoreSessions/{ID}/Statistics", f"RestoreSessions/{ID}/Events", "Events"):
        api.get(f"{V8}/{path}", status=503)

    with v8.retrying_until(deadline=math.inf), pytest.raises(ServerError):
        call(v8)

    assert len(api.calls) == 2  # the login and the request
