"""Ten thousand polls on a fake clock, of a server with the simulator's tokens and limits."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from vb365.support import ID, FakeTime, Recorder, config, session

from exporter.config.model import ServerConfig
from exporter.config.secrets import SecretSource
from exporter.simulator.api.tokens import Throttle, ThrottledError, TokenStore
from exporter.vb365.client import Client
from exporter.vb365.errors import ConnectError, Vb365Error
from exporter.vb365.http.transport import Request, Response, Transport

MakeClient = Callable[..., Client]

POLLS = 10_000


@dataclass
class Behaviour:
    """How the server behaves; tests change it between polls."""

    accepts_tokens: bool = True
    accepts_refresh_tokens: bool = True
    issues_refresh_tokens: bool = True
    token_status: int | None = None
    reachable: bool = True


class FakeServer(Transport):
    """A transport to a server with the simulator's tokens and throttle, on the same clock as the client."""

    def __init__(
        self,
        server: ServerConfig,
        observer: Recorder,
        stop: threading.Event,
        time: FakeTime,
        lifetime_seconds: float,
    ) -> None:
        super().__init__(server, observer=observer, stop=stop)
        self.behaviour = Behaviour()
        self.tokens = TokenStore(
            username=r"CONTOSO\svc",
            password="right",
            lifetime_seconds=lifetime_seconds,
            clock=time.clock,
        )
        self.requested: list[tuple[float, str]] = []
        self.throttled = 0
        self.delays_seconds: list[float] = []
        """The delays with which the next token requests arrive."""
        self.reachable = True
        self._time = time
        self._throttle = Throttle(time.clock)

    def exchange(self, request: Request) -> Response:
        """Return the response of the server."""
        if not self.behaviour.reachable:
            error = ConnectError("refused", operation=request.operation)
            error.sent = False
            raise error
        if request.form is not None:
            return self._token(request.form)
        token = request.bearer or ""
        if not self.tokens.accepts(token, None) or not self.behaviour.accepts_tokens:
            return _response(401)
        return _response(200, session())

    def logins(self) -> list[float]:
        """Return the times at which the password was sent."""
        return [moment for moment, kind in self.requested if kind == "password"]

    def _token(self, form: Mapping[str, str]) -> Response:
        kind = form["grant_type"]
        self._time.now += self.delays_seconds.pop(0) if self.delays_seconds else 0.0
        self.requested.append((self._time.now, kind))
        try:
            self._throttle.count("exporter")
        except ThrottledError as error:
            self.throttled += 1
            return _response(429, headers={"Retry-After": str(error.retry_after)})
        if self.behaviour.token_status is not None:
            return _response(self.behaviour.token_status)
        grant = None
        if kind == "password":
            grant = self.tokens.log_in(
                form["username"], form["password"], style="core", antiforgery=False
            )
        elif self.behaviour.accepts_refresh_tokens:
            grant = self.tokens.refresh(
                form["refresh_token"], style="core", antiforgery=False, cookie=None
            )
        if grant is None:
            return _response(400, {"error": "invalid_grant"})
        document = {"access_token": grant.access_token, "expires_in": self.tokens.lifetime_seconds}
        if self.behaviour.issues_refresh_tokens:
            document["refresh_token"] = grant.refresh_token
        return _response(200, document)


def _response(
    status: int, document: object = None, headers: dict[str, str] | None = None
) -> Response:
    body = b"" if document is None else json.dumps(document).encode()
    return Response(status=status, reason="", headers=headers or {}, body=body)


@dataclass
class Harness:
    """A client with its fake server."""

    time: FakeTime
    server: FakeServer
    client: Client
    password_file: Path
    good_polls: int = 0

    def poll(self, *, every_seconds: float, requests: int = 2) -> None:
        """Make one poll of some requests, and wait for the next."""
        due = self.time.now + every_seconds
        with self.client.retrying_until(deadline=self.time.now + 0.9 * every_seconds):
            try:
                for _ in range(requests):
                    self.client.get_session(ID)
                self.good_polls += 1
            except Vb365Error:
                pass
        self.time.now = max(due, self.time.now)


@pytest.fixture
def harness(
    make_client: MakeClient,
    fake_time: FakeTime,
    observer: Recorder,
    stop: threading.Event,
    tmp_path: Path,
) -> Harness:
    """A client whose password is in a file, and a server whose tokens are valid for an hour."""
    password_file = tmp_path / "password"
    password_file.write_text("right")
    server_config = config(secret=SecretSource(file=password_file))
    server = FakeServer(server_config, observer, stop, fake_time, lifetime_seconds=3600.0)
    client = make_client(server_config, transport=server)
    return Harness(fake_time, server, client, password_file)


def test_one_login_serves_all_polls_of_a_week(harness: Harness) -> None:
    for _ in range(POLLS):
        harness.poll(every_seconds=60.0)

    assert harness.good_polls == POLLS
    assert [kind for _, kind in harness.server.requested] == ["password"] + ["refresh_token"] * (
        POLLS // 59
    )


@pytest.mark.parametrize(
    "behaviour", [{"accepts_refresh_tokens": False}, {"issues_refresh_tokens": False}]
)
def test_without_refreshing_there_is_a_login_for_each_token_and_not_for_each_poll(
    harness: Harness, behaviour: dict[str, bool]
) -> None:
    harness.server.behaviour = Behaviour(**behaviour)

    for _ in range(POLLS):
        harness.poll(every_seconds=60.0)

    assert harness.good_polls == POLLS
    assert len(harness.server.logins()) == 1 + POLLS // 59


def test_a_login_keeps_its_distance_from_a_refresh_that_took_long_to_arrive(
    harness: Harness,
) -> None:
    harness.poll(every_seconds=60.0)
    harness.server.tokens.revoke_all(refresh_too=True)
    harness.server.delays_seconds = [0.8]

    harness.poll(every_seconds=60.0)

    (_, (refreshed, _), (logged_in, _)) = harness.server.requested
    assert logged_in - refreshed >= 1


def test_a_server_that_refuses_all_its_tokens_does_not_see_a_login_at_every_poll(
    harness: Harness,
) -> None:
    harness.server.behaviour = Behaviour(accepts_tokens=False, accepts_refresh_tokens=False)

    for _ in range(POLLS):
        harness.poll(every_seconds=60.0)
    assert harness.good_polls == 0
    assert len(harness.server.logins()) < POLLS / 10

    harness.server.behaviour = Behaviour()
    harness.poll(every_seconds=60.0)
    assert harness.good_polls == 1


@pytest.mark.parametrize("every_seconds", [5.0, 60.0, 1200.0])
def test_a_refused_password_is_tried_at_most_once_a_minute_for_as_long_as_it_is_refused(
    harness: Harness, every_seconds: float
) -> None:
    harness.password_file.write_text("wrong")

    for _ in range(POLLS):
        harness.poll(every_seconds=every_seconds)
    logins = harness.server.logins()
    assert min(later - earlier for earlier, later in pairwise(logins)) >= 60
    assert len(logins) < 10 + POLLS * every_seconds / 900

    harness.password_file.write_text("right")
    harness.poll(every_seconds=every_seconds)
    assert harness.good_polls == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_mixture_of_failures_causes_more_than_one_token_request_a_second_and_five_a_minute(
    harness: Harness, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - no cryptography
    for number in range(POLLS):
        if number % 10 == 0:
            harness.server.behaviour = Behaviour(
                accepts_tokens=random.random() < 0.8,
                accepts_refresh_tokens=random.random() < 0.7,
                issues_refresh_tokens=random.random() < 0.8,
                token_status=random.choice([None, None, None, 500, 503, 429, 404]),
                reachable=random.random() < 0.9,
            )
            harness.password_file.write_text(random.choice(["right", "right", "wrong", "other"]))
        if random.random() < 0.2:
            harness.server.tokens.revoke_all(refresh_too=random.random() < 0.5)
        harness.poll(every_seconds=random.choice([1.0, 10.0, 60.0]))

    moments = [moment for moment, _ in harness.server.requested]
    assert harness.server.throttled == 0
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 1
    assert min(later - first for first, later in zip(moments, moments[5:], strict=False)) > 60
    assert harness.good_polls > POLLS / 10
