"""What the web pages show of a service."""

from __future__ import annotations

from exporter.config import masked_yaml
from exporter.metrics.exposition import Exposition
from exporter.metrics.formats import Format
from exporter.service.overview import Overview
from exporter.service.service import Service
from exporter.web.app import Health
from exporter.web.status import StatusPage

__all__ = ["ServiceBackend"]


class ServiceBackend:
    """The pages' view of a service; every call returns at once."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._overview = Overview()

    def exposition(self, wanted: Format) -> Exposition:
        """The newest body of `/metrics`."""
        return self._service.publisher.exposition(wanted)

    def healthy(self) -> Health:
        """Whether every poller is alive."""
        stuck = self._service.stuck_servers()
        return Health(
            ok=not stuck, reasons=tuple(f"{name}: its poller does not move" for name in stuck)
        )

    def ready(self) -> Health:
        """Whether every server has been polled once."""
        waiting = self._service.unpolled_servers()
        return Health(ok=not waiting, reasons=tuple(f"{name}: not polled yet" for name in waiting))

    def config_text(self) -> str:
        """The configuration in force as YAML, secrets masked."""
        return masked_yaml(self._service.config)

    def status(self) -> StatusPage:
        """The status page's data; only what may still be said."""
        return self._overview.page(
            self._service.config,
            self._service.publisher.snapshots(),
            monotonic=self._service.clock.monotonic(),
            timestamp=self._service.clock.timestamp(),
        )
