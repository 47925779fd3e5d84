"""`--web.config.file`: TLS, client certificates, basic authentication and headers as in exporter-toolkit.

`model` has the keys, `loader` and `context` make a `WebConfig` of a file, `reloader` follows the files, and
`AccessControl` applies the configuration in `WebServer` and `WebApp`.
"""

from __future__ import annotations

from exporter.web.webconfig.access import AccessControl
from exporter.web.webconfig.loader import check_lines

__all__ = ["AccessControl", "check_lines"]
