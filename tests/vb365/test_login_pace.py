"""Ten thousand polls in days of made-up time, at a server that keeps the simulator's tokens and limits."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from vb365.support import ID, FakeTime, Recorder, config, session

from exporter.config.model import ServerConfig
from exporter.config.secrets import SecretSource
from exporter.simulator.api.tokens import Throttle, ThrottledError, TokenStore
from exporter.vb365.errors import ConnectError, Vb365Error
from exporter.vb365.http.transport import Request, Response, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from exporter.vb365.client import Client

    MakeClient = Callable[..., Client]

POLLS = 10_000


@dataclass
class Grounds:
    """What the server thinks of those who ask; tests change it while it is requested."""

    takes_tokens: bool = True
    takes_refresh_tokens: bool = True
    gives_refresh_tokens: bool = True
    answers_token_requests_with: int | None = None
    reachable: bool = True


class Gate(Transport):
    """A transport to a server with the simulator's token office and throttle, on the same clock as the client."""

    def __init__(
        self,
        server: ServerConfig,
        observer: Recorder,
        stop: threading.Event,
        time: FakeTime,
        lifetime_seconds: float,
    ) -> None:
        super().__init__(server, observer=observer, stop=stop)
        self.grounds = Grounds()
        self.office = TokenStore(
            username=r"CONTOSO\svc",
            password="right",
            lifetime_seconds=lifetime_seconds,
            clock=time.clock,
        )
        self.requested: list[tuple[float, str]] = []
        self.throttled = 0
        self.late_seconds: list[float] = []
        """How long the next token requests take to arrive."""
        self.reachable = True
        self._time = time
        self._throttle = Throttle(time.clock)

    def exchange(self, request: Request) -> Response:
        """Response as the server would."""
        if not self.grounds.reachable:
            error = ConnectError("refused", operation=request.operation)
            error.sent = False
            raise error
        if request.form is not None:
            return self._token(request.form)
        token = (request.authorization or "").removeprefix("Bearer ")
        if not self.office.accepts(token, None) or not self.grounds.takes_tokens:
            return _answer(401)
        return _answer(200, session())

    def logins(self) -> list[float]:
        """When the password was sent."""
        return [moment for moment, kind in self.requested if kind == "password"]

    def _token(self, form: Mapping[str, str]) -> Response:
        kind = form["grant_type"]
        self._time.now += self.late_seconds.pop(0) if self.late_seconds else 0.0
        self.requested.append((self._time.now, kind))
        try:
            self._throttle.count("exporter")
        except ThrottledError as error:
            self.throttled += 1
            return _answer(429, headers={"Retry-After": str(error.retry_after)})
        if self.grounds.answers_token_requests_with is not None:
            return _answer(self.grounds.answers_token_requests_with)
        grant = None
        if kind == "password":
            grant = self.office.log_in(
                form["username"], form["password"], style="core", antiforgery=False
            )
        elif self.grounds.takes_refresh_tokens:
            grant = self.office.refresh(
                form["refresh_token"], style="core", antiforgery=False, cookie=None
            )
        if grant is None:
            return _answer(400, {"error": "invalid_grant"})
        document = {"access_token": grant.access_token, "expires_in": self.office.lifetime_seconds}
        if self.grounds.gives_refresh_tokens:
            document["refresh_token"] = grant.refresh_token
        return _answer(200, document)


def _answer(
    status: int, document: object = None, headers: dict[str, str] | None = None
) -> Response:
    body = b"" if document is None else json.dumps(document).encode()
    return Response(status=status, reason="", headers=headers or {}, body=body)


@dataclass
class Bench:
    """A client at a gate."""

    time: FakeTime
    gate: Gate
    client: Client
    password_file: Path
    good_polls: int = 0

    def poll(self, *, every_seconds: float, requests: int = 2) -> None:
        """One poll of some requests, and the wait for the next."""
        due = self.time.now + every_seconds
        with self.client.poll(deadline=self.time.now + 0.9 * every_seconds):
            try:
                for _ in range(requests):
                    self.client.get_session(ID)
                self.good_polls += 1
            except Vb365Error:
                pass
        self.time.now = max(due, self.time.now)


@pytest.fixture
def bench(
    make_client: MakeClient,
    fake_time: FakeTime,
    observer: Recorder,
    stop: threading.Event,
    tmp_path: Path,
) -> Bench:
    """A client whose password is in a file, at the gate of a server whose tokens are good for an hour."""
    password_file = tmp_path / "password"
    password_file.write_text("right")
    server = config(secret=SecretSource(file=password_file))
    gate = Gate(server, observer, stop, fake_time, lifetime_seconds=3600.0)
    client = make_client(server, transport=gate)
    return Bench(fake_time, gate, client, password_file)


def test_one_login_serves_all_polls_of_a_week(bench: Bench) -> None:
    for _ in range(POLLS):
        bench.poll(every_seconds=60.0)

    assert bench.good_polls == POLLS
    assert [kind for _, kind in bench.gate.requested] == ["password"] + ["refresh_token"] * (
        POLLS // 59
    )


@pytest.mark.parametrize(
    "grounds", [{"takes_refresh_tokens": False}, {"gives_refresh_tokens": False}]
)
def test_without_refreshing_there_is_a_login_for_each_token_and_not_for_each_poll(
    bench: Bench, grounds: dict[str, bool]
) -> None:
    bench.gate.grounds = Grounds(**grounds)

    for _ in range(POLLS):
        bench.poll(every_seconds=60.0)

    assert bench.good_polls == POLLS
    assert len(bench.gate.logins()) == 1 + POLLS // 59


def test_a_login_keeps_its_distance_from_a_refresh_that_took_long_to_arrive(bench: Bench) -> None:
    bench.poll(every_seconds=60.0)
    bench.gate.office.revoke_all(refresh_too=True)
    bench.gate.late_seconds = [0.8]

    bench.poll(every_seconds=60.0)

    (_, (refreshed, _), (logged_in, _)) = bench.gate.requested
    assert logged_in - refreshed >= 1


def test_a_server_that_refuses_all_its_tokens_does_not_see_a_login_at_every_poll(
    bench: Bench,
) -> None:
    bench.gate.grounds = Grounds(takes_tokens=False, takes_refresh_tokens=False)

    for _ in range(POLLS):
        bench.poll(every_seconds=60.0)
    assert bench.good_polls == 0
    assert len(bench.gate.logins()) < POLLS / 10

    bench.gate.grounds = Grounds()
    bench.poll(every_seconds=60.0)
    assert bench.good_polls == 1


@pytest.mark.parametrize("every_seconds", [5.0, 60.0, 1200.0])
def test_a_refused_password_is_tried_at_most_once_a_minute_for_as_long_as_it_is_refused(
    bench: Bench, every_seconds: float
) -> None:
    bench.password_file.write_text("wrong")

    for _ in range(POLLS):
        bench.poll(every_seconds=every_seconds)
    logins = bench.gate.logins()
    assert min(later - earlier for earlier, later in pairwise(logins)) >= 60
    assert len(logins) < 10 + POLLS * every_seconds / 900

    bench.password_file.write_text("right")
    bench.poll(every_seconds=every_seconds)
    assert bench.good_polls == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_no_mixture_of_troubles_takes_more_than_one_token_request_a_second_and_five_a_minute(
    bench: Bench, seed: int
) -> None:
    random = Random(seed)  # noqa: S311 - decides on troubles
    for number in range(POLLS):
        if number % 10 == 0:
            bench.gate.grounds = Grounds(
                takes_tokens=random.random() < 0.8,
                takes_refresh_tokens=random.random() < 0.7,
                gives_refresh_tokens=random.random() < 0.8,
                answers_token_requests_with=random.choice([None, None, None, 500, 503, 429, 404]),
                reachable=random.random() < 0.9,
            )
            bench.password_file.write_text(random.choice(["right", "right", "wrong", "other"]))
        if random.random() < 0.2:
            bench.gate.office.revoke_all(refresh_too=random.random() < 0.5)
        bench.poll(every_seconds=random.choice([1.0, 10.0, 60.0]))

    moments = [moment for moment, _ in bench.gate.requested]
    assert bench.gate.throttled == 0
    assert min(later - earlier for earlier, later in pairwise(moments)) >= 1
    assert min(later - first for first, later in zip(moments, moments[5:], strict=False)) > 60
    assert bench.good_polls > POLLS / 10
