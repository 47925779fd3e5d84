"""Texts of configuration files."""

from __future__ import annotations

MINIMAL = """
servers:
  - url: https://vb365.example.com:4443
    auth: {username: u, password: p}
"""


def server_with(lines: str, top: str = "") -> str:
    """A configuration with these lines in its one server, and those at its top."""
    indented = "".join(f"    {line}\n" for line in lines.splitlines())
    return f"{top}\n{MINIMAL}{indented}"
