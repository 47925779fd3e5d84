"""URLs, host names and IP addresses that the client can connect to; errors never quote a URL, as it may hold a password."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.config.characters import control_character, require_printable

__all__ = ["api_root", "is_host", "proxy_root", "unreachable"]

_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash
_PORT = re.compile(r":([0-9]*)$")
_MAX_PORT_DIGITS = 5

_MAX_NAME_CHARACTERS = 253
# With underscores, which Windows allows in names of computers.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
# The name or number of an interface, in a URL after %25.
_ZONE = re.compile(r"(?:25)?(?!.{16})[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*")


def api_root(url: str) -> str:
    """Return the URL of an API with its host in lower case and without a slash at its end.

    Raises:
        ValueError: it is not an https URL that consists of a host and, optionally, a port and a path.
    """
    parts = _split(url, "https://")
    if "@" in parts.netloc:
        raise ValueError("must not have user information; the login belongs under auth")
    # The zone of an IPv6 address is the name of an interface, with upper and lower case.
    host, percent, zone = parts.netloc.partition("%")
    return f"https://{host.lower()}{percent}{zone}{parts.path.rstrip('/')}"


def proxy_root(url: str) -> str:
    """Return the URL of a proxy without a path.

    Raises:
        ValueError: it is not an http or https URL that consists of a host and, optionally, user information and a port.
    """
    parts = _split(url, "http://", "https://")
    if parts.path.strip("/"):
        raise ValueError("must not have a path")
    if control_character(unquote(parts.netloc)) is not None:
        raise ValueError("must not have a control character in its user information")
    return parts._replace(path="").geturl()


def _split(url: str, *starts: str) -> SplitResult:
    if not url.lower().startswith(starts):
        raise ValueError(f"must start with {' or '.join(starts)}")
    if not _URL_CHARACTERS.fullmatch(url):
        raise ValueError(_wrong_character(url))
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment; write ? as %3F and # as %23")
    try:
        parts = urlsplit(url)
        port = _PORT.search(parts.netloc)
        # More digits, even if they are zeros, are too many for urllib3.
        if parts.port == 0 or (port and not 0 < len(port[1]) <= _MAX_PORT_DIGITS):
            raise ValueError  # noqa: TRY301 - to be reported like an error of urlsplit
    except ValueError:
        # The message of urlsplit quotes parts of the URL.
        raise ValueError(
            "must be a URL whose port is a number from 1 to 65535; "
            "a password with special characters needs them as %XX"
        ) from None
    host = parts.hostname or ""
    is_bracketed = "[" in parts.netloc.rpartition("@")[2]
    if is_bracketed != (":" in host) or not is_host(host):
        raise ValueError("must be a URL with a host name or an IP address")
    return parts


def _wrong_character(url: str) -> str:
    require_printable(url)
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if any(letter.isalpha() for letter in authority.rpartition("@")[2] if not letter.isascii()):
        return "must have the ASCII form of its host name, with xn--"
    return "must consist of ASCII characters without spaces or backslashes; encode others as %XX"


def is_host(text: str) -> bool:
    """Return whether the text is a DNS name, an IPv4 address, or an IPv6 address without brackets.

    A name may end with a dot, an IPv6 address with the zone of a link-local one (`fe80::1%eth0`).
    """
    if ":" in text:
        address, percent, zone = text.partition("%")
        return _is_address(address) and (not percent or _ZONE.fullmatch(zone) is not None)
    name = text.removesuffix(".")
    labels = name.split(".")
    if len(name) > _MAX_NAME_CHARACTERS or not all(map(_LABEL.fullmatch, labels)):
        return False
    # Resolvers take these for an address, whatever their number of parts: 127.1, 0x7f.1, 010.0.0.1.
    return _NUMBER.fullmatch(labels[-1]) is None or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def unreachable(host: str) -> str | None:
    """Return why no connection to a valid host can succeed, or None."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified:
        return "is an address to listen on, not to connect to"
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        return "is the address of a group, not of a server"
    if (
        isinstance(address, ipaddress.IPv6Address)
        and address.is_link_local
        and not address.scope_id
    ):
        return "is a link-local address, which needs its zone, such as [fe80::1%25eth0]"
    return None
