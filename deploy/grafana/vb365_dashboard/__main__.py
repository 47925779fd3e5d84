"""Write the dashboard's JSON to where Grafana's provisioning looks for it."""

from __future__ import annotations

from vb365_dashboard.board import JSON_FILE, rendered

if __name__ == "__main__":
    JSON_FILE.write_text(rendered(), encoding="utf-8")
