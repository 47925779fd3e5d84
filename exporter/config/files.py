"""Files that the configuration names: where they lie, and whether they can be used."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config.secrets import why_unreadable

__all__ = ["Surroundings", "why_no_authorities", "why_no_client_certificate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a configuration refers to besides itself: its directory and the environment."""

    directory: Path
    environ: Mapping[str, str]

    def locate(self, name: str) -> Path:
        """Absolute path of a file: in $CREDENTIALS_DIRECTORY if it is there, else beside the file.

        systemd puts its credentials in that directory.
        """
        credentials = self.environ.get("CREDENTIALS_DIRECTORY")
        if credentials and not Path(name).is_absolute():
            candidate = Path(credentials, name)
            # Unlike Path.exists, this takes any name and never raises.
            if os.path.exists(candidate):  # noqa: PTH110 - see above
                return candidate.absolute()
        return (self.directory / name).absolute()


def why_no_authorities(path: Path) -> str | None:
    """Why the file cannot be a `ca_file`, or None when it can."""
    problem = why_unreadable(path)
    if problem is not None:
        return f"{path} {problem}"
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except (OSError, ValueError):
        return f"{path} holds no usable certificates in PEM form"
    return None


def why_no_client_certificate(cert_file: Path, key_file: Path) -> str | None:
    """Why these readable files are no certificate and its key, or None when they are."""
    asked_for_passphrase = False

    def passphrase() -> str:
        # Without this, OpenSSL would ask at the terminal.
        nonlocal asked_for_passphrase
        asked_for_passphrase = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(cert_file, key_file, passphrase)
    except ssl.SSLError as error:
        if asked_for_passphrase:
            return f"{key_file} is encrypted; the exporter needs it without a passphrase"
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key_file} is not the key of {cert_file}"
    except (OSError, ValueError):
        pass
    else:
        return None
    return f"{cert_file} and {key_file} are not a certificate and its key in PEM form"
