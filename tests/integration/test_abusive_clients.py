"""A scraper beside clients that send without end or do not read, by HTTP and HTTPS."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import bcrypt
import pytest
import trustme
from web.support import FakeBackend, FakeExposition

from exporter.web.app import WebApp
from exporter.web.connections import ConnectionManager
from exporter.web.listeners import Address, bind_listeners
from exporter.web.server import WebServer
from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.reloader import WebConfigReloader
from support.abusive_clients import FLOODS, abusive_clients
from support.waiting import wait_until

PASSWORD = {"Authorization": "Basic cHJvbWV0aGV1czpyaWdodA=="}  # prometheus:right
BODY = [b"vb365_up 1\n" * 1000] * 200


@contextmanager
def serving(web_file: Path | None) -> Iterator[WebServer]:
    access = AccessControl(WebConfigReloader(web_file))
    backend = FakeBackend(body=FakeExposition(raw=BODY), config="x" * 1_000_000)
    app = WebApp(backend, guard=access.authorize)
    server = WebServer(
        ConnectionManager(app, tls=access.tls), bind_listeners([Address("127.0.0.1", 0)])
    )
    server.start()
    try:
        yield server
    finally:
        server.close(0.0)


def scrape(server: WebServer, trust: ssl.SSLContext | None) -> bool:
    """Return whether a scrape over a new connection gets its whole answer."""
    address = server.addresses[0]
    connection = (
        http.client.HTTPConnection(*address, timeout=10)
        if trust is None
        else http.client.HTTPSConnection(*address, timeout=10, context=trust)
    )
    with closing(connection), suppress(TimeoutError):
        connection.request("GET", "/metrics", headers=PASSWORD)
        return connection.getresponse().read() == b"".join(BODY)
    return False


@pytest.mark.parametrize("kind", FLOODS)
def test_a_scraper_beside_abusive_clients_gets_its_answers(kind: str) -> None:
    with serving(None) as server, abusive_clients(kind, str(server.addresses[0])):
        for _ in range(3):
            wait_until(lambda: scrape(server, None), "a scrape")


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A web configuration with TLS and a password, and the trust of its clients."""
    directory = tmp_path_factory.mktemp("web")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(directory / "server.crt"))
    leaf.private_key_pem.write_to_path(str(directory / "server.key"))
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(8)).decode()
    file = directory / "web.yml"
    file.write_text(
        "tls_server_config: {cert_file: server.crt, key_file: server.key}\n"
        f"basic_auth_users: {{prometheus: {hashed}}}\n"
    )
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return file, trust


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*(f"tls-{kind}" for kind in FLOODS), "tls-guessers"])
def test_a_scraper_with_a_password_beside_abusive_clients_without_gets_its_answers(
    kind: str, protected: tuple[Path, ssl.SSLContext]
) -> None:
    file, trust = protected
    with serving(file) as server, abusive_clients(kind, str(server.addresses[0])):
        for _ in range(3):
            # Beside guessers, it waits for bcrypt, which takes seconds on a slow machine.
            wait_until(lambda: scrape(server, trust), "a scrape", seconds=35.0)
