"""The status page: its data, the verdict on the data, and the HTML and JSON forms."""

from exporter.web.status.page import (
    MissingSession,
    Organization,
    ServerCard,
    SessionRow,
    StatusPage,
    UnlistedFailure,
)
from exporter.web.status.rendering import STYLE_SOURCE, StatusPageCache
from exporter.web.status.thresholds import (
    LEFT_IDLE_SECONDS,
    MANY_FAILED_SECONDS,
    RECENT_SECONDS,
    is_left_open,
)

__all__ = [
    "LEFT_IDLE_SECONDS",
    "MANY_FAILED_SECONDS",
    "RECENT_SECONDS",
    "STYLE_SOURCE",
    "MissingSession",
    "Organization",
    "ServerCard",
    "SessionRow",
    "StatusPage",
    "StatusPageCache",
    "UnlistedFailure",
    "is_left_open",
]
