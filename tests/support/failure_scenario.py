"""The scene of a failure: a server that fails as a row says while its sessions go on, and an exporter that polls it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.expected_metrics import expected_samples
from support.exporter_stepped import (
    MovableClock,
    Samples,
    Scrape,
    SteppedExporter,
    stepped_exporter,
)
from support.failure_catalogue import NAME_NOT_RESOLVED, Failure, Strike, Whose
from support.log_capture import CapturedLog, capture_log

_CONTOSO, _FABRIKAM = "contoso.onmicrosoft.com", 'Fabrikam "North", Inc.'
_NEW_PASSWORD = "changed-at-noon"


class FakeResolver:
    """Stands in for `socket.getaddrinfo`; does not find localhost while told so."""

    def __init__(self) -> None:
        self.fails = False
        self._getaddrinfo = socket.getaddrinfo

    def __call__(self, host: str | bytes | None, *arguments: Any, **keywords: Any) -> Any:
        if self.fails and host == "localhost":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._getaddrinfo(host, *arguments, **keywords)


class Scenario:
    """A server `hq` that can fail, and an exporter that polls it and the healthy server `beside`."""

    exporter: SteppedExporter
    log: CapturedLog
    healthy: Scrape
    """What was shown before the failure."""

    def __init__(
        self, failure: Failure, beside: Simulator, password_file: Path, resolver: FakeResolver
    ) -> None:
        self.failure = failure
        self.beside = beside
        self.world = World(sessions=0, organizations=0, activity=False, minimum=False)
        self.clock = MovableClock()
        self.simulator = Simulator(
            self.world,
            api_versions=failure.api_versions,
            token_clock=self.clock.monotonic,
            token_lifetime=86_400,
            # Not as a fault: of two that concern one request, the first alone would strike.
            token_throttle=any(strike.name == "token_throttle" for strike in failure.strikes),
        )
        self.ids: dict[Whose, str] = {}
        self._password_file = password_file
        self._resolver = resolver
        self._add_sessions()
        self._password_file.write_text(self.simulator.password)
        self._ahead_seconds = 0.0
        self._set(strike for strike in failure.strikes if strike.from_the_start)

    def fail(self) -> None:
        """Let one session end and another start, and the server fail from now on."""
        self.world.finish(self.ids[Whose.RECENT], "Warning")
        self.ids[Whose.NEW] = self.world.add_session(organization=_FABRIKAM, type="Vex")
        self._set(strike for strike in self.failure.strikes if not strike.from_the_start)

    def mend(self) -> None:
        """Let the server be as it was."""
        self._resolver.fails = False
        self._ahead_seconds = 0.0
        self.simulator.faults.clear()
        self.exporter.pass_time(self.failure.held_off_seconds)
        if self.failure.needs_new_password:
            self.simulator.tokens.password = _NEW_PASSWORD
            self._password_file.write_text(_NEW_PASSWORD)

    def poll_well(self, after_seconds: float = 0.0) -> Scrape:
        """Scrape after a poll that succeeds: the next one, where the row leaves requests time enough for it."""
        scrape = self.exporter.step(after_seconds)
        tries = 10 if self.failure.is_hasty else 1
        while scrape.value("vb365_up", "hq") != 1:
            tries -= 1
            assert tries, self.log.entries()
            scrape = self.exporter.step()
        return scrape

    def truth(self, *without: Whose) -> Samples:
        """What is to be said of the server's sessions, times by the server's clock."""
        told = expected_samples(self.world, "hq", [self.ids[whose] for whose in without])
        return {
            (name, labels): value + (self._ahead_seconds if "timestamp" in name else 0.0)
            for (name, labels), value in told.items()
        }

    def truth_beside(self) -> Samples:
        """What is to be said of the other server's sessions."""
        return expected_samples(self.beside.world, "beside")

    def servers_yaml(self) -> str:
        """Both servers' part of the configuration."""
        grant = self.beside.tokens.log_in(
            self.beside.username, self.beside.password, style="core", antiforgery=False
        )
        assert grant is not None
        by_name = any(strike.name == NAME_NOT_RESOLVED for strike in self.failure.strikes)
        return f"""
  - name: hq
    url: https://{"localhost" if by_name else "127.0.0.1"}:{self.simulator.port}
    auth: {{username: {self.simulator.username}, password_file: {self._password_file}}}
    tls_config: {{ca_file: {self.simulator.ca_file}}}
    timeout: {self.failure.timeout}
    change_feed: never
  - name: beside
    url: {self.beside.url}
    auth: {{token: {grant.access_token}}}
    tls_config: {{ca_file: {self.beside.ca_file}}}
    change_feed: never
"""

    def _add_sessions(self) -> None:
        now = datetime.now(UTC)
        add = self.world.add_session
        self.ids = {
            Whose.OPEN: add(
                organization=_CONTOSO, type="Vesp", creation_time=now - timedelta(days=3)
            ),
            Whose.RECENT: add(
                organization=_CONTOSO, type="Vex", creation_time=now - timedelta(minutes=5)
            ),
        }
        for whose, organization, age, result in (
            (Whose.DONE, _FABRIKAM, timedelta(minutes=4), "Success"),
            (Whose.LONG_DONE, _CONTOSO, timedelta(days=2), "Failed"),
        ):
            self.ids[whose] = add(
                organization=organization,
                type="Vet",
                creation_time=now - age,
                end_time=now - age + timedelta(minutes=1),
                state="Stopped",
                result=result,
                items="rrf",
            )

    def _set(self, strikes: Iterator[Strike]) -> None:
        for strike in strikes:
            if strike.name == NAME_NOT_RESOLVED:
                self._resolver.fails = True
                self._drop_connections()
            elif strike.name != "token_throttle":
                self.simulator.faults.set(
                    strike.name,
                    route=strike.route,
                    session_id=self.ids[strike.whose] if strike.whose else None,
                    value=strike.value,
                )
            if strike.name == "clock_skew":
                self._ahead_seconds = (strike.value or 0.0) * 3600

    def _drop_connections(self) -> None:
        """As every change of how connections fail does: an open one would need no name."""
        self.simulator.faults.set("connection_refused")
        self.simulator.faults.clear("connection_refused")


@contextmanager
def running_scenario(
    failure: Failure, beside: Simulator, password_file: Path, resolver: FakeResolver
) -> Iterator[Scenario]:
    """A scene with everything in it running, and nothing polled yet."""
    scene = Scenario(failure, beside, password_file, resolver)
    with (
        scene.simulator,
        capture_log() as scene.log,
        stepped_exporter(scene.servers_yaml(), scene.clock) as scene.exporter,
    ):
        yield scene
