"""Real programs beside the exporter: found, started on loopback, stopped."""

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

import pytest
import requests

EXPORTER = (sys.executable, "-m", "exporter")


def debian_program(name: str, package: str) -> str:
    """The path of a program of a Debian package; without it the test is skipped, in CI it fails."""
    return _found(name, f"Debian package {package}")


def kube_program(name: str) -> str:
    """The path of `kubectl` or `helm`; without it the test is skipped, in CI it fails."""
    return _found(name, "make kube")


def _found(name: str, source: str) -> str:
    path = shutil.which(dev_tool(name)) or shutil.which(name)
    if path is None:
        reason = f"{name} is not installed ({source})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def dev_tool(name: str) -> Path:
    """The path of a command that the locked development dependencies bring."""
    return Path(sys.executable).parent / name


def free_port() -> int:
    """A port nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without anything that could configure an exporter."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("VB365_EXPORTER_")
    }
    return {**kept, **variables}


def run_exporter(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the exporter's command to its end."""
    return subprocess.run(
        [*EXPORTER, *arguments],
        env=clean_environment(**(environ or {})),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class HttpProgram:
    """A running program that is asked by HTTP, without what the environment says of proxies."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = requests.Session()
        self._http.trust_env = False

    def answers(self, path: str) -> bool:
        """Whether it answers well on this path, as it does when it is ready."""
        try:
            return self._http.get(self.url + path, timeout=5).ok
        except requests.ConnectionError:
            return False

    def close(self) -> None:
        """Close the connection to it."""
        self._http.close()


@contextmanager
def running_process(
    command: Sequence[str | Path], output: Path, **environment: str
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the background; whatever happens, it is gone afterwards."""
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
    """End a program of ours with a clear line when others it needs are missing; names and their Debian packages.

    Raises:
        SystemExit: 1.
    """
    missing = [
        f"{name} (Debian package {package})"
        for name, package in packages.items()
        if shutil.which(name) is None
    ]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
