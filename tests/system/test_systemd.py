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


def told(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def test_systemd_is_told_of_every_state(manager: socket.socket) -> None:
    environ = {"NOTIFY_SOCKET": manager.getsockname()}
    notifier = Notifier(environ)

    notifier.ready()
    assert told(manager) == ["READY=1"]
    notifier.reloading()
    reloading, since = told(manager)
    assert reloading == "RELOADING=1"
    assert since.removeprefix("MONOTONIC_USEC=").isdecimal()
    notifier.stopping()
    assert told(manager) == ["STOPPING=1"]
    notifier.alive()
    assert told(manager) == ["WATCHDOG=1"]
    assert environ == {}, "children are not to speak in our name"


def test_a_status_is_told_when_it_changes(manager: socket.socket) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname()})
    for status in ("polling", "polling", "failing"):
        notifier.status(status)
    notifier.stopping()

    assert [told(manager) for _ in range(3)] == [
        ["STATUS=polling"],
        ["STATUS=failing"],
        ["STOPPING=1"],
    ]


def test_a_status_is_one_line_whatever_is_in_it(manager: socket.socket) -> None:
    Notifier({"NOTIFY_SOCKET": manager.getsockname()}).status("a\nSTOPPING=1")

    assert told(manager) == ["STATUS=a STOPPING=1"]


def test_the_socket_may_be_an_abstract_one() -> None:
    name = f"exporter-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        manager.settimeout(5)
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()

        assert told(manager) == ["READY=1"]


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
def test_signs_of_life_are_wanted_twice_as_often_as_systemd_insists(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert seconds == Notifier({"NOTIFY_SOCKET": "/absent", **environ}).watchdog_seconds


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
        ("bound", "descriptor 3 is no listening TCP socket"),
        ("udp", "descriptor 3 is no listening TCP socket"),
        ("closed", "descriptor 3: Bad file descriptor"),
    ],
)
def test_a_listening_socket_is_taken_from_systemd_and_nothing_else(kind: str, printed: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ACTIVATED, kind],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    assert [printed, "[]"] == ran.stdout.splitlines()


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
def test_without_a_socket_of_our_own_it_is_said_that_there_is_none(
    environ: dict[str, str],
) -> None:
    with pytest.raises(NotActivatedError, match="no socket"):
        listen_fds(environ)
