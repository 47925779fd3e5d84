"""Check whether the exporter in this container is healthy; exit with status 0 or 1 and print the reason.

The address comes from the command line of process 1 and from the environment, so that no settings are needed; the check
requests `/-/healthy` there. It has no password and no client certificate: an exporter that refuses it for that reason is
alive, which is all that can be determined from outside.
"""

from __future__ import annotations

import http.client
import ssl
import sys
from pathlib import Path

import yaml

from exporter.flags import Options, parse

COMMANDS = ("vb365-restore-exporter", "exporter")  # the script, and python -m exporter
HEALTHY_PATH = "/-/healthy"
TIMEOUT_SECONDS = 5.0

EVERY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound
CERTIFICATE_REQUIRED = {"RequireAnyClientCert", "RequireAndVerifyClientCert"}


class NoExporterError(Exception):
    """The process is not an exporter."""


def options_of(process: str) -> Options:
    """Return the options of the exporter with this process id.

    Raises:
        NoExporterError: the process is not an exporter.
    """
    words = Path("/proc", process, "cmdline").read_text(encoding="utf-8").split("\0")[:-1]
    # An init program, python and its options may precede the command.
    names = [Path(word).name for word in words]
    for command in COMMANDS:
        if command in names:
            return parse(words[names.index(command) + 1 :])
    raise NoExporterError(f"process {process} is not an exporter")


def tls_settings(options: Options) -> dict[str, str]:
    """Return tls_server_config of the web configuration; empty without TLS."""
    if options.web_config_file is None:
        return {}
    document = yaml.safe_load(options.web_config_file.read_text(encoding="utf-8")) or {}
    settings: dict[str, str] = document.get("tls_server_config") or {}
    return settings


def connection(options: Options, *, tls: bool) -> http.client.HTTPConnection:
    """Return an unopened connection to the exporter's first address."""
    address = options.web_listen_address[0]
    host = EVERY_ADDRESS.get(address.host, address.host)
    if not tls:
        return http.client.HTTPConnection(host, address.port, timeout=TIMEOUT_SECONDS)
    # The certificate is for other names than this address, and nothing secret is sent.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, address.port, timeout=TIMEOUT_SECONDS, context=context)


def verdict(options: Options) -> tuple[bool, str]:
    """Return whether the exporter is healthy, and the reason.

    Raises:
        OSError: it does not respond.
        http.client.HTTPException: the response is not HTTP.
    """
    settings = tls_settings(options)
    client = connection(options, tls=bool(settings))
    try:
        client.connect()
        client.request("GET", HEALTHY_PATH)
        status = client.getresponse().status
    except (ssl.SSLError, ConnectionError) as error:
        refused = isinstance(error, ssl.SSLError) or client.sock is not None
        if refused and settings.get("client_auth_type") in CERTIFICATE_REQUIRED:
            return True, "alive; requires a client certificate"
        raise
    finally:
        client.close()
    if status in {401, 429}:
        return True, f"alive; responds with {status} without credentials"
    return status == 200, f"{HEALTHY_PATH} responds with {status}"


def main(process: str = "1") -> int:
    """Print the verdict and return the exit status."""
    try:
        healthy, why = verdict(options_of(process))
    except (NoExporterError, OSError, http.client.HTTPException) as error:
        healthy, why = False, f"no response: {str(error) or type(error).__name__}"
    sys.stdout.write(f"{why}\n")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
