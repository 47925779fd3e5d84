"""A clean Debian 12 that systemd boots in a container without a network, for tests that install a package."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.processes import debian_program, running_process
from support.waiting import wait_until

RELEASE = "bookworm"
INCLUDED = ("bash-completion", "dbus", "logrotate", "man-db", "python3", "systemd-sysv")


def require_root() -> None:
    """Skip the test if this process may not create containers; in CI fail it."""
    if os.geteuid() != 0:
        reason = "needs root, to boot a container"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def mirror() -> str:
    """Return the mirror of Debian that this machine's apt uses."""
    targets = subprocess.run(
        [debian_program("apt-get", "apt"), "indextargets", "--format", "$(LABEL) $(SITE)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return next(
        site
        for label, _, site in (line.rpartition(" ") for line in targets.splitlines())
        if label == "Debian"
    )


def create_root(directory: Path) -> None:
    """Install a minimal Debian into a directory that does not exist."""
    subprocess.run(
        [
            *(debian_program("mmdebstrap", "mmdebstrap"), "--variant=apt", "--quiet"),
            *(f"--include={','.join(INCLUDED)}", '--aptopt=APT::Install-Recommends "false"'),
            *(RELEASE, directory, mirror()),
        ],
        check=True,
    )


class Machine:
    """A booted container.

    Args:
        root: the directory that is its root.
        leader: the process id of its systemd.
    """

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self._enter = [debian_program("nsenter", "util-linux"), f"--target={leader}", "--all"]

    def attempt(self, *command: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it, which may fail.

        Args:
            command: the program and its arguments.
            given: what it reads from standard input.
        """
        return subprocess.run(
            [*self._enter, "--", *command],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"},
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    def run(self, *command: str, given: str = "") -> str:
        """Run a command in it and return its standard output.

        Raises:
            AssertionError: the command failed.
        """
        done = self.attempt(*command, given=given)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def write(self, path: str, text: str) -> None:
        """Write a file in it; an existing file keeps its mode."""
        self.run("mkdir", "--parents", str(Path(path).parent))
        self.run("tee", path, given=text)


@contextmanager
def booted(root: Path, log: Path) -> Iterator[Machine]:
    """Boot a container on a root, and shut it down at the end."""
    command = [
        *(debian_program("systemd-nspawn", "systemd-container"), "--boot", "--private-network"),
        *("--register=no", "--keep-unit", f"--directory={root}", f"--machine=vb365-{os.getpid()}"),
    ]
    with running_process(command, log) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def is_running() -> bool:
            with suppress(OSError, ValueError):
                state = Machine(root, int(children.read_text())).attempt(
                    "systemctl", "is-system-running"
                )
                return state.stdout.strip() == "running"
            return False

        wait_until(is_running, "systemd has booted", 60, pause_seconds=0.2)
        yield Machine(root, int(children.read_text()))


@contextmanager
def temporary_root(directory: Path) -> Iterator[Path]:
    """Create a root, and delete it at the end."""
    root = directory / "root"
    try:
        create_root(root)
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)
