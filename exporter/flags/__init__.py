"""The command line, whose flags can also be given as environment variables."""

from __future__ import annotations

from exporter.flags.options import ALL_SERVERS, FLAGS, Flag, ListFormat, Options, ReportFormat
from exporter.flags.parser import PROGRAM, parse, version_line

__all__ = [
    "ALL_SERVERS",
    "FLAGS",
    "PROGRAM",
    "Flag",
    "ListFormat",
    "Options",
    "ReportFormat",
    "parse",
    "version_line",
]
