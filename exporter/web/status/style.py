"""The status page's style sheet, and how every answer allows it: read without what renders the page."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Final

from markupsafe import Markup

__all__ = ["STYLE", "STYLE_SOURCE", "template"]


def template(name: str) -> str:
    """Return one of the page's files."""
    return resources.files("exporter.web").joinpath("templates", name).read_text(encoding="utf-8")


STYLE: Final = Markup(template("status.css"))  # noqa: S704 - our own file, no value goes into it

STYLE_SOURCE: Final = (
    f"'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode('ascii')}'"
)
"""The style sheet as a source for the Content-Security-Policy: only this one applies."""
