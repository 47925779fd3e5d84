"""The systemd units: accepted, hardened both with and without the socket, and in step with the exporter's flags."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from exporter.flags import parse
from support.alert_rules import DEPLOY
from support.processes import debian_program

SYSTEMD = DEPLOY / "systemd"
SERVICE = SYSTEMD / "vb365-restore-exporter.service"
SOCKET = SYSTEMD / "vb365-restore-exporter.socket"
ACCOUNT = SYSTEMD / "vb365-restore-exporter.sysusers"
LOGROTATE = DEPLOY / "logrotate" / "vb365-restore-exporter"
DROP_IN = SYSTEMD / "vb365-restore-exporter.service.d" / "socket.conf"
HIGHEST_EXPOSURE = 12  # tenths, as the README says

both_ways = pytest.mark.parametrize("with_socket", [False, True], ids=["own port", "socket"])


def settings(*units: Path) -> Mapping[str, list[str]]:
    """Return the settings of units; an empty value resets earlier ones."""
    found: dict[str, list[str]] = {}
    for unit in units:
        for line in unit.read_text(encoding="utf-8").splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                found[name] = [*found.get(name, ()), value] if value else []
    return found


def analyze(*arguments: str | Path, directory: Path) -> str:
    analyzed = subprocess.run(
        [debian_program("systemd-analyze", "systemd"), "--no-pager", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert analyzed.returncode == 0, analyzed.stdout + analyzed.stderr
    return analyzed.stderr


def install(directory: Path, *, with_socket: bool) -> None:
    """The units in a directory, with a program that exists here."""
    (command, *_) = settings(SERVICE)["ExecStart"][0].split()
    text = SERVICE.read_text(encoding="utf-8").replace(
        f"ExecStart={command}", "ExecStart=/bin/true"
    )
    (directory / SERVICE.name).write_text(text, encoding="utf-8")
    if with_socket:
        shutil.copy(SOCKET, directory)
        shutil.copytree(DROP_IN.parent, directory / DROP_IN.parent.name)


@both_ways
def test_systemd_accepts_the_units(with_socket: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    install(tmp_path, with_socket=with_socket)

    units = [SERVICE, SOCKET] if with_socket else [SERVICE]

    assert analyze("verify", *(f"./{unit.name}" for unit in units), directory=tmp_path) == ""


@both_ways
def test_systemd_rates_the_service_as_hardened(with_socket: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a case
    install(tmp_path, with_socket=with_socket)

    analyze(
        "security",
        "--offline=true",
        f"--threshold={HIGHEST_EXPOSURE}",
        f"./{SERVICE.name}",
        directory=tmp_path,
    )


def test_the_process_metrics_can_read_proc() -> None:
    """`ProcSubset=pid` would hide /proc/stat, and with it all of process_*."""
    assert settings(SERVICE, DROP_IN)["ProcSubset"] == ["all"]


def test_systemd_is_notified_of_start_watchdog_and_reload() -> None:
    service = settings(SERVICE)

    assert service["Type"] == ["notify"]
    assert service["WatchdogSec"] == ["30s"]
    assert service["ExecReload"] == ["/bin/sh -c 'kill -HUP $MAINPID'"]


def test_the_service_runs_as_the_account_that_sysusers_creates(tmp_path: Path) -> None:
    (user,) = settings(SERVICE)["User"]
    (tmp_path / "etc").mkdir()

    created = subprocess.run(
        [debian_program("systemd-sysusers", "systemd"), f"--root={tmp_path}", ACCOUNT],
        capture_output=True,
        text=True,
        check=False,
    )

    assert created.returncode == 0, created.stderr
    name, _, uid, _, _, home, shell = (tmp_path / "etc" / "passwd").read_text().strip().split(":")
    assert name == user
    assert 0 < int(uid) < 1000
    assert (home, shell) == ("/", "/usr/sbin/nologin")


def test_the_audit_log_is_off_and_its_directory_is_the_one_that_logrotate_looks_in() -> None:
    service = settings(SERVICE)
    _, *arguments = service["ExecStart"][0].split()
    rotated, *_ = re.findall(r"^(/\S+) \{$", LOGROTATE.read_text(encoding="utf-8"), re.MULTILINE)
    (account,) = re.findall(r"^ +su (\S+) \1$", LOGROTATE.read_text(encoding="utf-8"), re.MULTILINE)
    readme = (SYSTEMD / "README.md").read_text(encoding="utf-8")

    assert parse(arguments).audit_log_file is None
    assert [str(Path(rotated).parent)] == [f"/var/log/{name}" for name in service["LogsDirectory"]]
    assert [account] == service["User"]
    assert f"Environment=VB365_EXPORTER_AUDIT_LOG_FILE={rotated}\n" in readme


def test_without_the_socket_the_service_may_open_the_port_that_it_listens_on() -> None:
    service = settings(SERVICE)
    _, *arguments = service["ExecStart"][0].split()
    options = parse(arguments)

    (address,) = options.web_listen_address
    assert not options.web_systemd_socket
    assert service["SocketBindDeny"] == ["any"]
    assert service["SocketBindAllow"] == [f"tcp:{address.port}"]


def test_with_the_socket_the_service_opens_no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    service = settings(SERVICE, DROP_IN)
    for variable in service["Environment"]:
        monkeypatch.setenv(*variable.split("=", 1))
    _, *arguments = service["ExecStart"][0].split()
    options = parse(arguments)

    assert options.web_systemd_socket
    assert service["SocketBindDeny"] == ["any"]
    assert service["SocketBindAllow"] == []
    assert settings(SOCKET)["ListenStream"] == [str(parse([]).web_listen_address[0].port)]
    assert SOCKET.name in service["Requires"]


def test_a_thousand_servers_fit_into_the_limits_of_tasks_and_descriptors() -> None:
    service = settings(SERVICE)

    assert int(service["TasksMax"][0]) >= 2 * 1000 + 1000
    assert int(service["LimitNOFILE"][0]) >= 10 * 1000


def test_the_readme_stops_the_service_before_its_socket_starts() -> None:
    readme = (SYSTEMD / "README.md").read_text(encoding="utf-8")

    stop = readme.index(f"systemctl stop {SERVICE.name}")
    assert stop < readme.index(f"systemctl enable --now {SOCKET.name}")


def test_the_readme_makes_secrets_readable_for_the_account_alone() -> None:
    readme = (SYSTEMD / "README.md").read_text(encoding="utf-8")
    (user,) = settings(SERVICE)["User"]

    for name in ("config.yaml", "vb365-password"):
        assert f"install -m 640 -g {user} {name} /etc/vb365-restore-exporter/" in readme
