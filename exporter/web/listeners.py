"""Listen addresses, and sockets bound before the server starts, so that a port in use is a startup error."""

from __future__ import annotations

import contextlib
import errno
import re
import socket
import sys
from collections.abc import Iterable
from ipaddress import IPv6Address
from typing import NamedTuple, Self

# With 5, the default of `http.server`, some of ten simultaneous scrapers would wait a second to retry their SYN.
BACKLOG = 256

_HOST = re.compile(r"[A-Za-z0-9_.-]*")
_NO_IPV6 = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}


class WebServerError(Exception):
    """The web server cannot start; the message has the cause."""


class Address(NamedTuple):
    """Where to listen: an empty host means every interface, port 0 any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `:port`, `host:port` or `[IPv6]:port`.

        Raises:
            ValueError: the text has another form; the message names the valid forms.
        """
        host, colon, port = text.rpartition(":")
        if not (colon and _is_host(host) and re.fullmatch(r"[0-9]{1,5}", port)):
            raise ValueError("must be an address such as :10365, 127.0.0.1:10365 or [::1]:10365")
        if int(port) > 65535:
            raise ValueError("must have a port from 0 to 65535")
        return cls(host.strip("[]"), int(port))

    @property
    def url_host(self) -> str:
        """The host as in a URL."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.url_host}:{self.port}"


def _is_host(text: str) -> bool:
    """Return whether the text is empty, a name, an IPv4 address, or an IPv6 address in brackets."""
    if not (text.startswith("[") and text.endswith("]")):
        return _HOST.fullmatch(text) is not None
    try:
        IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True


def address_of(listener: socket.socket) -> Address:
    """Return the address of a listener, with its real port."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def bind_listeners(addresses: Iterable[Address]) -> tuple[socket.socket, ...]:
    """Bind and listen on every address, or on none.

    Args:
        addresses: where to listen. An empty host means every interface, over IPv6 and IPv4, or over
            IPv4 alone where IPv6 is not available.

    Raises:
        WebServerError: an address cannot be resolved or bound; the message names it.
    """
    with contextlib.ExitStack() as undo:
        listeners = []
        for address in addresses:
            try:
                listener = _listen(address)
            except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot encode
                cause = getattr(error, "strerror", None) or error
                raise WebServerError(
                    f"cannot listen on {address}: {cause}; --web.listen-address sets another address"
                ) from error
            listeners.append(undo.enter_context(listener))
        undo.pop_all()
    return tuple(listeners)


def _listen(address: Address) -> socket.socket:
    if address.host:
        found = socket.getaddrinfo(
            *address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
        # A name gets one listener, over IPv4 if it has an IPv4 address, as in Go's net.Listen.
        family, _, _, _, target = min(found, key=lambda entry: entry[0] != socket.AF_INET)
        return _bind(family, target, dual_stack=target[0] == "::")
    try:
        return _bind(socket.AF_INET6, ("::", address.port), dual_stack=True)
    except OSError as error:
        if error.errno not in _NO_IPV6:
            raise
        return _bind(socket.AF_INET, ("0.0.0.0", address.port))  # noqa: S104 - what `:port` means


def _bind(family: int, target: tuple[object, ...], *, dual_stack: bool = False) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # On Windows, SO_REUSEADDR would let another program take over the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            # A restart must not wait for connections in TIME_WAIT.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        listener.bind(target)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
