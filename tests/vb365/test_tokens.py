from __future__ import annotations

import base64
import html
import json
import re
import threading
from collections.abc import Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from itertools import pairwise
from pathlib import Path
from urllib.parse import parse_qs, parse_qsl, quote, quote_plus

import pytest
import requests
import responses
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
    forms,
    requested,
    session,
    token_response,
)

from exporter.config.secrets import SecretSource
from exporter.vb365.client import Client
from exporter.vb365.errors import (
    AuthError,
    BadResponseError,
    ConnectError,
    ServerError,
    StoppedError,
    ThrottledError,
    Vb365Error,
)
from exporter.vb365.login import LoginThrottle, PasswordLogin
from exporter.vb365.records.restore_session import RestoreSession
from exporter.vb365.tokens import PasswordTokens, StaticTokens

MakeClient = Callable[..., Client]

ROOT = f"{URL}/v7"


# Logging in


@pytest.mark.usefixtures("logins")
def test_credentials_are_form_encoded_in_utf_8(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    make_client().get_session(ID)
    request = api.calls[0].request
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert isinstance(request.body, str)
    assert "password=p%2Bw%26d%3D%25%C3%BC" in request.body
    assert parse_qs(request.body) == {
        "grant_type": ["password"],
        "username": [r"CONTOSO\svc"],
        "password": [PASSWORD],
        "disable_antiforgery_token": ["true"],
    }


@pytest.mark.parametrize(("version", "expected"), [("v6", None), ("v7", "true"), ("v8", "true")])
def test_antiforgery_is_switched_off_where_there_is_one_at_login_and_at_refresh(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    version: str,
    expected: str | None,
) -> None:
    api.post(f"{URL}/{version}/token", json=TOKEN_RESPONSE)
    api.get(f"{URL}/{version}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version=version))
    client.get_session(ID)
    fake_time.now += 3600
    client.get_session(ID)
    assert [form["grant_type"] for form in forms(api)] == ["password", "refresh_token"]
    assert [form.get("disable_antiforgery_token") for form in forms(api)] == [expected, expected]


@pytest.mark.usefixtures("logins")
def test_one_login_serves_all_polls(api: responses.RequestsMock, make_client: MakeClient) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    for _ in range(3):
        with client.retrying_until(deadline=2000.0):
            client.get_session(ID)
    assert len(requested(api, "/token")) == 1
    assert {bearer(call.request) for call in list(api.calls)[1:]} == {"access-1"}


def test_cookies_of_the_login_are_sent_with_later_requests(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.post(
        f"{ROOT}/token",
        json=TOKEN_RESPONSE,
        headers={"Set-Cookie": "antiforgery=x1; Path=/; Secure"},
    )
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    make_client().get_session(ID)
    assert api.calls[1].request.headers["Cookie"] == "antiforgery=x1"


def test_no_more_than_50_cookies_are_kept(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    numbers = iter(range(1000))

    def respond(_request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        return 200, {"Set-Cookie": f"c{next(numbers)}=1; Path=/"}, json.dumps(session())

    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE)
    api.add_callback("GET", f"{ROOT}/RestoreSessions/{ID}", callback=respond)
    client = make_client()
    for _ in range(100):
        client.get_session(ID)
    assert len(api.calls[-1].request.headers["Cookie"].split(";")) == 50


@pytest.mark.parametrize("status", [400, 401])
def test_a_refused_password_is_not_tried_again_for_a_minute(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    logged: list[MutableMapping[str, object]],
    status: int,
) -> None:
    api.post(f"{ROOT}/token", json={"error": "invalid_grant"}, status=status)
    client = make_client()
    with pytest.raises(AuthError, match=rf"HTTP {status}, invalid_grant\).* next try in 60 s"):
        client.get_session(ID)
    fake_time.now += 59
    with pytest.raises(AuthError, match="next try in 1 s"):
        client.get_session(ID)
    assert len(api.calls) == 1
    fake_time.now += 2
    with pytest.raises(AuthError, match="next try in 120 s"):
        client.get_session(ID)
    assert len(api.calls) == 2
    warnings = [entry for entry in logged if entry["log_level"] == "warning"]
    assert [(entry["event"], entry["status"]) for entry in warnings] == [("login refused", status)]
    assert PASSWORD not in str(logged)


def test_a_password_refused_while_its_request_waits_for_a_slot_is_not_sent(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    login_throttle: LoginThrottle,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse_and_wait(seconds: float) -> bool:
        login_throttle.record_refusal(r"CONTOSO\svc", PASSWORD, "the login is refused (HTTP 400)")
        return FakeTime.wait(fake_time, seconds)

    monkeypatch.setattr(fake_time, "wait", refuse_and_wait)
    login_throttle.acquire()
    client = make_client()
    with pytest.raises(AuthError, match=r"refused \(HTTP 400\); next try in 59 s"):
        client.get_session(ID)
    assert not api.calls
    assert login_throttle.record_refusal(r"CONTOSO\svc", PASSWORD, "refused") == (120, False)


def test_a_changed_secret_file_ends_the_wait_after_a_refused_password(
    api: responses.RequestsMock, make_client: MakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old")

    def token(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        accepted = "password=new" in str(request.body)
        return (200, {}, json.dumps(TOKEN_RESPONSE)) if accepted else (400, {}, "{}")

    api.add_callback("POST", f"{ROOT}/token", callback=token)
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client(config(secret=SecretSource(file=file)))
    with pytest.raises(AuthError):
        client.get_session(ID)
    file.write_text("new")
    with client.retrying_until(deadline=2000.0):
        assert isinstance(client.get_session(ID), RestoreSession)


def test_the_log_has_when_a_refused_login_is_accepted_again(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    logged: list[MutableMapping[str, object]],
) -> None:
    api.post(f"{ROOT}/token", status=400)
    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE)
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    with pytest.raises(AuthError):
        client.get_session(ID)
    fake_time.now += 61
    client.get_session(ID)
    assert [e["event"] for e in logged if e["log_level"] != "debug"] == [
        "login refused",
        "login accepted again",
    ]


def test_an_unreadable_secret_is_an_auth_error_that_names_it(
    api: responses.RequestsMock, make_client: MakeClient, tmp_path: Path
) -> None:
    client = make_client(config(secret=SecretSource(file=tmp_path / "missing")))
    with pytest.raises(AuthError, match="missing cannot be read"):
        client.get_session(ID)
    assert not api.calls


def test_a_password_that_is_not_unicode_is_an_auth_error_without_it(
    make_client: MakeClient,
) -> None:
    client = make_client(config(secret=SecretSource(value="hun\udc80ter2")))
    with pytest.raises(AuthError) as caught:
        client.get_session(ID)
    assert "ter2" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "token", ["", "two words", "line\r\nX-Evil: 1", "tük", 7, None, "a" * 40000]
)
def test_an_access_token_that_no_header_can_hold_is_a_bad_response(
    api: responses.RequestsMock, make_client: MakeClient, token: object
) -> None:
    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE | {"access_token": token})
    with pytest.raises(BadResponseError, match="no usable access token"):
        make_client().get_session(ID)
    assert requested(api) == ["POST /v7/token"]


def test_a_token_response_that_is_not_an_object_is_a_bad_response(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.post(f"{ROOT}/token", json=["access-1"])
    with pytest.raises(BadResponseError, match="not a JSON object"):
        make_client().get_session(ID)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (
            {"error": "invalid_grant", "error_description": "The account is locked."},
            "HTTP 400, invalid_grant, The account is locked.",
        ),
        (
            {"message": "Multi-factor\r\n authentication\x00 is required."},
            "HTTP 400, Multi-factor authentication is required.",
        ),
        ({"message": "x" * 1000}, f"HTTP 400, {'x' * 200}..."),
        ({"message": ["no text"]}, "HTTP 400"),
    ],
)
def test_a_refused_login_shows_what_the_server_says_about_it(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    logged: list[MutableMapping[str, object]],
    fields: dict[str, object],
    shown: str,
) -> None:
    api.post(f"{ROOT}/token", json=fields, status=400)
    client = make_client()
    messages = []
    for _ in range(2):  # the second time, the password is not tried
        with pytest.raises(AuthError) as caught:
            client.get_session(ID)
        messages.append(caught.value.message.partition(";")[0])
        fake_time.now += 1
    assert messages == [f"the login is refused ({shown})"] * 2
    assert len(api.calls) == 1
    (warning,) = [entry for entry in logged if entry["log_level"] == "warning"]
    assert warning["error"] == messages[0]


@pytest.mark.parametrize(
    "repeated",
    [
        PASSWORD,
        PASSWORD.upper(),
        "\x00".join(PASSWORD),
        "\u200b".join(PASSWORD),
        quote(PASSWORD),
        quote_plus(PASSWORD),
        quote_plus(PASSWORD).lower(),
        html.escape(PASSWORD),
        json.dumps(PASSWORD)[1:-1],
        base64.b64encode(PASSWORD.encode()).decode(),
    ],
)
@pytest.mark.parametrize("field", ["message", "error_description"])
def test_a_refused_login_does_not_show_the_password_that_the_server_repeats(
    api: responses.RequestsMock,
    make_client: MakeClient,
    logged: list[MutableMapping[str, object]],
    field: str,
    repeated: str,
) -> None:
    # The second copy begins before the text is cut.
    text = f"Wrong: {repeated}. {'x' * 165} {repeated}"
    api.post(f"{ROOT}/token", json={field: text}, status=400)
    with pytest.raises(AuthError, match=r"HTTP 400, Wrong: <secret>\. x") as caught:
        make_client().get_session(ID)
    assert PASSWORD[:3] not in str(caught.value)
    assert repeated[:4] not in str(caught.value)
    assert repeated[:4] not in str(logged)


@pytest.mark.parametrize("repeated", [str.__str__, str.lower, str.upper, str.swapcase])
@pytest.mark.parametrize("secret", ["passwordΣ", "ΠΑΣΣΩΣ", "straẞe", "İstanbul", "Kelvin\u212a"])
def test_a_password_with_letters_that_change_with_their_case_is_not_shown(
    api: responses.RequestsMock,
    make_client: MakeClient,
    secret: str,
    repeated: Callable[[str], str],
) -> None:
    text = f"Wrong: {repeated(secret)}. {repeated(secret)}s"
    api.post(f"{ROOT}/token", json={"message": text}, status=400)
    with pytest.raises(AuthError) as caught:
        make_client(config(secret=SecretSource(value=secret))).get_session(ID)
    assert "wrong: <secret>. <secret>s" in str(caught.value).casefold()


@pytest.mark.parametrize("secret", ["abc", "abc ", "a\u200bb\u200bc", " " * 8])
def test_nothing_is_quoted_if_the_password_is_too_short_to_be_masked(
    api: responses.RequestsMock, make_client: MakeClient, secret: str
) -> None:
    api.post(f"{ROOT}/token", json={"message": "The word abc is wrong."}, status=400)
    with pytest.raises(AuthError, match=r"the login is refused \(HTTP 400\);"):
        make_client(config(secret=SecretSource(value=secret))).get_session(ID)


def test_of_a_very_long_explanation_only_the_code_is_quoted(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    answer = {"errorCode": "Denied", "message": "x" * 65_536}
    api.post(f"{ROOT}/token", json=answer, status=400)
    with pytest.raises(AuthError, match=r"the login is refused \(HTTP 400, Denied\);"):
        make_client().get_session(ID)


def test_a_refused_refresh_does_not_show_the_token_that_the_server_repeats(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    logged: list[MutableMapping[str, object]],
) -> None:
    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE)
    api.post(f"{ROOT}/token", json={"message": "No more refresh-1."}, status=429)
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    with pytest.raises(ThrottledError, match="No more <secret>") as caught:
        client.get_session(ID)
    assert "refresh-1" not in f"{caught.value} {logged}"


# Renewing


class TokenWorld:
    """A token endpoint that numbers its tokens, and sessions that only the newest one opens."""

    def __init__(self, api: responses.RequestsMock, *, expires_in: object = 3600) -> None:
        self.number = 0
        self.expires_in = expires_in
        self.valid = True
        self.refuses_all = False
        self.lock = threading.Lock()
        api.add_callback("POST", f"{ROOT}/token", callback=self._token)
        api.add_callback(
            "GET", re.compile(re.escape(f"{ROOT}/RestoreSessions/")), callback=self._session
        )

    def revoke(self) -> None:
        """Refuse all tokens so far."""
        self.valid = False

    def _token(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        with self.lock:
            assert isinstance(request.body, str)
            form = dict(parse_qsl(request.body))
            if (
                form["grant_type"] == "refresh_token"
                and form["refresh_token"] != f"refresh-{self.number}"
            ):
                return 400, {}, '{"error":"invalid_grant"}'
            self.number += 1
            self.valid = True
            return 200, {}, json.dumps(token_response(self.number, expires_in=self.expires_in))

    def _session(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if self.refuses_all or not self.valid or bearer(request) != f"access-{self.number}":
            return 401, {}, ""
        return 200, {}, json.dumps(session((request.url or "").rpartition("/")[2]))


def grants(api: responses.RequestsMock) -> list[str]:
    return [form["grant_type"] for form in forms(api)]


def test_a_token_is_refreshed_a_minute_before_it_expires(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    TokenWorld(api)
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600 - 61
    client.get_session(ID)
    assert grants(api) == ["password"]
    fake_time.now += 2
    client.get_session(ID)
    assert grants(api) == ["password", "refresh_token"]
    fake_time.now += 3600
    client.get_session(ID)
    assert [form.get("refresh_token") for form in forms(api)] == [None, "refresh-1", "refresh-2"]


@pytest.mark.parametrize(
    ("expires_in", "valid_seconds"),
    [
        ("100", 90),
        (100, 90),
        (100.0, 90),
        (None, 3540),
        (True, 3540),
        ("soon", 3540),
        ("NaN", 3540),
        ([], 3540),
        ("1e999", 3540),
        (60, 54),
        (365 * 86400, 365 * 86400 - 60),
    ],
)
def test_a_token_is_valid_for_expires_in_within_bounds(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    expires_in: object,
    valid_seconds: float,
) -> None:
    api.post(f"{ROOT}/token", json=TOKEN_RESPONSE | {"expires_in": expires_in})
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += valid_seconds - 0.01
    client.get_session(ID)
    assert grants(api) == ["password"]
    fake_time.now += 2
    client.get_session(ID)
    assert grants(api) == ["password", "refresh_token"]


@pytest.mark.parametrize("expires_in", [0, "0", -5, 0.5, 59, 365 * 86400 + 1, 10**18, 1e300])
def test_a_token_whose_expires_in_is_no_lifetime_is_used_until_it_is_refused(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, expires_in: object
) -> None:
    world = TokenWorld(api, expires_in=expires_in)
    client = make_client()
    for _ in range(10):
        client.get_session(ID)
        fake_time.now += 60
    assert grants(api) == ["password"]
    world.revoke()
    client.get_session(ID)
    assert grants(api) == ["password", "refresh_token"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 302])
def test_a_refused_refresh_falls_back_to_the_password(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime, status: int
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1))
    api.post(f"{ROOT}/token", status=status)
    api.post(f"{ROOT}/token", json=token_response(2))
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    client.get_session(ID)
    assert grants(api) == ["password", "refresh_token", "password"]


def test_a_refused_refresh_token_is_not_used_again(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1))
    api.post(f"{ROOT}/token", status=400)
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    for _ in range(2):
        with pytest.raises(AuthError):
            client.get_session(ID)
    assert grants(api) == ["password", "refresh_token", "password"]


def test_a_refresh_that_does_not_reach_the_server_keeps_the_refresh_token(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1))
    api.post(f"{ROOT}/token", body=requests.ConnectionError())
    api.post(f"{ROOT}/token", json=token_response(2))
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    with pytest.raises(ConnectError):
        client.get_session(ID)
    client.get_session(ID)
    assert grants(api) == ["password", "refresh_token", "refresh_token"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        *({"refresh_token": token} for token in (None, "", 7, "\ud800", "a\nb", "ü", "x" * 32769)),
    ],
)
def test_without_a_usable_refresh_token_the_password_is_used_again(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    fields: dict[str, object],
) -> None:
    api.post(f"{ROOT}/token", json={"access_token": "only", **fields})
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    client.get_session(ID)
    assert grants(api) == ["password", "password"]


def test_a_401_causes_one_renewal_and_one_retry(
    api: responses.RequestsMock, make_client: MakeClient, observer: Recorder
) -> None:
    world = TokenWorld(api)
    client = make_client()
    client.get_session(ID)
    world.revoke()
    client.get_session(OTHER_ID)
    assert grants(api) == ["password", "refresh_token"]
    assert observer.requests == [
        ("token", "200"),
        ("get", "200"),
        ("get", "401"),
        ("token", "200"),
        ("get", "200"),
    ]


LONG, SHORT = "a" * 8001, "a" * 8000


@pytest.mark.parametrize(
    ("token", "status", "renewals"),
    [(LONG, 431, 1), (LONG, 400, 1), (SHORT, 431, 1), (SHORT, 400, 0)],
)
def test_a_token_that_is_too_long_for_a_header_is_renewed_once(
    api: responses.RequestsMock, make_client: MakeClient, token: str, status: int, renewals: int
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1) | {"access_token": token})
    api.post(f"{ROOT}/token", json=token_response(2))
    api.add_callback(
        "GET",
        f"{ROOT}/RestoreSessions/{ID}",
        callback=lambda request: (
            (status, {}, "") if bearer(request) == token else (200, {}, json.dumps(session()))
        ),
    )
    client = make_client()

    if renewals:
        client.get_session(ID)
    else:
        with pytest.raises(BadResponseError):
            client.get_session(ID)

    assert grants(api) == ["password", "refresh_token"][: 1 + renewals]


def test_one_renewal_serves_all_requests_that_were_refused_together(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    threads = 16
    together = threading.Barrier(threads)
    client = make_client(config(max_concurrent_requests=threads))

    def respond(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        if bearer(request) == "access-1":
            together.wait(10)
            return 401, {}, ""
        return 200, {}, json.dumps(session((request.url or "").rpartition("/")[2]))

    api.post(f"{ROOT}/token", json=token_response(1))
    api.post(f"{ROOT}/token", json=token_response(2))
    api.add_callback("GET", re.compile(re.escape(f"{ROOT}/RestoreSessions/")), callback=respond)
    ids = [f"{number:08x}-9cdc-4004-9160-9b90f90f1bbf" for number in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        sessions = list(pool.map(client.get_session, ids))
    assert [each.id for each in sessions if isinstance(each, RestoreSession)] == ids
    assert grants(api) == ["password", "refresh_token"]
    assert len(api.calls) == 2 + 2 * threads


def password_tokens(
    post: Callable[[Mapping[str, str]], object],
    time: FakeTime,
    throttle: LoginThrottle,
    lock: AbstractContextManager[object] | None = None,
) -> PasswordTokens:
    secret = SecretSource(value="p")
    login = PasswordLogin(username="svc", secret=secret, throttle=throttle, server="hq")
    return PasswordTokens(login=login, post=post, clock=time.clock, lock=lock)


@pytest.fixture
def numbered_tokens(fake_time: FakeTime, login_throttle: LoginThrottle) -> PasswordTokens:
    """Tokens `access-1`, `access-2`, ... of a server that never refuses a login or refresh."""
    numbers = iter(range(1, 1000))
    return password_tokens(lambda _form: token_response(next(numbers)), fake_time, login_throttle)


def test_a_token_that_is_refused_soon_after_a_renewal_is_not_renewed_for_a_minute(
    numbered_tokens: PasswordTokens, fake_time: FakeTime
) -> None:
    renewed = numbered_tokens.renew(numbered_tokens.current())
    numbered_tokens.mark_accepted(renewed)
    with pytest.raises(AuthError, match="next renewal in 60 s") as caught:
        numbered_tokens.renew(renewed)
    assert caught.value.status == 401
    fake_time.now += 59.9
    with pytest.raises(AuthError, match="next renewal in 1 s"):
        numbered_tokens.renew(renewed)
    fake_time.now += 0.1
    assert numbered_tokens.renew(renewed).value == "access-3"


@pytest.mark.parametrize(("accepted", "seconds"), [("access-1", 120), ("access-2", 60)])
def test_only_the_acceptance_of_the_renewed_token_shortens_the_wait(
    numbered_tokens: PasswordTokens, fake_time: FakeTime, accepted: str, seconds: int
) -> None:
    first = numbered_tokens.current()
    second = numbered_tokens.renew(first)
    numbered_tokens.mark_accepted({token.value: token for token in (first, second)}[accepted])
    fake_time.now += 60
    third = numbered_tokens.renew(second)
    with pytest.raises(AuthError, match=f"next renewal in {seconds} s"):
        numbered_tokens.renew(third)


class CrowdedLock:
    """A lock that sets an event when a number of threads wait for it or hold it."""

    def __init__(self, threads: int, crowded: threading.Event) -> None:
        self._places = iter(range(1, threads + 1))
        self._threads = threads
        self._crowded = crowded
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if next(self._places) == self._threads:
            self._crowded.set()
        self._lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self._lock.release()


def test_one_failed_login_fails_all_requests_that_wait_for_it(
    fake_time: FakeTime, login_throttle: LoginThrottle
) -> None:
    threads = 8
    all_wait = threading.Event()
    posted = []

    def fail(form: object) -> object:
        posted.append(form)
        assert all_wait.wait(10)
        raise ServerError("down", operation="token", status=502)

    tokens = password_tokens(fail, fake_time, login_throttle, lock=CrowdedLock(threads, all_wait))

    def failure(_number: int) -> Vb365Error:
        with pytest.raises(ServerError) as caught:
            tokens.current()
        return caught.value

    with ThreadPoolExecutor(threads) as pool:
        errors = list(pool.map(failure, range(threads)))
    assert {str(error) for error in errors} == {"token: down"}
    assert len({id(error) for error in errors}) == threads
    assert len(posted) == 1


class OvertakenLock:
    """A lock that other requests take and release before the first one gets it."""

    def __init__(self) -> None:
        self.others: list[Callable[[], object]] = []

    def __enter__(self) -> None:
        others, self.others = self.others, []
        for request in others:
            request()

    def __exit__(self, *_error: object) -> None:
        pass


def test_a_login_that_failed_before_another_succeeded_fails_no_waiting_request(
    fake_time: FakeTime, login_throttle: LoginThrottle
) -> None:
    outcomes = iter([ServerError("down", operation="token", status=502), token_response(1)])

    def post(_form: object) -> object:
        outcome = next(outcomes)
        if isinstance(outcome, ServerError):
            raise outcome
        return outcome

    def fail() -> None:
        with pytest.raises(ServerError):
            tokens.current()

    lock = OvertakenLock()
    tokens = password_tokens(post, fake_time, login_throttle, lock=lock)
    lock.others = [fail, tokens.current]
    assert tokens.current().value == "access-1"


def test_a_second_401_is_an_auth_error(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1))
    api.post(f"{ROOT}/token", json=token_response(2))
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=401)
    with pytest.raises(AuthError) as caught:
        make_client().get_session(ID)
    assert caught.value.status == 401
    assert requested(api, ID) == [f"GET /v7/RestoreSessions/{ID}"] * 2
    assert grants(api) == ["password", "refresh_token"]


def test_a_server_that_refuses_every_token_is_not_flooded_with_renewals(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json=token_response(1))
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=401)
    client = make_client()
    for _ in range(10):
        with pytest.raises(AuthError):
            client.get_session(ID)
    assert len(grants(api)) == 2
    fake_time.now += 61
    with pytest.raises(AuthError):
        client.get_session(ID)
    assert len(grants(api)) == 3


def test_renewals_become_rarer_until_a_token_is_accepted_again(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    world = TokenWorld(api)
    world.refuses_all = True
    client = make_client()

    def renewals(*, minutes: int) -> int:
        before = len(grants(api))
        for _ in range(minutes):
            with suppress(AuthError):
                client.get_session(ID)
            fake_time.now += 60
        return len(grants(api)) - before

    assert [renewals(minutes=m) for m in (1, 1, 2, 4, 8, 15, 15)] == [2, 1, 1, 1, 1, 1, 1]

    world.refuses_all = False
    client.get_session(ID)
    world.revoke()
    assert renewals(minutes=10) == 1


def test_renewals_that_help_may_be_a_minute_apart(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    world = TokenWorld(api)
    client = make_client()
    client.get_session(ID)
    for _ in range(3):
        world.revoke()
        client.get_session(ID)
        fake_time.now += 60
    assert grants(api) == ["password", *["refresh_token"] * 3]


# Externally renewed tokens


def test_a_refused_static_token_is_read_again_and_used(
    api: responses.RequestsMock, make_client: MakeClient, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    client = make_client(config(secret=SecretSource(file=file, bearer=True), token=True))

    def respond(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        return (200, {}, json.dumps(session())) if bearer(request) == "new" else (401, {}, "")

    api.add_callback("GET", f"{ROOT}/RestoreSessions/{ID}", callback=respond)
    with pytest.raises(AuthError, match="its source still has the same one"):
        client.get_session(ID)
    assert len(api.calls) == 1
    file.write_text("new\n")
    assert isinstance(client.get_session(ID), RestoreSession)
    assert isinstance(client.get_session(ID), RestoreSession)
    assert [bearer(call.request) for call in api.calls] == ["old", "old", "new", "new"]


def test_a_static_token_that_another_thread_has_read_again_is_used(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    tokens = StaticTokens(SecretSource(file=file, bearer=True))
    refused = tokens.current()
    file.write_text("new")
    renewed = tokens.renew(refused)
    file.unlink()
    assert tokens.renew(refused) is renewed
    with pytest.raises(AuthError, match="token cannot be read"):
        tokens.renew(renewed)


def test_a_static_token_that_no_header_can_hold_is_an_auth_error(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    client = make_client(config(secret=SecretSource(value="a\nb", bearer=True), token=True))
    with pytest.raises(AuthError, match="is not a bearer token") as caught:
        client.get_session(ID)
    assert not api.calls
    assert "a\nb" not in str(caught.value)


def test_closing_does_not_log_out_with_a_static_token(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client(config(secret=SecretSource(value="theirs"), token=True))
    client.get_session(ID)
    client.close()
    assert len(api.calls) == 1


# Logging out


@pytest.mark.parametrize(("version", "logouts"), [("v6", 0), ("v7", 1), ("v8", 1)])
def test_closing_logs_out_once_where_the_api_can(
    api: responses.RequestsMock, make_client: MakeClient, version: str, logouts: int
) -> None:
    api.post(f"{URL}/{version}/token", json=TOKEN_RESPONSE)
    api.post(f"{URL}/{version}/token/logout", status=204)
    api.get(f"{URL}/{version}/RestoreSessions/{ID}", json=session())
    client = make_client(config(api_version=version))
    client.get_session(ID)
    client.close()
    client.close()
    assert len(requested(api, "/token/logout")) == logouts
    if logouts:
        assert bearer(api.calls[-1].request) == "access-1"
        assert api.calls[-1].request.headers["Content-Length"] == "0"


@pytest.mark.usefixtures("logins")
def test_closing_does_not_log_out_with_an_expired_token(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    fake_time.now += 3600
    client.close()
    assert not requested(api, "/token/logout")


@pytest.mark.usefixtures("logins")
def test_closing_does_not_log_out_during_a_retry_after(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", status=429, headers={"Retry-After": "900"})
    client = make_client()
    with pytest.raises(ThrottledError):
        client.get_session(ID)
    client.close()
    assert not requested(api, "/token/logout")


@pytest.mark.usefixtures("logins")
def test_closing_does_not_fail_when_the_logout_does(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.post(f"{ROOT}/token/logout", body=requests.ConnectionError())
    api.get(f"{ROOT}/RestoreSessions/{ID}", json=session())
    client = make_client()
    client.get_session(ID)
    client.close()
    assert len(requested(api, "/token/logout")) == 1


@pytest.mark.usefixtures("logins")
def test_closing_does_not_log_out_at_a_server_that_did_not_respond_last(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    api.get(f"{ROOT}/RestoreSessions/{ID}", body=requests.ConnectionError())
    client = make_client()
    with pytest.raises(ConnectError):
        client.get_session(ID)
    client.close()
    assert not requested(api, "/token/logout")


def test_nothing_is_requested_after_closing(
    api: responses.RequestsMock, make_client: MakeClient
) -> None:
    client = make_client()
    client.close()
    with pytest.raises(StoppedError):
        client.get_session(ID)
    assert not api.calls


# The token endpoint's limits


def test_no_more_than_five_token_requests_a_minute_leave_the_exporter(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json={})  # without a token, each request logs in again
    client = make_client()
    sent = []
    for _ in range(8):
        with client.retrying_until(deadline=fake_time.now + 100), pytest.raises(BadResponseError):
            client.get_session(ID)
        sent.append(fake_time.now)
        fake_time.now += 0.9
    assert len(grants(api)) == 8
    assert all(later - earlier >= 60 for earlier, later in zip(sent, sent[5:], strict=False))
    assert all(later - earlier >= 1 for earlier, later in pairwise(sent))


def test_the_limit_of_token_requests_ends_a_poll_as_throttled_when_it_cannot_wait(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", json={})
    client = make_client()
    with client.retrying_until(deadline=fake_time.now + 10):
        for _ in range(5):
            with pytest.raises(BadResponseError):
                client.get_session(ID)
            fake_time.now += 0.9
        with pytest.raises(ThrottledError, match="token requests"):
            client.get_session(ID)
    assert len(grants(api)) == 5


def test_logins_that_never_reached_the_server_do_not_use_up_its_limit(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    api.post(f"{ROOT}/token", body=requests.ConnectionError())
    client = make_client()
    for _ in range(8):
        with client.retrying_until(deadline=fake_time.now + 5), pytest.raises(ConnectError):
            client.get_session(ID)
