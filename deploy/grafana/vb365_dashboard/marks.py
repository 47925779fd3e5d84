"""Marks on the charts: restores that failed, and times without answers."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard.look import DATASOURCE, ORANGE, RED
from vb365_dashboard.promql import selector, series

__all__ = ["marks"]

# For every query; the same as the shortest step of the charts.
_STEP = "30s"


class _PrometheusAnnotation(dashboard.AnnotationQuery):
    """An annotation with the keys that Grafana's Prometheus data source adds, which the library does not have."""

    more: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self.more}


class _Annotation(building.AnnotationQuery):
    def __init__(self, **more: object) -> None:
        super().__init__()
        self._internal = _PrometheusAnnotation()
        self._internal.more = more


def marks(panels: Sequence[int]) -> list[Builder[dashboard.AnnotationQuery]]:
    """The marks on these panels."""
    shown = building.AnnotationPanelFilter().exclude(exclude=False).ids(list(panels))
    return [
        mark.datasource(DATASOURCE).enable(enable=True).filter(shown)
        for mark in (_failed_restores(), _silent_servers())
    ]


def _failed_restores() -> _Annotation:
    ended = series("vb365_restore_session_end_timestamp_seconds")
    failed = selector("vb365_restore_session_result", result="Failed")
    return (
        _Annotation(
            useValueForTime=True,
            step=_STEP,
            titleFormat="Restore failed",
            textFormat="{{type}} of {{organization}} on {{server}}, session {{session_id}}",
            tagKeys="organization,type,server",
        )
        .name("Failed restores")
        .icon_color(RED)
        .expr(f"1000 * {ended} >= ${{__from}} and on (server, session_id) ({failed} == 1)")
    )


def _silent_servers() -> _Annotation:
    return (
        _Annotation(
            useValueForTime=False,
            step=_STEP,
            titleFormat="Server does not answer",
            textFormat="{{server}}: polls fail, what is shown of it gets old and then ends",
            tagKeys="server",
        )
        .name("Servers that do not answer")
        .icon_color(ORANGE)
        .expr(f"{series('vb365_up')} == bool 0 > 0")
    )
