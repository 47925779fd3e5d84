from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.system.systemd import NotActivatedError, Notifier, listen_fds


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        yield manager


def received(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_every_state_is_sent_to_systemd(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    notifier = Notifier(environ)

    notifier.ready()
    assert received(manager) == ["READY=1"]
    notifier.reloading()
    reloading, since = received(manager)
    assert reloading == "RELOADING=1"
    assert since.removeprefix("MONOTONIC_USEC=").isdecimal()
    notifier.stopping()
    assert received(manager) == ["STOPPING=1"]
    notifier.ping_watchdog()
    assert received(manager) == ["WATCHDOG=1"]
    assert environ == {}, "child processes must not notify systemd"


def test_a_status_is_sent_when_it_changes(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for status in ("polling", "polling", "failing"):
        notifier.status(status)
    notifier.stopping()

    assert [received(manager) for _ in range(3)] == [
        ["STATUS=polling"],
        ["STATUS=failing"],
        ["STOPPING=1"],
    ]


def test_a_status_is_always_one_line(manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).status("a\nSTOPPING=1")

    assert received(manager) == ["STATUS=a STOPPING=1"]


def test_the_socket_may_be_in_the_abstract_namespace() -> None:
    name = f"exporter-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()

        assert received(manager) == ["READY=1"]


def test_without_systemd_nothing_happens(tmp_path: Path) -> None:
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "absent")}).ready()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({}, None),
    ],
)
def test_the_ping_interval_is_half_of_the_watchdog_timeout(
    environ: dict[str, str], seconds: float | None
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": "/absent", **environ})

    assert notifier.watchdog_seconds == seconds


ACTIVATED = """
import os, socket, sys
kind = sys.argv[1]
if kind == "udp":
    given = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
else:
    given = socket.socket()
    given.bind(("127.0.0.1", 0))
    if kind == "listening":
        given.listen()
os.dup2(given.fileno(), 3)
if kind == "closed":
    os.close(3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"}
from exporter.system.systemd import NotActivatedError, listen_fds
try:
    (listener,) = listen_fds()
except NotActivatedError as error:
    print(error)
else:
    print(listener.getsockname() == given.getsockname(), listener.getblocking(), listener.get_inheritable())
print([name for name in os.environ if name.startswith("LISTEN_")])
"""


@pytest.mark.parametrize(
    ("kind", "printed"),
    [
        ("listening", "True False False"),
        ("bound", "descriptor 3 is not a listening TCP socket"),
        ("udp", "descriptor 3 is not a listening TCP socket"),
        ("closed", "descriptor 3: Bad file descriptor"),
    ],
)
def test_only_a_listening_tcp_socket_is_accepted_from_systemd(kind: str, printed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ACTIVATED, kind],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    assert ran.stdout.splitlines() == [printed, "[]"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LISTEN_PID": "1", "LISTEN_FDS": "1"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"},
        {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "many"},
        {"LISTEN_FDS": "1"},
    ],
)
def test_variables_that_pass_no_socket_to_this_process_are_an_error(
    environ: dict[str, str],
) -> None:
    with pytest.raises(NotActivatedError, match="no socket"):
        listen_fds(environ)
