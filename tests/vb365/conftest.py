from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
import responses
import structlog
import trustme
from structlog.testing import capture_logs
from vb365.support import (
    TOKEN_RESPONSE,
    URL,
    Certificates,
    Connection,
    FakeTime,
    Recorder,
    Server,
    config,
)

from exporter.config.model import ServerConfig, TLSConfig
from exporter.vb365.client import Client, Timing
from exporter.vb365.http.deadlines import Watchdog
from exporter.vb365.http.transport import Transport
from exporter.vb365.login import LoginThrottle

_WATCHDOG = Watchdog()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, object]]]:
    structlog.reset_defaults()
    with capture_logs() as entries:
        yield entries


@pytest.fixture
def fake_time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def observer() -> Recorder:
    return Recorder()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def login_throttle(fake_time: FakeTime) -> LoginThrottle:
    return LoginThrottle(clock=fake_time.clock)


@pytest.fixture
def make_client(
    fake_time: FakeTime, observer: Recorder, stop: threading.Event, login_throttle: LoginThrottle
) -> Iterator[Callable[..., Client]]:
    """Makes clients on the fake clock: waits return at once, back-off has its maximum."""
    clients = []

    def make(server: ServerConfig | None = None, **seams: Any) -> Client:
        client = Client(
            server or config(),
            observer=observer,
            stop=stop,
            timing=Timing(
                clock=fake_time.clock,
                wall_clock=lambda: 1_700_000_000.0,
                wait=fake_time.wait,
                random=lambda: 1.0,
            ),
            login_throttle=login_throttle,
            **seams,
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder: Path = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))

    def issue(*names: str, client_authority: bool = False, **options: object) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(names or ("127.0.0.1",)), **options).configure_cert(context)  # type: ignore[arg-type]  # passed on
        if client_authority:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def issue_client() -> tuple[Path, Path]:
        issued = authority.issue_cert("client@example.com")
        cert_file, key_file = folder / "client.pem", folder / "client.key"
        cert_file.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        key_file.write_bytes(issued.private_key_pem.bytes())
        return cert_file, key_file

    return Certificates(folder, ca_file, issue, issue_client)


@pytest.fixture
def serve(certificates: Certificates) -> Iterator[Callable[..., Server]]:
    """Starts servers; a context of None serves without TLS."""
    servers = []

    def start(
        talk: Callable[[Connection], None], *, context: ssl.SSLContext | str | None = "default"
    ) -> Server:
        chosen = certificates.issue() if isinstance(context, str) else context
        server = Server(talk, chosen)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def logins(api: responses.RequestsMock) -> None:
    """The token endpoint of v7 accepts every login."""
    api.post(f"{URL}/v7/token", json=TOKEN_RESPONSE)


@pytest.fixture
def transport(
    observer: Recorder, stop: threading.Event, certificates: Certificates
) -> Iterator[Callable[..., Transport]]:
    """Makes transports that trust the tests' certificate authority."""
    made = []

    def make(
        url: str,
        *,
        max_body_bytes: int = 1_000_000,
        watchdog: Watchdog = _WATCHDOG,
        **fields: object,
    ) -> Transport:
        fields = {"tls": TLSConfig(ca_file=certificates.ca_file), "timeout": 10.0} | fields
        server: ServerConfig = config(url, **fields)  # type: ignore[arg-type]  # passed on
        each = Transport(
            server,
            observer=observer,
            stop=stop,
            max_body_bytes=max_body_bytes,
            watchdog=watchdog,
        )
        made.append(each)
        return each

    yield make
    for each in made:
        each.close()
