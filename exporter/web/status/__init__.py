"""The status page: the values it shows, what it makes of them, and how it draws that."""

from exporter.web.status.page import FailedRestore, ServerCard, SessionRow, StatusPage
from exporter.web.status.style import STYLE_SOURCE
from exporter.web.status.verdict import LONG_RUNNING_SECONDS, RECENT_SECONDS
from exporter.web.status.view import StatusPageCache

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
