"""Text of a flag to its value; each reader raises ValueError with what the text must be."""

from __future__ import annotations

import ipaddress
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

__all__ = [
    "ListenAddress",
    "boolean",
    "choice",
    "file",
    "limit",
    "listen_address",
    "url_path",
    "whole_number",
]

_HOST = re.compile(r"[A-Za-z0-9_.-]*")
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+|/")
_TAKEN_PATHS = frozenset({"/config", "/-/healthy", "/-/ready", "/-/reload"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen. An empty host means every address of the machine; port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def boolean(text: str) -> bool:
    """A switch's value, as Kubernetes and Go write it."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be true, false, 1 or 0")
    return words[text.lower()]


def choice(words: object) -> Callable[[str], str]:
    """Makes the reader of the words of a Literal type, in any case."""
    options = get_args(words)

    def read(text: str) -> str:
        if text.lower() not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return text.lower()

    return read


def limit(text: str) -> int:
    """A limit, as node_exporter has it: 0 stands for none."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("must be a whole number, 0 for no limit")
    return int(text) or sys.maxsize


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Makes the reader of a whole number within these bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def file(text: str) -> Path:
    """The name of a file; whether it exists is not asked here."""
    if not text or not text.isprintable():
        raise ValueError("must be the name of a file")
    return Path(text)


def url_path(text: str) -> str:
    """A path that the exporter can serve metrics on."""
    if not _PATH.fullmatch(text):
        raise ValueError("must be a path such as /metrics")
    if text in _TAKEN_PATHS:
        raise ValueError("must not be a path that the exporter uses otherwise")
    return text


def listen_address(text: str) -> ListenAddress:
    """Host and port, IPv6 in brackets; the host may be left out."""
    host, colon, port = text.rpartition(":")
    if not (colon and _is_host(host) and re.fullmatch(r"[0-9]{1,5}", port)):
        raise ValueError("must be an address such as :10365, 127.0.0.1:10365 or [::1]:10365")
    if int(port) > 65535:
        raise ValueError("must have a port from 0 to 65535")
    return ListenAddress(host=host.strip("[]"), port=int(port))


def _is_host(text: str) -> bool:
    """Tell a name, an IPv4 address or nothing at all, or an IPv6 address in brackets."""
    if not (text.startswith("[") and text.endswith("]")):
        return _HOST.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text[1:-1])
    except ValueError:
        return False
    return True
