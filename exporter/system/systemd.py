"""What systemd and the exporter say to each other: sockets handed over, state and life signs sent back.

The protocols are those of the manual pages sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final

__all__ = ["NotActivatedError", "Notifier", "listen_fds"]

_FIRST_DESCRIPTOR: Final = 3
_SEND_SECONDS: Final = 1.0


class NotActivatedError(Exception):
    """systemd has handed over no socket that can be listened on; the message says why."""


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> tuple[socket.socket, ...]:
    """The listening sockets of the socket unit; the variables that name them are removed.

    Raises:
        NotActivatedError: there are none, or one is no listening TCP socket.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        raise NotActivatedError("systemd has handed over no socket: is the socket unit started?")
    listeners = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count)):
        try:
            listener = socket.socket(fileno=descriptor)
            listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise NotActivatedError(f"descriptor {descriptor}: {error.strerror}") from error
        if not listening or listener.family not in {socket.AF_INET, socket.AF_INET6}:
            raise NotActivatedError(f"descriptor {descriptor} is no listening TCP socket")
        listener.set_inheritable(False)
        listener.setblocking(False)  # noqa: FBT003 - the same
        listeners.append(listener)
    return tuple(listeners)


class Notifier:
    """Tells systemd how the exporter is; without systemd every call does nothing."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        """Take the addresses from the environment; child processes get neither of them."""
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # a name in the abstract namespace
        usec = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        watched = bool(self._address) and usec.isdecimal() and pid == str(os.getpid())
        self.watchdog_seconds = int(usec) / 1e6 / 2 if watched else None
        """How often a life sign is wanted: twice as often as systemd insists on. None: never."""
        self._status = ""

    def ready(self) -> None:
        """Started, or reloaded."""
        self._send("READY=1")

    def reloading(self) -> None:
        """About to reload; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """About to stop."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """A life sign."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """What `systemctl status` shows; told only when it changes."""
        text = " ".join(text.split())
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, *lines: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):  # Python on Windows has none
            return
        # A manager that does not listen must not stop what it manages.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_SEND_SECONDS)
            channel.sendto("\n".join(lines).encode(), self._address)
