"""`--web.config.file`: TLS, client certificates, basic authentication and headers as in exporter-toolkit.

`model` has the keys, `loader` and `context` turn a file into a `WebConfig`, `reloader` rereads changed files, and
`AccessControl` applies the configuration in `WebServer` and `WebApp`.
"""

from __future__ import annotations

from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.loader import check_lines

__all__ = ["AccessControl", "check_lines"]
