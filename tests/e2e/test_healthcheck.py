"""The image's health check beside the real command, with each protection that keeps it out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml

from support.image import DOCKERFILE
from support.programs import EXPORTER, free_port, started
from support.running import wait_until

pytestmark = pytest.mark.e2e

TLS = {"cert_file": "server.pem", "key_file": "server.pem"}
CLIENTS = {"client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.pem"}
USERS = {"prometheus": bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()}


def health(process: int) -> tuple[int, str]:
    checked = subprocess.run(
        [sys.executable, "-I", DOCKERFILE.with_name("healthcheck.py"), str(process)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "" == checked.stderr
    return checked.returncode, checked.stdout.strip()


@pytest.mark.parametrize(
    ("protection", "why"),
    [
        ({}, "/-/healthy answers 200"),
        ({"tls_server_config": TLS}, "/-/healthy answers 200"),
        ({"basic_auth_users": USERS}, "alive; it answers 401 to strangers"),
        (
            {"tls_server_config": TLS, "basic_auth_users": USERS},
            "alive; it answers 401 to strangers",
        ),
        (
            {"tls_server_config": TLS | CLIENTS},
            "alive; it wants a client certificate to say more",
        ),
        (
            {"tls_server_config": TLS | CLIENTS | {"max_version": "TLS12"}},
            "alive; it wants a client certificate to say more",
        ),
    ],
    ids=["open", "TLS", "basic authentication", "both", "client certificates", "the same, TLS 1.2"],
)
def test_a_running_exporter_is_healthy_and_a_stopped_one_is_not(
    protection: dict[str, object], why: str, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = authority.issue_cert("exporter.example.com")
    own.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    web = tmp_path / "web.yml"
    web.write_text(yaml.safe_dump(protection))
    command = [
        *EXPORTER,
        "--demo",
        f"--web.listen-address=:{free_port()}",
        f"--web.config.file={web}",
    ]

    with started(command, tmp_path / "log") as exporter:
        wait_until(lambda: health(exporter.pid)[0] == 0, "healthy", pause_seconds=0.2)
        for _ in range(3):
            assert (0, why) == health(exporter.pid)

        exporter.terminate()
        exporter.wait()
        status, why = health(exporter.pid)

    assert 1 == status
    assert why.startswith("no answer: ")
