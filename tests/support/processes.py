"""Find, start and stop real programs on loopback, the exporter among them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
import requests

EXPORTER = (sys.executable, "-m", "exporter")

# Debian stable's Prometheus, Alertmanager and VictoriaMetrics are years old: many tests also run with current ones.
RELEASES = ("installed", "current")
_CURRENT = Path(__file__).parents[2] / ".programs"


def debian_program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package; if it is missing, skip the test, in CI fail it."""
    return _find(name, f"Debian package {package}")


def kube_program(name: str) -> str:
    """Return the path of `kubectl` or `helm`; if it is missing, skip the test, in CI fail it."""
    return _find(name, "make kube")


def _find(name: str, source: str) -> str:
    return shutil.which(dev_tool(name)) or shutil.which(name) or _missing(name, source)


def _missing(what: str, source: str) -> NoReturn:
    reason = f"{what} is not installed ({source})"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def programs_of(release: str) -> Iterator[None]:
    """Let a current Prometheus, Alertmanager and VictoriaMetrics be found first, if that is the release.

    If they are missing, skip the test, in CI fail it.
    """
    with pytest.MonkeyPatch.context() as patch:
        if release == "current":
            if not _CURRENT.is_dir():
                _missing("a current Prometheus", "make programs")
            patch.setenv("PATH", str(_CURRENT), prepend=os.pathsep)
        yield


def dev_tool(name: str) -> Path:
    """Return the path of a command that the development dependencies install."""
    return Path(sys.executable).parent / name


_reserved: list[socket.socket] = []
"""Their ports are given to no other program that wants any port."""


def free_port() -> int:
    """Return a free port of 127.0.0.1, which refuses connections until a program listens on it.

    No other program gets it, unless it wants this port and sets SO_REUSEADDR, as all servers of the tests do.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    _reserved.append(reserved)
    port: int = reserved.getsockname()[1]
    return port


def clean_environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without the exporter's variables."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("VB365_EXPORTER_")
    }
    return {**kept, **variables}


def run_exporter(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the exporter's command until it exits."""
    return subprocess.run(
        [*EXPORTER, *arguments],
        env=clean_environment(**(environ or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class HttpProgram:
    """A running program with an HTTP API, reached without any proxy of the environment."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False

    def answers(self, path: str) -> bool:
        """Whether this path responds with success, as it does when the program is ready."""
        try:
            return self._http.get(self.url + path, timeout=30).ok
        except (requests.ConnectionError, requests.Timeout):
            return False

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


@contextmanager
def running_process(
    command: Sequence[str | Path], output: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in the background and end it at the end."""
    with (
        output.open("wb") as log,
        subprocess.Popen(
            list(map(str, command)),
            stdout=log,
            stderr=log,
            env=clean_environment(**environment),
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


def require_programs(**packages: str) -> None:
    """Exit with a clear message when programs are missing, given as names and their Debian packages.

    Raises:
        SystemExit: a program is missing.
    """
    missing = [
        f"{name} (Debian package {package})"
        for name, package in packages.items()
        if shutil.which(name) is None
    ]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
