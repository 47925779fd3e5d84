"""Everything that is known of one server and outlives the worker that polls it."""

from __future__ import annotations

from datetime import timedelta

from exporter.config import ServerConfig
from exporter.polling.health import StatusTracker
from exporter.polling.ledger import Ledger
from exporter.vb365.records.restore_session import RestoreSession


class ServerState:
    """What is known of a server. A reload that keeps the server's data hands it over to the next worker as a whole.

    Only the poll thread uses it, except as `Ledger` describes.

    Args:
        server: the server's configuration.

    Attributes:
        ledger: its sessions and organizations.
        status_tracker: its status.
        clock_ahead: by how much its clock was ahead of this machine's when it last sent its time.
        unreported: the sessions found, started or finished that were not passed on yet.
    """

    def __init__(self, server: ServerConfig) -> None:
        self.ledger = Ledger(server.name, server.sessions, server.stale_after)
        self.status_tracker = StatusTracker(server)
        self.clock_ahead = timedelta(0)
        self.unreported: tuple[RestoreSession, ...] = ()

    def continue_with(self, server: ServerConfig) -> None:
        """Apply a changed configuration that shows the same sessions, after the last poll with the previous one."""
        self.ledger.stale_after_seconds = server.stale_after
        self.ledger.resync.make_due()  # what the change feed reported last may be lost
        self.status_tracker.configure(server)
