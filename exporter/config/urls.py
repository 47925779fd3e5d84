"""URLs, host names and IP addresses that the client can connect to; errors never quote a URL, as it may hold a password."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, unquote, urlsplit

from exporter.config.suspicious_text import control_character, require_printable

_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")  # visible ASCII without the backslash
_PORT = re.compile(r":([0-9]*)$")
_MAX_PORT_DIGITS = 5

_MAX_NAME_CHARACTERS = 253
# Underscores are allowed, as in Windows computer names.
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0[Xx][0-9A-Fa-f]*")
# The name or number of an interface, in a URL after %25, and never %25 alone.
_ZONE = re.compile(r"(?!25$)(?:25)?(?!.{16})[A-Za-z0-9_~-]+(?:\.[A-Za-z0-9_~-]+)*")

_NO_HOST = "must be a URL with a host name or an IP address"
_BRACKETS = "; an IPv6 address needs brackets"


def normalized_api_url(url: str) -> str:
    """Return the URL of an API with a lower-case host and no trailing slash.

    Raises:
        ValueError: it is not an https URL that consists of a host and, optionally, a port and a path.
    """
    parts = _split(url, "https://")
    if "@" in parts.netloc:
        raise ValueError("must not have user information; the login belongs under auth")
    # An IPv6 zone names an interface, which is case-sensitive.
    host, percent, zone = parts.netloc.partition("%")
    return f"https://{host.lower()}{percent}{zone}{parts.path.rstrip('/')}"


def normalized_proxy_url(url: str) -> str:
    """Return the URL of a proxy without a path.

    Raises:
        ValueError: it is not an http or https URL that consists of a host and, optionally, user information and a port.
    """
    encode = "; a password with special characters needs them as %XX"
    parts = _split(url, "http://", "https://", advice=encode)
    if parts.path.strip("/"):
        raise ValueError("must not have a path")
    if control_character(unquote(parts.netloc)) is not None:
        raise ValueError("must not have a control character in its user information")
    return parts._replace(path="").geturl()


def _split(url: str, *starts: str, advice: str = "") -> SplitResult:
    """Split a URL that starts with any of `starts`; `advice` follows the errors that a wrong delimiter causes."""
    if not url.lower().startswith(starts):
        raise ValueError(f"must start with {' or '.join(starts)}")
    if not _URL_CHARACTERS.fullmatch(url):
        require_printable(url)
        raise ValueError(_character_problem(url))
    if "?" in url or "#" in url:
        raise ValueError("must not have a query or fragment; write ? as %3F and # as %23")
    try:
        parts = urlsplit(url)
    except ValueError:  # because of its brackets; the message quotes parts of the URL
        raise ValueError(f"{_NO_HOST}{advice}") from None
    host, address = parts.hostname or "", parts.netloc.rpartition("@")[2]
    is_bracketed = "[" in address
    if not _has_valid_port(parts):
        brackets = "" if is_bracketed or address.count(":") < 2 else _BRACKETS
        raise ValueError(f"must be a URL whose port is a number from 1 to 65535{brackets}{advice}")
    if is_bracketed != (":" in host) or not is_host(host):
        raise ValueError(_NO_HOST)
    return parts


def _has_valid_port(parts: SplitResult) -> bool:
    digits = _PORT.search(parts.netloc)
    try:
        # More digits, even if they are zeros, are too many for urllib3.
        return parts.port != 0 and (digits is None or 0 < len(digits[1]) <= _MAX_PORT_DIGITS)
    except ValueError:
        return False


def _character_problem(url: str) -> str:
    authority = re.split("[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if any(letter.isalpha() for letter in authority.rpartition("@")[2] if not letter.isascii()):
        return "must have its host name in ASCII form (xn--...)"
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
    # Resolvers read these as addresses, whatever the number of parts: 127.1, 0x7f.1, 010.0.0.1.
    return _NUMBER.fullmatch(labels[-1]) is None or _is_address(text)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def why_unreachable(host: str) -> str | None:
    """Return why no connection to a valid host can succeed, or None."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified:
        return "is an address to listen on, not to connect to"
    if address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        return "is a multicast or broadcast address"
    if (
        isinstance(address, ipaddress.IPv6Address)
        and address.is_link_local
        and not address.scope_id
    ):
        return "is a link-local address, which needs its zone, such as [fe80::1%25eth0]"
    return None
