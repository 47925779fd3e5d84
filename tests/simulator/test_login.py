from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
import requests
from simulator.support import Client, Simulate, StopWatch

from exporter.simulator.api.tokens import Throttle, ThrottledError

LIST = "/v8/RestoreSessions"


def test_the_older_servers_answer_with_rfc_1123_dates_and_no_user_name(simulate: Simulate) -> None:
    token = simulate(log_in=None).log_in("v6").json()

    assert token["expires_in"] == 3599
    assert token["token_type"] == "bearer"
    assert token["access_token"].startswith("AQAAANCMnd8BFdERjHoAwE")
    lifetime = parsedate_to_datetime(token[".expires"]) - parsedate_to_datetime(token[".issued"])
    assert lifetime == timedelta(hours=1)
    assert "userName" not in token


@pytest.mark.parametrize("version", ["v7", "v8"])
def test_the_newer_servers_answer_with_iso_dates_and_the_user_name(
    simulate: Simulate, version: str
) -> None:
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
    answer = simulate(log_in=None).log_in("v6", password="wrong")

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_grant"
    assert answer.json()["error_description"]


def test_a_wrong_password_is_401_with_a_message_on_newer_servers(simulate: Simulate) -> None:
    answer = simulate(log_in=None).log_in("v8", username="nobody")

    assert answer.status_code == 401
    assert set(answer.json()) == {"message"}


def test_credentials_may_hold_any_character(simulate: Simulate) -> None:
    secret = "p+w&d=%41 ü€\\"
    client = simulate(log_in=None, username="CONTOSO\\svc", password=secret)

    assert client.log_in("v8", username="contoso\\SVC").status_code == 200
    assert client.log_in("v8", password=secret.replace("+", " ")).status_code == 401


def test_a_login_may_be_json(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    fields = {"grant_type": "password", "username": "demo", "password": "demo"}
    answer = client.ask(
        "POST", "/v8/token", json={**fields, "disable_antiforgery_token": True, "assertion": None}
    )
    client.http.headers["Authorization"] = f"bearer {answer.json()['access_token']}"
    client.http.cookies.clear()

    assert client.get(LIST).status_code == 200


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_a_login_that_cannot_be_read_is_400(simulate: Simulate, body: bytes) -> None:
    client = simulate(log_in=None)
    headers = {"Content-Type": "application/json"}

    assert client.ask("POST", "/v8/token", data=body, headers=headers).status_code == 400


def test_another_grant_type_is_refused(simulate: Simulate) -> None:
    client = simulate(log_in=None)

    assert client.log_in("v8", grant_type="operator").status_code == 400
    assert client.log_in("v6", grant_type="operator").json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic ZGVtbzpkZW1v", "Bearer"])
def test_without_a_good_token_everything_is_401_with_an_empty_body(
    simulate: Simulate, header: str | None
) -> None:
    client = simulate(log_in=None)
    if header is not None:
        client.http.headers["Authorization"] = header
    for path in ("/v6/ServiceInstance", LIST, f"{LIST}/x", f"{LIST}/x/Events", "/v8/Events"):
        answer = client.get(path)
        assert (answer.status_code, answer.content) == (401, b"")


def test_a_token_is_good_for_every_version(simulate: Simulate) -> None:
    client = simulate(log_in="v6")

    assert [client.get(f"/{v}/RestoreSessions").status_code for v in ("v6", "v7", "v8")] == [
        200
    ] * 3


def test_a_token_expires_after_its_lifetime(simulate: Simulate, stop_watch: StopWatch) -> None:
    client = simulate(token_lifetime=60, token_clock=stop_watch)
    stop_watch.seconds += 59.9
    before = client.get(LIST).status_code
    stop_watch.seconds += 0.1

    assert (before, client.get(LIST).status_code) == (200, 401)


def test_a_refresh_token_gives_a_new_pair_once(simulate: Simulate) -> None:
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
    answer = simulate(log_in=None, token_mark="find-me").log_in(version).json()

    assert "find-me" in answer["access_token"]
    assert "find-me" in answer["refresh_token"]


def test_a_refused_refresh_token_is_400_on_older_servers(simulate: Simulate) -> None:
    answer = simulate(log_in=None).log_in("v6", grant_type="refresh_token", refresh_token="no")

    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_without_the_antiforgery_flag_a_token_is_good_only_with_its_cookie(
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


def test_v6_knows_no_antiforgery(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    client.log_in("v6", disable_antiforgery_token="")

    assert not client.http.cookies
    assert client.get("/v6/RestoreSessions").status_code == 200


@pytest.mark.parametrize(("version", "status"), [("v7", 200), ("v8", 204), ("v6", 404)])
def test_logging_out_ends_the_token_where_the_api_has_a_logout(
    simulate: Simulate, version: str, status: int
) -> None:
    client = simulate(log_in=None)
    refresh = client.log_in().json()["refresh_token"]
    answer = client.ask("POST", f"/{version}/token/logout")
    after = client.get(LIST).status_code
    again = client.log_in(grant_type="refresh_token", refresh_token=refresh).status_code

    assert (answer.status_code, answer.content) == (status, b"")
    assert (after, again) == ((200, 200) if status == 404 else (401, 401))


def test_tokens_can_be_revoked_by_the_test(client: Client) -> None:
    client.simulator.tokens.revoke_all()

    assert client.get(LIST).status_code == 401


def test_revoking_with_refresh_tokens_leaves_nothing(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    refresh = client.log_in().json()["refresh_token"]
    client.simulator.tokens.revoke_all(refresh_too=True)

    fields = {"grant_type": "refresh_token", "refresh_token": refresh}
    assert client.log_in(**fields).status_code == 401


def test_the_token_endpoint_refuses_a_second_request_within_a_second(
    simulate: Simulate, stop_watch: StopWatch
) -> None:
    client = simulate(token_throttle=True, token_clock=stop_watch)
    answer = client.log_in()

    assert answer.status_code == 429
    assert answer.reason == "API calls quota exceeded! maximum admitted 1 per Second."
    assert (answer.headers["Content-Length"], answer.headers["Retry-After"]) == ("0", "1")
    stop_watch.seconds += 1
    assert client.log_in().status_code == 200


def test_loopback_is_not_throttled_unless_told(simulate: Simulate) -> None:
    client = simulate()

    assert [client.log_in().status_code for _ in range(8)] == [200] * 8


def refusals(throttle: Throttle, stop_watch: StopWatch, *seconds: float) -> list[str]:
    """Ask `seconds` after the request before; what was said each time."""
    said = []
    for pause in seconds:
        stop_watch.seconds += pause
        try:
            throttle.count("client")
        except ThrottledError as error:
            said.append(f"{error.phrase[-12:]} {error.retry_after}")
        else:
            said.append("")
    return said


def test_five_requests_a_minute_are_let_through(stop_watch: StopWatch) -> None:
    said = refusals(Throttle(stop_watch), stop_watch, 0, 2, 2, 2, 2, 2, 50)

    assert said == ["", "", "", "", "", " per Minute. 50", ""]


def test_a_request_refused_by_the_second_does_not_count_for_the_minute(
    stop_watch: StopWatch,
) -> None:
    said = refusals(Throttle(stop_watch), stop_watch, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1)

    assert said[1:5] == [" per Second. 1"] * 4
    assert said[5:] == ["", "", "", "", " per Minute. 55"]


def test_1500_requests_an_hour_are_let_through(stop_watch: StopWatch) -> None:
    throttle = Throttle(stop_watch)
    for limit in throttle._limits[:2]:
        limit.requests = 10_000  # only the hour is of interest
    said = refusals(throttle, stop_watch, *[1.0] * 1501)

    assert set(said[:1500]) == {""}
    assert said[1500] == "00 per Hour. 2100"


def test_each_client_has_limits_of_its_own(stop_watch: StopWatch) -> None:
    throttle = Throttle(stop_watch)
    throttle.count("10.0.0.1")
    throttle.count("10.0.0.2")
    with pytest.raises(ThrottledError):
        throttle.count("10.0.0.1")


def test_the_cookie_goes_over_tls_only(simulate: Simulate) -> None:
    client = simulate(log_in=None)
    answer = client.log_in(disable_antiforgery_token="no")

    assert "Secure" in answer.headers["Set-Cookie"]


def test_a_client_that_does_not_trust_the_authority_is_not_served(client: Client) -> None:
    client.http.verify = True
    with pytest.raises(requests.exceptions.SSLError):
        client.get("/v8/Health")
