"""The scenario of a failure: a server that fails while its sessions continue, and an exporter that polls it."""

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
from support.failure_catalogue import NAME_NOT_RESOLVED, Failure, FaultSetting, SessionRole
from support.log_capture import CapturedLog, capture_log

_CONTOSO, _FABRIKAM = "contoso.onmicrosoft.com", 'Fabrikam "North", Inc.'
_NEW_PASSWORD = "changed-at-noon"


class FakeResolver:
    """Stands in for `socket.getaddrinfo`; does not resolve localhost while `fails` is set."""

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
    """The scrape before the failure."""

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
            # Not as a fault: if two faults concern one request, only the first takes effect.
            token_throttle=any(fault.name == "token_throttle" for fault in failure.faults),
        )
        self.ids: dict[SessionRole, str] = {}
        self._password_file = password_file
        self._resolver = resolver
        self._add_sessions()
        self._password_file.write_text(self.simulator.password)
        self._ahead_seconds = 0.0
        self._set(fault for fault in failure.faults if fault.from_start)

    def fail(self) -> None:
        """Finish one session, start another, and let the server fail from now on."""
        self.world.finish(self.ids[SessionRole.RECENT], "Warning")
        self.ids[SessionRole.NEW] = self.world.add_session(organization=_FABRIKAM, type="Vex")
        self._set(fault for fault in self.failure.faults if not fault.from_start)

    def recover(self) -> None:
        """End the failure."""
        self._resolver.fails = False
        self._ahead_seconds = 0.0
        self.simulator.faults.clear()
        self.exporter.pass_time(self.failure.backoff_seconds)
        if self.failure.needs_new_password:
            self.simulator.tokens.password = _NEW_PASSWORD
            self._password_file.write_text(_NEW_PASSWORD)

    def poll_until_up(self, after_seconds: float = 0.0) -> Scrape:
        """Poll and scrape; the poll must succeed, with a short timeout within 10 attempts."""
        scrape = self.exporter.step(after_seconds)
        attempts = 10 if self.failure.has_short_timeout else 1
        while scrape.value("vb365_up", "hq") != 1:
            attempts -= 1
            assert attempts, self.log.entries()
            scrape = self.exporter.step()
        return scrape

    def expected(self, *without: SessionRole) -> Samples:
        """Return the expected samples of the server's sessions, with times by the server's clock."""
        samples = expected_samples(self.world, "hq", [self.ids[role] for role in without])
        return {
            (name, labels): value + (self._ahead_seconds if "timestamp" in name else 0.0)
            for (name, labels), value in samples.items()
        }

    def expected_beside(self) -> Samples:
        """Return the expected samples of the other server's sessions."""
        return expected_samples(self.beside.world, "beside")

    def servers_yaml(self) -> str:
        """Return the configuration of both servers."""
        grant = self.beside.tokens.log_in(
            self.beside.username, self.beside.password, style="core", antiforgery=False
        )
        assert grant is not None
        by_name = any(fault.name == NAME_NOT_RESOLVED for fault in self.failure.faults)
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
            SessionRole.OPEN: add(
                organization=_CONTOSO, type="Vesp", creation_time=now - timedelta(days=3)
            ),
            SessionRole.RECENT: add(
                organization=_CONTOSO, type="Vex", creation_time=now - timedelta(minutes=5)
            ),
        }
        for role, organization, age, result in (
            (SessionRole.DONE, _FABRIKAM, timedelta(minutes=4), "Success"),
            (SessionRole.LONG_DONE, _CONTOSO, timedelta(days=2), "Failed"),
        ):
            self.ids[role] = add(
                organization=organization,
                type="Vet",
                creation_time=now - age,
                end_time=now - age + timedelta(minutes=1),
                state="Stopped",
                result=result,
                items="rrf",
            )

    def _set(self, strikes: Iterator[FaultSetting]) -> None:
        for fault in strikes:
            if fault.name == NAME_NOT_RESOLVED:
                self._resolver.fails = True
                self._drop_connections()
            elif fault.name != "token_throttle":
                self.simulator.faults.set(
                    fault.name,
                    route=fault.route,
                    session_id=self.ids[fault.role] if fault.role else None,
                    value=fault.value,
                )
            if fault.name == "clock_skew":
                self._ahead_seconds = (fault.value or 0.0) * 3600

    def _drop_connections(self) -> None:
        """Close open connections, as any connection fault does: they would need no name resolution."""
        self.simulator.faults.set("connection_refused")
        self.simulator.faults.clear("connection_refused")


@contextmanager
def running_scenario(
    failure: Failure, beside: Simulator, password_file: Path, resolver: FakeResolver
) -> Iterator[Scenario]:
    """Yield a scenario with everything running and nothing polled yet."""
    scenario = Scenario(failure, beside, password_file, resolver)
    with (
        scenario.simulator,
        capture_log() as scenario.log,
        stepped_exporter(scenario.servers_yaml(), scenario.clock) as scenario.exporter,
    ):
        yield scenario
