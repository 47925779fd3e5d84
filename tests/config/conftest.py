"""Fixtures of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from exporter.config import Config, parse_config

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration from text; the files it names are in tmp_path."""

    def load(text: str, environ: Mapping[str, str] | None = None) -> Config:
        return parse_config(text, directory=tmp_path, environ=environ or {})

    return load
