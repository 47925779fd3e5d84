"""`--web.config.file`: TLS, client certificates, basic authentication and headers as in exporter-toolkit.

grammar (what may be written) -> loader, context (`WebConfig`) -> live (follows the files) -> protection
(what `WebServer` and `WebApp` are given).
"""

from __future__ import annotations

from exporter.web.webconfig.loader import check_lines
from exporter.web.webconfig.protection import Protection

__all__ = ["Protection", "check_lines"]
