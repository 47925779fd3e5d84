from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from structlog.testing import capture_logs

from exporter.commands.check_connection import check_connection
from exporter.commands.connection import advice
from exporter.commands.connection.finding import Finding, Verdict, finding_text
from exporter.config import parse_config
from exporter.simulator import Simulator
from exporter.simulator.world.organizations import Organization
from exporter.simulator.world.world import World
from exporter.vb365.errors import ConnectError, TlsError
from support.exporter_harness import server_yaml
from support.processes import free_port

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.+?-----END CERTIFICATE-----\n", re.DOTALL)
OPENED = ["ok name", "ok tcp", "- proxy", "ok tls"]
LOGGED_IN = [*OPENED, "ok api", "ok login", "ok product"]


class Checked:
    """The outcome of a check."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        self.words = " ".join(text.split())

    @property
    def steps(self) -> list[str]:
        """Verdict and step of every finding."""
        found = re.findall(r"^  (ok|warn|FAIL|-) +([a-z]+) ", self.text, re.MULTILINE)
        return [" ".join(each) for each in found]


def check(capfd: pytest.CaptureFixture[str], servers: str, stop: bool = False) -> Checked:  # noqa: FBT001, FBT002 - of a test
    """Check these servers; no line is wider than a terminal."""
    config = parse_config(f"servers:{servers}", directory=Path.cwd())
    stopped = threading.Event()
    if stop:
        stopped.set()
    capfd.readouterr()
    with capture_logs():  # without this, they go to standard output
        status = check_connection(config, stopped)
    text = capfd.readouterr().out
    # Only what cannot be broken, such as a long path, may be wider than a terminal.
    assert not [line for line in text.splitlines() if len(line) > 80 and " " in line.strip()]
    return Checked(status, text)


def small_world() -> World:
    return World(sessions=3, activity=False)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A server of its own for each test, as logins to the same one are a second apart."""
    with Simulator(small_world()) as simulator:
        yield simulator


def untrusting(simulator: Simulator, tls: str = "{}", extra: str = "", host: str = "") -> str:
    """The configuration of a server with these TLS settings."""
    url = simulator.url.replace("127.0.0.1", host) if host else simulator.url
    return f"""
  - name: hq
    url: {url}
    auth: {{username: demo, password: demo}}
    tls_config: {tls}
    {extra}
"""


def test_a_healthy_server_passes_every_step_and_is_logged_out_of(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    checked = check(capfd, server_yaml(simulator))

    assert (checked.status, checked.steps) == (
        0,
        [*LOGGED_IN, "ok sessions", "ok organizations"],
    )
    sessions = simulator.world.sessions()
    running = sum(session.state != "Stopped" for session in sessions)
    for expected in (
        f"hq: {simulator.url}",
        "TLSv1.3; the certificate is trusted through ca_file",
        "subject OU=Testing cert",
        "issuer OU=Testing CA",
        "days left",
        "present: v8, v7, v6; v8 is used",
        "accepted: demo",
        "VB365 8.",
        f"{len(sessions)} visible, {running} of them open",
        "tailspin-toys.onmicrosoft.com",
        "1 server checked, no step failed",
    ):
        assert expected in checked.words
    assert simulator.requests["POST", "logout"] == 1
    assert not CERTIFICATE.search(checked.text)


@pytest.mark.parametrize(
    ("fault", "route", "steps", "texts"),
    [
        pytest.param(
            "connection_refused",
            None,
            ["ok name", "FAIL tcp"],
            ["Connection refused", "Check that the REST API is enabled"],
            id="closed-port",
        ),
        pytest.param(
            "tls_expired",
            None,
            [*OPENED[:3], "FAIL tls"],
            ["certificate has expired", "expired 1 day ago", "Renew the certificate"],
            id="expired",
        ),
        pytest.param(
            "tls_wrong_host",
            None,
            [*OPENED[:3], "FAIL tls"],
            ["address mismatch", "set tls_config.server_name to another-host.invalid."],
            id="wrong-host",
        ),
        pytest.param(
            "tls_unknown_ca",
            None,
            [*OPENED[:3], "FAIL tls"],
            ["is not trusted", "contains neither this certificate nor its issuer's. Compare"],
            id="unknown-authority",
        ),
        pytest.param(
            "api_missing",
            "all",
            [*OPENED, "FAIL api"],
            ["present: none", "This is not VB365's REST API"],
            id="another-service",
        ),
        pytest.param(
            "status_500",
            "service_instance",
            [*OPENED, "FAIL api"],
            ["the server failed (HTTP 500", "Check the logs of the VB365 server"],
            id="failing-server",
        ),
        pytest.param(
            "forbidden",
            "service_instance",
            [*OPENED, "FAIL api"],
            [
                "before any login succeeded",
                "Check the reverse proxy or firewall in front of the server",
            ],
            id="firewall",
        ),
        pytest.param(
            "forbidden",
            "list",
            [*LOGGED_IN, "FAIL sessions", "ok organizations"],
            ["the account lacks the permission", "the role Veeam Backup Administrator"],
            id="forbidden",
        ),
        pytest.param(
            "status_500",
            "organizations",
            [*LOGGED_IN, "ok sessions", "FAIL organizations"],
            ["the server failed (HTTP 500"],
            id="failing-organizations",
        ),
    ],
)
def test_a_failed_step_ends_what_depends_on_it_and_says_what_to_do(
    simulator: Simulator,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    route: str | None,
    steps: list[str],
    texts: list[str],
) -> None:
    simulator.faults.set(fault, route=route)

    checked = check(capfd, server_yaml(simulator))

    assert (checked.status, checked.steps) == (1, steps)
    for text in texts:
        assert text in checked.words
    assert checked.words.endswith(
        f"1 of 1 server failed: hq ({next(step for step in steps if 'FAIL' in step)[5:]})"
    )


def test_an_organization_that_cannot_be_read_is_a_warning(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    simulator.world.organizations += (Organization(session_name="nameless", name=""),)

    checked = check(capfd, server_yaml(simulator))

    assert (checked.status, checked.steps) == (0, [*LOGGED_IN, "ok sessions", "warn organizations"])
    assert "1 more cannot be read (missing_field)" in checked.words


def test_what_the_exporter_can_do_without_is_a_warning(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    simulator.faults.set("forbidden", route="organizations")
    simulator.faults.set("empty_list")

    checked = check(capfd, untrusting(simulator, "{insecure_skip_verify: true}"))

    steps = [*OPENED[:3], "warn tls", *LOGGED_IN[4:], "warn sessions", "warn organizations"]
    assert (checked.status, checked.steps) == (0, steps)
    assert "the certificate is not verified" in checked.words
    assert "the account can see no restore session" in checked.words
    assert len(CERTIFICATE.findall(checked.text)) == 1


def test_a_name_that_cannot_be_resolved_fails_first(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    checked = check(capfd, untrusting(simulator, host="vb365.host.invalid"))

    assert (checked.status, checked.steps) == (1, ["FAIL name"])
    assert "vb365.host.invalid" in checked.text


def test_a_port_without_tls_is_named_as_such(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet)
        thread.start()
        servers = server_yaml(simulator).replace(
            simulator.url, f"https://127.0.0.1:{listener.getsockname()[1]}"
        )
        checked = check(capfd, servers)
        thread.join()

    assert (checked.status, checked.steps) == (1, [*OPENED[:3], "FAIL tls"])
    assert "does not speak TLS" in checked.words
    assert "Correct the port in url" in checked.words


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("TLSV1_ALERT_PROTOCOL_VERSION", "Enable TLS 1.2"),
        ("UNSUPPORTED_PROTOCOL", "Enable TLS 1.2"),
        ("NO_SHARED_CIPHER", "no TLS cipher in common"),
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "tls_config.cert_file and key_file"),
    ],
)
def test_each_refused_handshake_has_its_own_advice(reason: str, text: str) -> None:
    error = TlsError("the TLS handshake failed", operation="service_instance")
    error.openssl_reason = reason

    assert text in advice.handshake(error)


def test_a_proxy_that_is_down_is_blamed_and_its_password_is_not_printed(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    proxy = f"proxy_url: http://operator:hunter2@127.0.0.1:{free_port()}"

    checked = check(capfd, server_yaml(simulator, extra=proxy))

    assert (checked.status, checked.steps) == (1, ["ok name", "FAIL tcp"])
    assert "the connection to the proxy 127.0.0.1:" in checked.words
    assert "Check proxy_url" in checked.words
    assert "hunter2" not in checked.text


def test_a_refused_login_shows_the_servers_words_and_no_password(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    servers = server_yaml(simulator).replace("password: demo", "password: hunter2")

    checked = check(capfd, servers)

    assert (checked.status, checked.steps) == (1, [*OPENED, "ok api", "FAIL login"])
    assert "the login is refused (HTTP 401, Invalid username or password.)" in checked.words
    assert "next try" not in checked.words
    assert "auth.password" in checked.words
    assert "hunter2" not in checked.text


def test_the_failure_of_one_server_does_not_end_the_check_of_another(
    simulator: Simulator, capfd: pytest.CaptureFixture[str]
) -> None:
    dead = untrusting(simulator, host="vb365.host.invalid").replace("name: hq", "name: dead")

    checked = check(capfd, dead + server_yaml(simulator))

    assert (checked.status, checked.steps) == (
        1,
        ["FAIL name", *LOGGED_IN, "ok sessions", "ok organizations"],
    )
    assert checked.words.endswith("1 of 2 servers failed: dead (name)")


def test_an_old_server_passes_unless_a_newer_version_is_configured(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Simulator(small_world(), api_versions=("v6",)) as simulator:
        old = check(capfd, server_yaml(simulator))
        newer = check(capfd, server_yaml(simulator, extra="api_version: v7"))

    assert old.status == 0
    assert "present: v6; absent: v8, v7; v6 is used" in old.words
    assert (newer.status, newer.steps) == (1, [*OPENED, "FAIL api"])
    assert "Set api_version to auto, or to v6." in newer.words


def test_a_stopped_check_fails(simulator: Simulator, capfd: pytest.CaptureFixture[str]) -> None:
    checked = check(capfd, server_yaml(simulator), stop=True)

    assert (checked.status, checked.steps) == (1, [])
    assert "stopped before every server was checked" in checked.text


# The certificate to pin


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Write a self-signed certificate that is no authority, as VB365's wizard makes them, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "VB365")])
    now = datetime.now(UTC)
    names = [x509.IPAddress(ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=40, hours=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert_file, key_file


def test_the_certificate_of_a_server_can_be_compared_saved_and_pinned(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cert_file, key_file = self_signed(tmp_path)
    with Simulator(small_world(), cert_file=cert_file, key_file=key_file) as simulator:
        refused = check(capfd, untrusting(simulator))
        (shown,) = CERTIFICATE.findall(refused.text)
        pinned = tmp_path / "pinned.pem"
        pinned.write_text(shown, encoding="ascii")
        accepted = check(capfd, untrusting(simulator, f"{{ca_file: {pinned}}}"))

    der = ssl.PEM_cert_to_DER_cert(cert_file.read_text(encoding="ascii"))
    fingerprint = re.search(r"SHA-256 +(\S+)\n +(\S+)\n", refused.text)
    assert shown == cert_file.read_text(encoding="ascii")
    assert fingerprint is not None
    assert "".join(fingerprint.groups()).replace(":", "").lower() == sha256(der).hexdigest()
    assert (refused.status, refused.steps) == (1, [*OPENED[:3], "FAIL tls"])
    assert "subject CN=VB365 issuer CN=VB365 valid " in refused.words
    assert "40 days left" in refused.words
    assert simulator.requests["POST", "token"] == 1
    assert accepted.status == 0
    assert not CERTIFICATE.search(accepted.text)


def test_a_server_that_closes_the_connection_may_require_a_client_certificate() -> None:
    error = ConnectError("hq:4443 closed the TLS connection", operation="service_instance")

    assert "If it requires a client certificate" in advice.before_login(error)


def test_an_address_that_refuses_is_set_apart_from_its_reason() -> None:
    refused = ("2001:db8:0:1::10", "Network is unreachable")

    text = finding_text(Finding("tcp", Verdict.WARN, "x", details=(refused,)))

    assert text.endswith("  2001:db8:0:1::10 Network is unreachable\n")


def test_a_long_name_is_not_broken() -> None:
    path = "/etc/" + 40 * "vb365-" + "ca.pem"

    text = finding_text(Finding("tls", Verdict.OK, f"trusted through {path}"))

    assert path in text
