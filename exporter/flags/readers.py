"""Readers of flag values: each turns text into a value, or raises ValueError with a message that starts with "must"."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from exporter.text import parse_duration

_MIN_PERIOD_SECONDS, _MAX_PERIOD_SECONDS = 3_600.0, 36_500 * 86_400.0
_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)+|/")
_TAKEN_PATHS = frozenset({"/config", "/-/healthy", "/-/ready", "/-/reload"})


def boolean(text: str) -> bool:
    """Read true, false, 1 or 0, in upper or lower case."""
    words = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in words:
        raise ValueError("must be true, false, 1 or 0")
    return words[text.lower()]


def choice(words: object) -> Callable[[str], str]:
    """Return a reader of the words of a Literal type, in upper or lower case."""
    options = get_args(words)

    def read(text: str) -> str:
        if text.lower() not in options:
            raise ValueError(f"must be one of {', '.join(options)}")
        return text.lower()

    return read


def limit(text: str) -> int:
    """Read a limit; 0 means none, as in node_exporter."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise ValueError("must be a whole number, 0 for no limit")
    return int(text) or sys.maxsize


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of a whole number within bounds."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return read


def file(text: str) -> Path:
    """Read a file name; the file does not have to exist."""
    if not text or not text.isprintable():
        raise ValueError("must be the name of a file")
    return Path(text)


def server_name(text: str) -> str:
    """Read the name of a server; whether the configuration has it is checked later."""
    if not text:
        raise ValueError("must be the name of a server")
    return text


def organization(text: str) -> str:
    """Read the name of an organization."""
    if not text.strip():
        raise ValueError("must be the name of an organization")
    return text.strip()


def period(text: str) -> float:
    """Read a duration from an hour to 36,500 days; return it in seconds."""
    seconds = parse_duration(text)
    if not _MIN_PERIOD_SECONDS <= seconds <= _MAX_PERIOD_SECONDS:
        raise ValueError("must be from 1h to 36500d")
    return seconds


def url_path(text: str) -> str:
    """Read a path at which the exporter can serve metrics."""
    if not _PATH.fullmatch(text):
        raise ValueError("must be a path such as /metrics")
    if text in _TAKEN_PATHS:
        raise ValueError("must be a path that serves nothing else")
    return text
