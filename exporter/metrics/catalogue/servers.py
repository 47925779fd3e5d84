"""The families of a server, and of the polling of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.metrics.catalogue.family import NO_SAMPLES, Kind, Sample, SnapshotFamily
from exporter.polling.snapshot import Snapshot

__all__ = ["SERVER_FAMILIES"]


def _optional(value: float | None) -> Sequence[Sample]:
    return NO_SAMPLES if value is None else (((), float(value)),)


def _found(snapshot: Snapshot) -> Iterable[Sample]:
    return [((found.session_id,), float(found.found)) for found in snapshot.configured_ids]


def _server_info(snapshot: Snapshot) -> Sequence[Sample]:
    status = snapshot.status
    if status.api_version is None:
        return NO_SAMPLES
    return (((status.version or "", status.api_version), 1.0),)


def _certificate(snapshot: Snapshot) -> Sequence[Sample]:
    expires = snapshot.status.certificate_not_after
    return _optional(expires.timestamp() if expires else None)


SERVER_FAMILIES: tuple[SnapshotFamily, ...] = (
    SnapshotFamily(
        name="vb365_restore_session_found",
        kind=Kind.GAUGE,
        help="Whether a configured restore session exists on the server: 0 when the API answers 404.",
        labels=("session_id",),
        samples=_found,
    ),
    SnapshotFamily(
        name="vb365_up",
        kind=Kind.GAUGE,
        help="Whether the last poll of the server got everything it asked for.",
        samples=lambda snapshot: _optional(snapshot.status.up),
    ),
    SnapshotFamily(
        name="vb365_server_info",
        kind=Kind.GAUGE,
        help="Always 1; version is API field version of ServiceInstance, api_version the prefix that is used.",
        labels=("version", "api_version"),
        samples=_server_info,
    ),
    SnapshotFamily(
        name="vb365_server_tls_verified",
        kind=Kind.GAUGE,
        help="Whether the server's certificate is verified: 0 when insecure_skip_verify is set.",
        samples=lambda snapshot: _optional(snapshot.status.tls_verified),
    ),
    SnapshotFamily(
        name="vb365_server_certificate_not_after_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the server's certificate expires, in Unix time.",
        samples=_certificate,
    ),
    SnapshotFamily(
        name="vb365_last_poll_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the last poll ended, in Unix time; polls follow the exporter's own timer, not the scrapes.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_successful_poll_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the last poll that got everything it asked for ended, in Unix time.",
        samples=lambda snapshot: _optional(snapshot.status.last_success_timestamp),
    ),
    SnapshotFamily(
        name="vb365_last_poll_duration_seconds",
        kind=Kind.GAUGE,
        help="How long the last poll took.",
        samples=lambda snapshot: _optional(snapshot.status.last_poll_duration_seconds),
    ),
    SnapshotFamily(
        name="vb365_sessions_known",
        kind=Kind.GAUGE,
        help="Restore sessions the exporter keeps of the server; what it can see depends on the account.",
        samples=lambda snapshot: _optional(snapshot.sessions_known),
    ),
    SnapshotFamily(
        name="vb365_sessions_without_series",
        kind=Kind.GAUGE,
        help="Restore sessions that are counted but have no series of their own, because of max_series.",
        samples=lambda snapshot: _optional(snapshot.sessions_without_series),
    ),
    SnapshotFamily(
        name="vb365_sessions_not_kept",
        kind=Kind.GAUGE,
        help="Restore sessions that are left out altogether, because of max_sessions.",
        samples=lambda snapshot: _optional(snapshot.sessions_not_kept),
    ),
)
