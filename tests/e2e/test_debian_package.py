"""The Debian package, from its build to its purge, on a clean Debian under a booted systemd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter import __version__
from support.alert_rules import DEPLOY
from support.debian_machine import Machine, booted, require_root, temporary_root
from support.processes import debian_program
from support.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

ROOT = DEPLOY.parent
NAME = "vb365-restore-exporter"
DIRECTORY = f"/etc/{NAME}"
CONFIG = f"{DIRECTORY}/config.yaml"
AUDIT_LOG = f"/var/log/{NAME}/audit.log"
NEXT_VERSION = "99.0.0"
SCRAPE = """\
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:10365/metrics", timeout=5).read().decode())
"""
SIMULATOR = f"""\
[Service]
Environment=PYTHONPATH=/usr/lib/{NAME}
ExecStart=/usr/bin/python3 -m exporter.simulator --password=secret --speed=10 --tls.ca-file={DIRECTORY}/ca.pem
"""
CONFIGURATION = """\
poll_interval: 1s
servers:
  - name: hq
    url: https://127.0.0.1:4443
    auth: {username: demo, password_file: vb365-password}
    tls_config: {ca_file: ca.pem}
"""


def make_deb(directory: Path) -> Path:
    """Build the package in a source tree."""
    for program, package in (("dh", "debhelper"), ("dh_python3", "dh-python"), ("lintian",) * 2):
        debian_program(program, package)
    built = subprocess.run(
        [
            debian_program("make", "make"),
            "deb",
            f"VENV={ROOT / '.venv'}",
            "SOURCE_DATE_EPOCH=1700000000",
        ],
        cwd=directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout
    (made,) = (directory / "dist").glob("*.deb")
    return made


@pytest.fixture(scope="module")
def package() -> Path:
    return make_deb(ROOT)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    require_root()
    directory = tmp_path_factory.mktemp("debian")
    with temporary_root(directory) as root, booted(root, directory / "log") as machine:
        yield machine


def newer(package: Path, directory: Path) -> Path:
    """Return the same package with a higher version of the exporter."""
    tree, control, program = (
        directory / path
        for path in ("tree", "tree/DEBIAN/control", f"tree/usr/lib/{NAME}/exporter/__init__.py")
    )
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)  # noqa: S607 - Debian's
    for file in (control, program):
        text = file.read_text()
        assert __version__ in text
        file.write_text(text.replace(__version__, NEXT_VERSION, 1))
    subprocess.run(["dpkg-deb", "-Znone", "--build", tree, directory], check=True)  # noqa: S607 - the same
    (built,) = directory.glob("*.deb")
    return built


def install(machine: Machine, package: Path) -> None:
    shutil.copy(package, machine.root / "srv")
    machine.run("apt-get", "install", "--yes", f"/srv/{package.name}")


def wait_for_sample(machine: Machine, sample: str) -> None:
    wait_until(
        lambda: f"\n{sample}\n" in machine.attempt("python3", "-c", SCRAPE).stdout,
        f"{sample} on /metrics",
        60,
        pause_seconds=0.5,
    )


def is_active(machine: Machine) -> bool:
    return machine.attempt("systemctl", "is-active", NAME).stdout.strip() == "active"


def owners(machine: Machine, *paths: str) -> list[str]:
    return machine.run("stat", "--format=%A %U:%G", *paths).splitlines()


def test_the_service_is_installed_configured_upgraded_and_purged(
    machine: Machine, package: Path, tmp_path: Path
) -> None:
    files_before = set(machine.run("find", "/", "-xdev", "-name", "*vb365*").splitlines())

    install(machine, package)
    assert machine.attempt("systemctl", "is-enabled", NAME).stdout.strip() == "disabled"
    assert not is_active(machine)
    assert owners(machine, DIRECTORY, CONFIG) == [
        f"drwxr-s--- root:{NAME}",
        f"-rw-r----- root:{NAME}",
    ]
    assert "is valid: 1 server" in machine.run(NAME, f"--config.file={CONFIG}", "--config.check")
    assert "--config.file" in machine.run("man", NAME)
    assert machine.attempt("setpriv", "--reuid=nobody", "cat", CONFIG).returncode != 0

    machine.write("/run/systemd/system/simulator.service", SIMULATOR)
    machine.write(CONFIG, CONFIGURATION)
    machine.write(f"{DIRECTORY}/vb365-password", "secret\n")
    machine.run("chmod", "640", f"{DIRECTORY}/vb365-password")
    machine.run("systemctl", "start", "simulator")
    machine.run("systemctl", "enable", "--now", NAME)
    wait_for_sample(machine, 'vb365_up{server="hq"} 1.0')

    machine.write(CONFIG, CONFIGURATION.replace("hq", "main"))
    machine.run("systemctl", "reload", NAME)
    wait_for_sample(machine, 'vb365_up{server="main"} 1.0')

    check_audit_log(machine)

    install(machine, newer(package, tmp_path))
    wait_for_sample(machine, 'vb365_up{server="main"} 1.0')
    assert f'version="{NEXT_VERSION}"' in machine.run("python3", "-c", SCRAPE)
    assert machine.run("systemctl", "is-enabled", NAME) == "enabled"

    machine.run("systemctl", "stop", "simulator")
    machine.run("apt-get", "remove", "--yes", NAME)
    assert not is_active(machine)
    assert "name: main" in machine.run("cat", CONFIG)

    machine.run("apt-get", "purge", "--yes", NAME)
    left = set(machine.run("find", "/", "-xdev", "-name", "*vb365*").splitlines()) - files_before
    # What this test copied there, and a page that man keeps for itself.
    assert {path for path in left if not path.startswith(("/srv/", "/var/cache/man/"))} == set()


def check_audit_log(machine: Machine) -> None:
    """Switch the audit log on as the manual page shows, and rotate it."""
    manual = machine.run("man", NAME)
    (setting,) = re.findall(r"^ *(Environment=\S+)$", manual, re.MULTILINE)
    assert setting == f"Environment=VB365_EXPORTER_AUDIT_LOG_FILE={AUDIT_LOG}"
    machine.write(f"/run/systemd/system/{NAME}.service.d/audit.conf", f"[Service]\n{setting}\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", NAME)

    log = machine.root / AUDIT_LOG.lstrip("/")
    wait_until(lambda: log.exists() and log.stat().st_size > 0, "the audit log is written")
    machine.run("logrotate", "--force", f"/etc/logrotate.d/{NAME}")
    assert log.with_name("audit.log.1").exists()
    wait_until(lambda: log.exists() and log.stat().st_size > 0, "the next audit log is written", 60)
    assert owners(machine, AUDIT_LOG) == [f"-rw------- {NAME}:{NAME}"]


def test_lintian_has_nothing_to_say(package: Path) -> None:
    checked = subprocess.run(
        [debian_program("lintian", "lintian"), "--allow-root", "--fail-on=error,warning", package],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (checked.stdout, checked.returncode) == ("", 0)


def test_the_package_is_reproducible_in_another_directory(package: Path, tmp_path: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - the checkout is git's
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    umask = os.umask(0o077)
    try:
        again = make_deb(tmp_path)
    finally:
        os.umask(umask)

    assert again.name == package.name
    assert again.read_bytes() == package.read_bytes()
