"""Clocks for the tests of the simulator, and a client independent of the exporter."""

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
    """A wall clock that only tests advance."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def advance(self, **duration: float) -> None:
        """Advance the clock."""
        self.now += timedelta(**duration)


class MonotonicClock:
    """A monotonic clock, in seconds, that only tests advance."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


def empty_world(clock: WallClock | None = None) -> World:
    return World(sessions=0, activity=False, minimum=False, clock=clock or WallClock())


class Client:
    """A plain HTTP client of a simulator that trusts its authority."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.verify = str(simulator.ca_file)

    def log_in(self, version: str = "v8", **fields: str) -> requests.Response:
        """Request a token and, if one is issued, use it from now on."""
        fields = {
            "grant_type": "password",
            "username": self.simulator.username,
            "password": self.simulator.password,
            "disable_antiforgery_token": "true",
            **fields,
        }
        response = self.request("POST", f"/{version}/token", data=fields)
        if response.status_code == 200:
            self.http.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
        return response

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request; redirects are not followed."""
        options = {"timeout": TIMEOUT_SECONDS, "allow_redirects": False, **options}
        return self.http.request(method, self.simulator.url + path, **options)

    def get(self, path: str, **parameters: object) -> requests.Response:
        """Send a GET with query parameters."""
        return self.request(
            "GET", path, params={name: str(value) for name, value in parameters.items()}
        )

    def json(self, path: str, **parameters: object) -> Any:
        """Return the JSON of a successful GET."""
        response = self.get(path, **parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def close(self) -> None:
        """Close the connections."""
        self.http.close()


Simulate = Callable[..., Client]
