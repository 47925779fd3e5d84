"""The systemd protocols: socket activation, service notifications and the watchdog.

Specified by the manual pages sd_listen_fds(3), sd_notify(3) and sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

_SD_LISTEN_FDS_START = 3
_SEND_TIMEOUT_SECONDS = 1.0


class NotActivatedError(Exception):
    """systemd passed no usable listening socket; the message gives the reason."""


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> tuple[socket.socket, ...]:
    """Return the listening sockets passed by systemd, and remove the protocol's variables from the environment.

    Raises:
        NotActivatedError: no socket was passed, or one is not a listening TCP socket.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal() or int(count) == 0:
        raise NotActivatedError("systemd passed no socket: is the socket unit started?")
    listeners = []
    for descriptor in range(_SD_LISTEN_FDS_START, _SD_LISTEN_FDS_START + int(count)):
        try:
            listener = socket.socket(fileno=descriptor)
            listening = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise NotActivatedError(f"descriptor {descriptor}: {error.strerror}") from error
        if not listening or listener.family not in {socket.AF_INET, socket.AF_INET6}:
            raise NotActivatedError(f"descriptor {descriptor} is not a listening TCP socket")
        listener.set_inheritable(False)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's signature
        listeners.append(listener)
    return tuple(listeners)


class Notifier:
    """Sends service notifications to systemd; does nothing if the process was not started by systemd.

    Args:
        environ: the environment; the protocol's variables are removed, so that child processes do not inherit them.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]  # in the abstract namespace
        usec = environ.pop("WATCHDOG_USEC", "")
        pid = environ.pop("WATCHDOG_PID", "") or str(os.getpid())
        watched = bool(self._address) and usec.isdecimal() and pid == str(os.getpid())
        self.watchdog_seconds = int(usec) / 1e6 / 2 if watched else None
        """The interval of watchdog pings, half of systemd's timeout; None if no pings are expected."""
        self._status = ""

    def ready(self) -> None:
        """Report that startup or a reload has finished."""
        self._send("READY=1")

    def reloading(self) -> None:
        """Report that a reload has begun; `ready` reports its end."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Report that the process is stopping."""
        self._send("STOPPING=1")

    def ping_watchdog(self) -> None:
        """Send a watchdog ping."""
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows; it is sent only when it changes."""
        text = " ".join(text.split())
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def _send(self, *lines: str) -> None:
        if not self._address or not hasattr(socket, "AF_UNIX"):  # Windows
            return
        # An unresponsive service manager must not block or end the service.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_SEND_TIMEOUT_SECONDS)
            channel.sendto("\n".join(lines).encode(), self._address)
