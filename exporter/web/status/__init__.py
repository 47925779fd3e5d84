"""The status page: its data, the verdict on the data, and the HTML."""

from exporter.web.status.page import FailedRestore, ServerCard, SessionRow, StatusPage
from exporter.web.status.rendering import STYLE_SOURCE, StatusPageCache
from exporter.web.status.verdict import LONG_RUNNING_SECONDS, RECENT_SECONDS

__all__ = [
    "LONG_RUNNING_SECONDS",
    "RECENT_SECONDS",
    "STYLE_SOURCE",
    "FailedRestore",
    "ServerCard",
    "SessionRow",
    "StatusPage",
    "StatusPageCache",
]
