"""The image's health check beside the real command, with each protection that keeps it out."""

from __future__ import annotations

import http.client
import ssl
import subprocess
import sys
from functools import partial
from pathlib import Path

import bcrypt
import pytest
import trustme
import yaml

from support.docker_image import DOCKERFILE
from support.kubernetes_manifests import container, kustomize
from support.processes import EXPORTER, free_port, running_process
from support.waiting import wait_until

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
    assert checked.stderr == ""
    return checked.returncode, checked.stdout.strip()


@pytest.mark.parametrize(
    ("protection", "why"),
    [
        ({}, "/-/healthy responds with 200"),
        ({"tls_server_config": TLS}, "/-/healthy responds with 200"),
        ({"basic_auth_users": USERS}, "alive; responds with 401 without credentials"),
        (
            {"tls_server_config": TLS, "basic_auth_users": USERS},
            "alive; responds with 401 without credentials",
        ),
        (
            {"tls_server_config": TLS | CLIENTS},
            "alive; requires a client certificate",
        ),
        (
            {"tls_server_config": TLS | CLIENTS | {"max_version": "TLS12"}},
            "alive; requires a client certificate",
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

    with running_process(command, tmp_path / "log") as exporter:
        wait_until(lambda: health(exporter.pid)[0] == 0, "healthy", pause_seconds=0.2)
        for _ in range(3):
            assert health(exporter.pid) == (0, why)

        exporter.terminate()
        exporter.wait()
        status, why = health(exporter.pid)

    assert status == 1
    assert why.startswith("no response: ")


def test_the_probes_of_the_kubernetes_overlay_pass_the_authentication_that_it_describes(
    tmp_path: Path,
) -> None:
    only = container(kustomize("overlays/web-authentication"))
    own = trustme.CA().issue_cert("vb365-restore-exporter")
    own.private_key_pem.write_to_path(str(tmp_path / "tls.key"))
    own.cert_chain_pems[0].write_to_path(str(tmp_path / "tls.crt"))
    web = tmp_path / "web-config.yml"
    web.write_text(
        yaml.safe_dump(
            {
                "tls_server_config": {"cert_file": "tls.crt", "key_file": "tls.key"},
                "basic_auth_users": {
                    "probe": bcrypt.hashpw(b"change-me", bcrypt.gensalt(4)).decode()
                },
            }
        )
    )
    port = free_port()
    command = [*EXPORTER, "--demo", f"--web.listen-address=:{port}", f"--web.config.file={web}"]

    def get(path: str, headers: dict[str, str]) -> int:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=context)
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def passes(path: str, headers: dict[str, str]) -> bool:
        return get(path, headers) == 200

    with running_process(command, tmp_path / "log"):
        for probe in ("readinessProbe", "livenessProbe"):
            request = only[probe]["httpGet"]
            headers = {header["name"]: header["value"] for header in request["httpHeaders"]}
            wait_until(partial(passes, request["path"], headers), probe)
            assert get(request["path"], {}) == 401
