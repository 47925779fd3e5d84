"""Annotations: failed restores, and periods in which polls fail."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard

from vb365_dashboard.look import DATASOURCE, ORANGE, RED
from vb365_dashboard.promql import selector, series

__all__ = ["chart_annotations"]

# The same as the minimum step of the charts.
_STEP = "30s"


class _PrometheusAnnotation(dashboard.AnnotationQuery):
    """An annotation with the keys of Grafana's Prometheus data source, which the library lacks."""

    more: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self.more}


class _Annotation(building.AnnotationQuery):
    def __init__(self, **more: object) -> None:
        super().__init__()
        self._internal = _PrometheusAnnotation()
        self._internal.more = more


def chart_annotations(panels: Sequence[int]) -> list[Builder[dashboard.AnnotationQuery]]:
    """Return the annotations, shown on these panels."""
    shown = building.AnnotationPanelFilter().exclude(exclude=False).ids(list(panels))
    return [
        annotation.datasource(DATASOURCE).enable(enable=True).filter(shown)
        for annotation in (_failed_restores(), _failing_servers())
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


def _failing_servers() -> _Annotation:
    return (
        _Annotation(
            useValueForTime=False,
            step=_STEP,
            titleFormat="Polls fail",
            textFormat="{{server}}: polls fail; its data is kept until stale_after, then disappears",
            tagKeys="server",
        )
        .name("Failing polls")
        .icon_color(ORANGE)
        .expr(f"{series('vb365_up')} == bool 0 > 0")
    )
