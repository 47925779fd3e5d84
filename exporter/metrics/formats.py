"""The exposition formats that `/metrics` offers."""

from __future__ import annotations

import enum


class Format(enum.Enum):
    """An exposition format; the value is its exact `Content-Type`."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

    @property
    def content_type(self) -> str:
        """The `Content-Type` header of a body in this format."""
        return self.value
