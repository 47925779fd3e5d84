from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
import requests
from simulator.support import Client, MonotonicClock, Simulate

from exporter.simulator.api.tokens import Throttle, ThrottledError

LIST = "/v8/RestoreSessions"


def test_older_servers_use_rfc_1123_dates_and_no_user_name(simulate: Simulate) -> None:
    token = simulate(log_in=None).log_in("v6").json()

    assert token["expires_in"] == 3599
    assert token["token_type"] == "bearer"
    assert token["access_token"].startswith("AQAAANCMnd8BFdERjHoAwE")
    lifetime = parsedate_to_datetime(token[".expires"]) - parsedate_to_datetime(token[".issued"])
    assert lifetime == timedelta(hours=1)
    assert "userName" not in token


@pytest.mark.parametrize("version", ["v7", "v8"])
def test_newer_servers_use_iso_dates_and_the_user_name(simulate: Simulate, version: str) -> None:
    token = simulate(log_in=None).log_in(version).json()

    assert (token["expires_in"], token["userName"]) == (3600, "demo")
    lifetime = datetime.fromisoformat(token[".expires"]) - datetime.fromisoformat(token[".issued"])
    assert lifetime == timedelta(hours=1)


@pytest.mark.parametrize(("style", "seconds"), [("owin", 3599), ("core", 3600)])
def test_the_style_can_be_fixed_for_every_version(
    simulate: Simulate, style: str, seconds: int
) -> None:
    client = simulate(log_in=None, token_style=style)

    assert [client.log_in(v).json()["expires_in"] for v in ("v6", "v8")] == [seconds] * 2


def test_a_wrong_password_is_400_invalid_grant_on_older_servers(simulate: Simulate) -> None:
    response = simulate(log_in=None).log_in("v6", password="wrong")

    assert response.status_code == 400
    assert response.json()["error"] == "invalid_grant"
    assert response.json()["error_description"]


def test_a_wrong_password_is_401_with_a_message_on_newer_servers(simulate: Simulate) -> None:
    response = simulate(log_in=None).log_in("v8", username="nobody")

    assert response.status_code == 401
    assert set(response.json()) == {"message"}


def test_credentials_may_contain_any_character(simulate: Simulate) -> None:
    secret = "p+w&d=%41 ü€\\"
    client = simulate(log_in=None, username="CONTOSO\\svc", password=secret)

    assert client.log_in("v8", username="contoso\\SVC").status_code == 200
    assert client.log_in("v8", password=secret.replace("+", " ")).status_code == 401


def test_a_login_request_may_be_json(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    fields = {"grant_type": "password", "username": "demo", "password": "demo"}
    response = client.request(
        "POST", "/v8/token", json={**fields, "disable_antiforgery_token": True, "assertion": None}
    )
    client.http.headers["Authorization"] = f"bearer {response.json()['access_token']}"
    client.http.cookies.clear()

    assert client.get(LIST).status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_an_unreadable_login_request_is_a_400(simulate: Simulate, body: bytes) -> None:
    client = simulate(log_in=None)
    headers = {"Content-Type": "application/json"}

    assert client.request("POST", "/v8/token", data=body, headers=headers).status_code == 400


def test_another_grant_type_is_refused(simulate: Simulate) -> None:
    client = simulate(log_in=None)

    assert client.log_in("v8", grant_type="operator").status_code == 400
    assert client.log_in("v6", grant_type="operator").json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic ZGVtbzpkZW1v", "Bearer"])
def test_without_a_valid_token_everything_is_401_with_an_empty_body(
    simulate: Simulate, header: str | None
) -> None:
    client = simulate(log_in=None)
    if header is not None:
        client.http.headers["Authorization"] = header
    for path in ("/v6/ServiceInstance", LIST, f"{LIST}/x", f"{LIST}/x/Events", "/v8/Events"):
        response = client.get(path)
        assert (response.status_code, response.content) == (401, b"")


def test_a_token_is_valid_for_every_version(simulate: Simulate) -> None:
    client = simulate(log_in="v6")

    assert [client.get(f"/{v}/RestoreSessions").status_code for v in ("v6", "v7", "v8")] == [
        200
    ] * 3


def test_a_token_expires_after_its_lifetime(simulate: Simulate, monotonic: MonotonicClock) -> None:
    client = simulate(token_lifetime=60, token_clock=monotonic)
    monotonic.seconds += 59.9
    before = client.get(LIST).status_code
    monotonic.seconds += 0.1

    assert (before, client.get(LIST).status_code) == (200, 401)


def test_a_refresh_token_is_valid_once(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    first = client.log_in().json()
    fields = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second, third = client.log_in(**fields), client.log_in(**fields)

    assert second.status_code == 200
    assert second.json()["access_token"] != first["access_token"]
    assert second.json()["refresh_token"] != first["refresh_token"]
    assert third.status_code == 401
    assert client.get(LIST).status_code == 200


@pytest.mark.parametrize("version", ["v6", "v8"])
def test_tokens_can_be_marked(simulate: Simulate, version: str) -> None:
    response = simulate(log_in=None, token_mark="find-me").log_in(version).json()

    assert "find-me" in response["access_token"]
    assert "find-me" in response["refresh_token"]


def test_a_refused_refresh_token_is_400_on_older_servers(simulate: Simulate) -> None:
    response = simulate(log_in=None).log_in("v6", grant_type="refresh_token", refresh_token="no")

    assert (response.status_code, response.json()["error"]) == (400, "invalid_grant")


def test_without_the_antiforgery_flag_a_token_is_valid_only_with_its_cookie(
    simulate: Simulate,
) -> None:
    client = simulate(log_in=None)
    refresh = client.log_in(disable_antiforgery_token="false").json()["refresh_token"]
    with_cookie = client.get(LIST).status_code
    client.http.cookies.clear()
    without = client.get(LIST).status_code
    fields = {"grant_type": "refresh_token", "refresh_token": refresh}
    refused = client.log_in(**fields, disable_antiforgery_token="false").status_code
    granted = client.log_in(**fields).status_code

    assert (with_cookie, without, refused, granted) == (200, 401, 401, 200)


def test_v6_has_no_antiforgery_cookie(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    client.log_in("v6", disable_antiforgery_token="")

    assert not client.http.cookies
    assert client.get("/v6/RestoreSessions").status_code == 200


@pytest.mark.parametrize(("version", "status"), [("v7", 200), ("v8", 204), ("v6", 404)])
def test_a_logout_revokes_the_token_where_the_api_has_one(
    simulate: Simulate, version: str, status: int
) -> None:
    client = simulate(log_in=None)
    refresh = client.log_in().json()["refresh_token"]
    response = client.request("POST", f"/{version}/token/logout")
    after = client.get(LIST).status_code
    again = client.log_in(grant_type="refresh_token", refresh_token=refresh).status_code

    assert (response.status_code, response.content) == (status, b"")
    assert (after, again) == ((200, 200) if status == 404 else (401, 401))


def test_tokens_can_be_revoked(client: Client) -> None:
    client.simulator.tokens.revoke_all()

    assert client.get(LIST).status_code == 401


def test_refresh_tokens_can_be_revoked_too(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    refresh = client.log_in().json()["refresh_token"]
    client.simulator.tokens.revoke_all(refresh_too=True)

    fields = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert client.log_in(**fields).status_code == 401


def test_the_token_endpoint_refuses_a_second_request_within_a_second(
    simulate: Simulate, monotonic: MonotonicClock
) -> None:
    client = simulate(token_throttle=True, token_clock=monotonic)
    response = client.log_in()

    assert response.status_code == 429
    assert response.reason == "API calls quota exceeded! maximum admitted 1 per Second."
    assert (response.headers["Content-Length"], response.headers["Retry-After"]) == ("0", "1")
    monotonic.seconds += 1
    assert client.log_in().status_code == 200


def test_loopback_is_not_throttled_by_default(simulate: Simulate) -> None:
    client = simulate()

    assert [client.log_in().status_code for _ in range(8)] == [200] * 8


def refusals(throttle: Throttle, monotonic: MonotonicClock, *seconds: float) -> list[str]:
    """Count requests `seconds` after one another; return the refusals."""
    results = []
    for pause in seconds:
        monotonic.seconds += pause
        try:
            throttle.count("client")
        except ThrottledError as error:
            results.append(f"{error.phrase[-12:]} {error.retry_after}")
        else:
            results.append("")
    return results


def test_five_requests_a_minute_are_allowed(monotonic: MonotonicClock) -> None:
    results = refusals(Throttle(monotonic), monotonic, 0, 2, 2, 2, 2, 2, 50)

    assert results == ["", "", "", "", "", " per Minute. 50", ""]


def test_a_request_refused_by_the_second_does_not_count_for_the_minute(
    monotonic: MonotonicClock,
) -> None:
    results = refusals(Throttle(monotonic), monotonic, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)

    assert results[1:5] == [" per Second. 1"] * 4
    assert results[5:] == ["", "", "", "", " per Minute. 55"]


def test_1500_requests_an_hour_are_allowed(monotonic: MonotonicClock) -> None:
    throttle = Throttle(monotonic, [(1500, 3600, "Hour")])
    results = refusals(throttle, monotonic, *[1.0] * 1501)

    assert set(results[:1500]) == {""}
    assert results[1500] == "00 per Hour. 2100"


def test_each_client_has_limits_of_its_own(monotonic: MonotonicClock) -> None:
    throttle = Throttle(monotonic)
    throttle.count("10.0.0.1")
    throttle.count("10.0.0.2")
    with pytest.raises(ThrottledError):
        throttle.count("10.0.0.1")


def test_the_cookie_is_sent_over_tls_only(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    response = client.log_in(disable_antiforgery_token="no")

    assert "Secure" in response.headers["Set-Cookie"]


def test_a_client_that_does_not_trust_the_authority_is_not_served(client: Client) -> None:
    client.http.verify = True
    with pytest.raises(requests.exceptions.SSLError):
        client.get("/v8/Health")
