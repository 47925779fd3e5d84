"""Whether the exporter in this container is healthy: exit status 0 or 1, and a line that says why.

It reads where to ask from the command line of process 1 and from the environment, so that it needs no settings of its
own, and asks `/-/healthy` there. It knows no password and has no client certificate: an exporter that refuses it for
that reason is alive, which is all that can be known from outside.
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
CERTIFICATE_WANTED = {"RequireAnyClientCert", "RequireAndVerifyClientCert"}


class NoExporterError(Exception):
    """The process is no exporter; the message says which."""


def options_of(process: str) -> Options:
    """The flags that the exporter with this process id was started with.

    Raises:
        NoExporterError: it is something else.
    """
    words = Path("/proc", process, "cmdline").read_text(encoding="utf-8").split("\0")[:-1]
    # In front of it there may be an init, python, and its options.
    names = [Path(word).name for word in words]
    for command in COMMANDS:
        if command in names:
            return parse(words[names.index(command) + 1 :])
    raise NoExporterError(f"process {process} is no exporter")


def tls_settings(options: Options) -> dict[str, str]:
    """The part of the web configuration that switches TLS on; empty without TLS."""
    if options.web_config_file is None:
        return {}
    document = yaml.safe_load(options.web_config_file.read_text(encoding="utf-8")) or {}
    settings: dict[str, str] = document.get("tls_server_config") or {}
    return settings


def connection(options: Options, *, tls: bool) -> http.client.HTTPConnection:
    """A connection to the exporter's first address, not opened yet."""
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
    """Whether the exporter is healthy, and why.

    Raises:
        OSError: it does not answer.
        http.client.HTTPException: what answers is no web server.
    """
    settings = tls_settings(options)
    asking = connection(options, tls=bool(settings))
    try:
        asking.connect()
        asking.request("GET", HEALTHY_PATH)
        status = asking.getresponse().status
    except (ssl.SSLError, ConnectionError) as error:
        refused = isinstance(error, ssl.SSLError) or asking.sock is not None
        if refused and settings.get("client_auth_type") in CERTIFICATE_WANTED:
            return True, "alive; it wants a client certificate to say more"
        raise
    finally:
        asking.close()
    if status in {401, 429}:
        return True, f"alive; it answers {status} to strangers"
    return status == 200, f"{HEALTHY_PATH} answers {status}"


def main(process: str = "1") -> int:
    """Print the verdict and return the exit status."""
    try:
        healthy, why = verdict(options_of(process))
    except (NoExporterError, OSError, http.client.HTTPException) as error:
        healthy, why = False, f"no answer: {str(error) or type(error).__name__}"
    sys.stdout.write(f"{why}\n")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
