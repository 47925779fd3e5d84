"""The families of a server and its polls."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.metrics.catalogue.family import Sample, SnapshotFamily
from exporter.polling.snapshot import Snapshot


def _optional(value: float | None) -> Sequence[Sample]:
    return () if value is None else (((), value),)


def _found(snapshot: Snapshot) -> Iterable[Sample]:
    return [((found.session_id,), found.found) for found in snapshot.configured_ids]


def _server_info(snapshot: Snapshot) -> Sequence[Sample]:
    status = snapshot.status
    if status.api_version is None:
        return ()
    return (((status.version or "", status.api_version), 1.0),)


def _certificate(snapshot: Snapshot) -> Sequence[Sample]:
    expires = snapshot.status.certificate_not_after
    return _optional(expires.timestamp() if expires else None)


SERVER_FAMILIES: tuple[SnapshotFamily, ...] = (
    SnapshotFamily(
        name="vb365_restore_session_found",
        help="Whether the configured restore session exists on the server; 0 if the API returns 404.",
        labels=("session_id",),
        samples=_found,
    ),
    SnapshotFamily(
        name="vb365_up",
        help="Whether the last poll of the server succeeded completely and none of its data is stale.",
        samples=lambda snapshot: _optional(snapshot.status.up),
    ),
    SnapshotFamily(
        name="vb365_server_info",
        help="Always 1; version is the server's version (API field version of ServiceInstance), api_version the API version in use.",
        labels=("version", "api_version"),
        samples=_server_info,
    ),
    SnapshotFamily(
        name="vb365_server_tls_verified",
        help="Whether the server's TLS certificate is verified; 0 if insecure_skip_verify is set.",
        samples=lambda snapshot: _optional(snapshot.status.tls_verified),
    ),
    SnapshotFamily(
        name="vb365_server_certificate_not_after_timestamp_seconds",
        help="Unix time at which the server's TLS certificate expires.",
        samples=_certificate,
    ),
    SnapshotFamily(
        name="vb365_last_poll_timestamp_seconds",
        help="Unix time at which the last poll ended; polls run on the exporter's own timer, independent of scrapes.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_successful_poll_timestamp_seconds",
        help="Unix time at which the last completely successful poll ended.",
        samples=lambda snapshot: _optional(snapshot.status.last_success_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_poll_duration_seconds",
        help="Duration of the last poll.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_duration_seconds),
    ),
    SnapshotFamily(
        name="vb365_sessions_listed",
        help="Restore sessions in the last full list, which is read hourly: what the account can see, however old.",
        samples=lambda snapshot: _optional(snapshot.sessions_listed),
    ),
    SnapshotFamily(
        name="vb365_sessions_known",
        help="Restore sessions that the exporter tracks on the server; the account's permissions limit what it can see.",
        samples=lambda snapshot: _optional(snapshot.sessions_known),
    ),
    SnapshotFamily(
        name="vb365_sessions_without_series",
        help="Restore sessions that are counted but have no series of their own because of max_series.",
        samples=lambda snapshot: _optional(snapshot.sessions_without_series),
    ),
    SnapshotFamily(
        name="vb365_sessions_not_kept",
        help="Restore sessions that are not tracked at all because of max_sessions, which also limits the number of organizations.",
        samples=lambda snapshot: _optional(snapshot.sessions_not_kept),
    ),
)
