"""Label columns shared by several tables, with their links."""

from __future__ import annotations

from vb365_dashboard import UID
from vb365_dashboard.look import TYPES
from vb365_dashboard.tables import Column, link

__all__ = ["ORGANIZATION", "SERVER", "SESSION", "TYPE"]

_HERE = f"/d/{UID}?${{__url_time_range}}&${{datasource:queryparam}}"

ORGANIZATION = Column(
    label="organization",
    header="Organization",
    absent="(none)",
    min_width=210,
    links=[
        link(
            "Show only this organization",
            f"{_HERE}&var-organization=${{__value.raw:percentencode}}&${{server:queryparam}}&${{type:queryparam}}",
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
            f"{_HERE}&var-server=${{__value.raw:percentencode}}&${{organization:queryparam}}&${{type:queryparam}}",
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
