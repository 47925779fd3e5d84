"""A complete poller that polls a scripted server over TLS, in simulated time."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from io import BytesIO, TextIOWrapper
from pathlib import Path

import structlog
from fuzz.documents import LARGE_BYTES
from fuzz.expected import SentBodies
from fuzz.replies import Script
from fuzz.scrapes import Scrape
from vb365.support import Connection, FakeTime, Server

from exporter import logs
from exporter.config import AuthConfig, ServerConfig, TLSConfig
from exporter.config.secrets import SecretSource
from exporter.metrics.exposition import Publisher
from exporter.metrics.telemetry import Telemetry
from exporter.polling.changefeed import ChangeQueue, PendingChanges
from exporter.polling.clock import Clock, Moment
from exporter.polling.loop import PollLoop
from exporter.polling.poller import Poller
from exporter.polling.server_state import ServerState
from exporter.simulator.certificates import Certificates
from exporter.vb365.client import Client, Timing
from exporter.vb365.http.transport import Transport
from exporter.vb365.login import LoginThrottle
from support.sample_sessions import NOON

PASSWORD = "marker-0b1e7a"
_MAX_PAGES = 6


@dataclass
class Outcome:
    """The outcome of some polls."""

    sent: SentBodies = field(default_factory=SentBodies)
    requests: int = 0
    """Number of requests that the server received."""
    scrapes: list[Scrape] = field(default_factory=list)
    """One scrape after each poll."""
    log: str = ""


class Harness:
    """Polls scripted servers.

    Args:
        folder: directory for the authority's certificate.
    """

    def __init__(self, folder: Path) -> None:
        self._certificates = Certificates()
        self._ca_file = folder / "ca.pem"
        self._ca_file.write_bytes(self._certificates.ca_pem)

    def run(self, script: Script, *, polls: int) -> Outcome:
        """Poll a server; scrape after each poll, and once more when all data is stale."""
        outcome = Outcome()
        server = Server(_ScriptedServer(script, outcome).serve, self._certificates.context())
        try:
            with _log() as log:
                self._poll(server.url, script, outcome, polls)
        finally:
            server.close()
        outcome.log = log.getvalue().decode()
        return outcome

    def _poll(self, url: str, script: Script, outcome: Outcome, polls: int) -> None:
        config = self._config(url, script)
        time = FakeTime()
        clock = _Clock(time)
        stop = threading.Event()
        telemetry = Telemetry()
        observer = telemetry.server(config.name)
        publisher = Publisher(
            telemetry.registry, info_labels=("name", "details"), monotonic=clock.monotonic
        )

        client = Client(
            config,
            observer=observer,
            stop=stop,
            timing=Timing(
                clock=time.clock,
                wall_clock=clock.timestamp,
                wait=time.wait,
                random=lambda: 1.0,
            ),
            login_throttle=LoginThrottle(clock=time.clock),
            transport=Transport(config, observer=observer, stop=stop, max_body_bytes=LARGE_BYTES),
            max_pages=_MAX_PAGES,
        )
        state = ServerState(config)
        poller = Poller(
            config,
            api=client,
            state=state,
            clock=clock,
            observer=observer,
            publish=publisher.publish,
            stop=stop,
        )
        try:
            PollLoop(
                config,
                poller=poller,
                ledger=state.ledger,
                queue=_LimitedQueue(
                    time, polls, stop, lambda: outcome.scrapes.append(Scrape(publisher))
                ),
                clock=clock,
                stop=stop,
            ).run()
        finally:
            client.close()
        time.now += config.stale_after
        outcome.scrapes.append(Scrape(publisher))

    def _config(self, url: str, script: Script) -> ServerConfig:
        return ServerConfig(
            name="hq",
            url=url,
            api_version=script.api_version,
            stale_after=150.0,
            auth=AuthConfig(username="svc", password=SecretSource(value=PASSWORD)),
            tls_config=TLSConfig(ca_file=self._ca_file),
            sessions=script.sessions,
        )


class _ScriptedServer:
    """Sends the replies of a script and records their bodies."""

    def __init__(self, script: Script, outcome: Outcome) -> None:
        self._script = script
        self._outcome = outcome
        self._lock = threading.Lock()
        self._requests: Counter[str] = Counter()

    def serve(self, connection: Connection) -> None:
        """Reply to the requests of one connection."""
        while (request := connection.request()) is not None:
            path = request.target.partition("?")[0]
            replies = self._script.replies(path)
            with self._lock:
                reply = replies[min(self._requests[path], len(replies) - 1)]
                self._requests[path] += 1
                self._outcome.requests += 1
                self._outcome.sent.record(reply.body)
            connection.send(reply.wire)
            if reply.closes:
                return


class _Clock(Clock):
    """The process's clocks in simulated time."""

    def __init__(self, time: FakeTime) -> None:
        self._time = time
        self._start = time.now

    def monotonic(self) -> float:
        return self._time.now

    def timestamp(self) -> float:
        return self.now().wall.timestamp()

    def now(self) -> Moment:
        seconds = self._time.now
        return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds - self._start))


class _LimitedQueue(ChangeQueue):
    """A queue whose waits take no real time, and which stops the polls after a number of waits.

    Args:
        time: the simulated time.
        rounds: the number of waits.
        stop: set after the last one.
        after_poll: called at the begin of each wait.
    """

    def __init__(
        self,
        time: FakeTime,
        rounds: int,
        stop: threading.Event,
        after_poll: Callable[[], None],
    ) -> None:
        super().__init__()
        self._after_poll = after_poll
        self._time = time
        self._left = rounds
        self._stop = stop

    def wait(self, seconds: float) -> PendingChanges:
        self._after_poll()
        self._time.now += seconds
        self._left -= 1
        if self._left == 0:
            self._stop.set()
        return PendingChanges()


@contextmanager
def _log() -> Iterator[BytesIO]:
    """Capture the log at level debug, formatted as by the command."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = BytesIO()
    text = TextIOWrapper(stream, encoding="utf-8", write_through=True)
    logs.configure(level="debug", log_format="logfmt", stream=text)
    try:
        yield stream
    finally:
        logging.captureWarnings(capture=False)
        root.handlers, root.level = before
        structlog.reset_defaults()
        text.detach()  # or it would close the stream
