"""The report as CSV (RFC 4180, UTF-8): one row per session."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from exporter.report.session_fields import FIELDS, session_fields
from exporter.report.summarize import Report

__all__ = ["render_csv"]

# Spreadsheets take these for the start of a formula, in full width too, and skip white space before them.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", " ", "＝", "＋", "－", "＠")  # noqa: RUF001


def render_csv(report: Report) -> Iterator[bytes]:
    """Yield the header, then one row per session, newest first."""
    labels = report.scope.info_labels
    yield _line([*FIELDS, *labels])
    for server, session in report.sessions():
        yield _line(list(map(_cell, session_fields(server, session, labels).values())))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _line(cells: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue().encode()
