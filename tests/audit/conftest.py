"""The log's file, and what the operator reads meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.log_capture import CapturedLog, capture_log


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where an audit log can be."""
    return tmp_path / "audit.log"


@pytest.fixture
def log() -> Iterator[CapturedLog]:
    """The exporter's own log."""
    with capture_log() as log:
        yield log
