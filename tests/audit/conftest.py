"""Fixtures: the audit log's file and the exporter's own log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.log_capture import CapturedLog, capture_log


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of an audit log that does not exist yet."""
    return tmp_path / "audit.log"


@pytest.fixture
def log() -> Iterator[CapturedLog]:
    """Capture the exporter's own log."""
    with capture_log() as log:
        yield log
