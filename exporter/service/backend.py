"""The backend of the web server: a service's metrics, health, readiness, configuration and status page."""

from __future__ import annotations

from datetime import UTC, datetime

from exporter.config import Config, masked_yaml
from exporter.metrics.gzip_parts import Segment
from exporter.metrics.text_format import Format
from exporter.polling.clock import Moment
from exporter.service.overview import Overview
from exporter.service.service import Service
from exporter.web.status.page import StatusPage


class ServiceBackend:
    """The web server's backend; never waits for VB365."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._overview = Overview()
        self._config_text: tuple[Config | None, str] = (None, "")

    def exposition(self, wanted: Format) -> Segment:
        """Return the current body of `/metrics`."""
        return self._service.publisher.exposition(wanted)

    def health_problems(self) -> list[str]:
        """Return a line for each poll loop that is stuck or has ended, and for an audit log whose thread has ended."""
        return list(self._service.problems())

    def readiness_problems(self) -> list[str]:
        """Return a line for each server that has not been polled yet."""
        return [f"{name}: not polled yet" for name in self._service.unpolled_servers()]

    def config_text(self) -> str:
        """Return the active configuration as YAML, secrets masked.

        Rendering a thousand servers takes most of a second, so the text is kept as long as the configuration.
        """
        config = self._service.config
        rendered, text = self._config_text
        if rendered is not config:
            text = masked_yaml(config)
            self._config_text = (config, text)
        return text

    def status(self) -> StatusPage:
        """Return the status page's data, without stale sessions."""
        return self._overview.page(
            self._service.config,
            self._service.publisher.snapshots(),
            Moment(
                monotonic=self._service.clock.monotonic(),
                # The system's clock, like the times of the polls.
                wall=datetime.fromtimestamp(self._service.clock.timestamp(), UTC),
            ),
        )
