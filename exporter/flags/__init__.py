"""The command line: every flag is one row, also read from the environment."""

from __future__ import annotations

from exporter.flags.parser import PROGRAM, parse, version_line
from exporter.flags.readers import ListenAddress
from exporter.flags.rows import FLAGS, Flag, ListFormat, Options

__all__ = [
    "FLAGS",
    "PROGRAM",
    "Flag",
    "ListFormat",
    "ListenAddress",
    "Options",
    "parse",
    "version_line",
]
