"""`--web.config.file`: TLS, client certificates, basic authentication and headers as in exporter-toolkit.

model (what may be written) -> loader, context (`WebConfig`) -> reloader (follows the files) -> access
(what `WebServer` and `WebApp` are given).
"""

from __future__ import annotations

from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.loader import check_lines

__all__ = ["AccessControl", "check_lines"]
