"""Label columns shared by several tables, with their links."""

from __future__ import annotations

from vb365_dashboard import UID
from vb365_dashboard.look import TYPES
from vb365_dashboard.tables import Column, link

__all__ = ["ORGANIZATION", "SERVER", "SESSION", "TYPE", "month"]

_SELECTED = "&".join(
    f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance", "type", "result")
)
_HERE = f"/d/{UID}?${{__url_time_range}}&{_SELECTED}"

ORGANIZATION = Column(
    label="organization",
    header="Organization",
    absent="(none)",
    min_width=210,
    links=[
        link(
            "Show only this organization",
            f"{_HERE}&var-organization=${{__value.raw:percentencode}}&${{server:queryparam}}",
        )
    ],
)
SERVER = Column(
    label="server",
    header="Server",
    links=[
        link(
            "Open VB365 on this server",
            "https://${__value.raw}${vb365_address_suffix}",
            new_window=True,
        ),
        link(
            "Show only this server",
            f"{_HERE}&var-server=${{__value.raw:percentencode}}&${{organization:queryparam}}",
        ),
    ],
)
SESSION = Column(label="session_id", header="Session", width=320)
TYPE = Column(
    label="type",
    header="Type",
    words={value: (text, "text") for value, (text, _) in TYPES.items()},
    width=100,
)


def month(before: int) -> str:
    """Return a link to the dashboard for the month that is so many months before the current one."""
    name = f"now-{before}M/M" if before else "now/M"
    return f"/d/{UID}?from={name}&to={name}&{_SELECTED}&${{server:queryparam}}&${{organization:queryparam}}"
