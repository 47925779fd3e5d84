"""All metric families of the exporter: the name, type, help, labels and source of the samples of each.

Families of restore sessions take their samples from a `RestoreSession`, families of organizations and servers from a
`Snapshot`. The exporter's own families are only declared here; `telemetry` sets their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from exporter.config import Extra
from exporter.metrics.catalogue.exporter import EXPORTER_FAMILIES
from exporter.metrics.catalogue.family import Family
from exporter.metrics.catalogue.organizations import FINISHED_DURATION, ORGANIZATION_FAMILIES
from exporter.metrics.catalogue.servers import SERVER_FAMILIES
from exporter.metrics.catalogue.sessions import session_families

SNAPSHOT_FAMILIES: tuple[Family, ...] = (
    *ORGANIZATION_FAMILIES,
    FINISHED_DURATION,
    *SERVER_FAMILIES,
)
"""The families of a server and its organizations."""


def all_families(info_labels: Sequence[str] = ()) -> tuple[Family, ...]:
    """Return every family except `process_*` and `python_*`, which the client library defines."""
    sessions = session_families(info_labels, get_args(Extra))
    return (*sessions, *SNAPSHOT_FAMILIES, *EXPORTER_FAMILIES)
