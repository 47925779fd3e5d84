"""What the tests of the simulator share: clocks that stand still, and a client that is no part of the exporter."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from exporter.simulator import Simulator
from exporter.simulator.world.world import World

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TIMEOUT_SECONDS = 20


class WallClock:
    """A wall clock that only goes when it is told to."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    def go(self, **duration: float) -> None:
        """Let time pass."""
        self.now += timedelta(**duration)


class StopWatch:
    """Monotonic seconds that only go when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.seconds


def empty_world(clock: WallClock | None = None) -> World:
    return World(sessions=0, activity=False, minimum=False, clock=clock or WallClock())


class Client:
    """Asks a simulator as a plain HTTP client does, trusting its authority."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = str(simulator.ca_file)

    def log_in(self, version: str = "v8", **fields: str) -> requests.Response:
        """Ask for a token and use it from now on if there is one."""
        fields = {
            "grant_type": "password",
            "username": self.simulator.username,
            "password": self.simulator.password,
            "disable_antiforgery_token": "true",
            **fields,
        }
        answer = self.ask("POST", f"/{version}/token", data=fields)
        if answer.status_code == 200:
            self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        return answer

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request; redirects are not followed."""
        options = {"timeout": TIMEOUT_SECONDS, "allow_redirects": False, **options}
        return self.http.request(method, self.simulator.url + path, **options)

    def get(self, path: str, **parameters: object) -> requests.Response:
        """GET with query parameters."""
        return self.ask(
            "GET", path, params={name: str(value) for name, value in parameters.items()}
        )

    def json(self, path: str, **parameters: object) -> Any:
        """The JSON of a GET that has to succeed."""
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        """Close its connections."""
        self.http.close()


Simulate = Callable[..., Client]
