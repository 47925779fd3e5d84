"""Colours, value mappings, and the common options of stat panels and charts."""

from __future__ import annotations

from collections.abc import Mapping

from grafana_foundation_sdk.builders import common as parts
from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.builders import prometheus, stat, text, timeseries
from grafana_foundation_sdk.models import common, dashboard, units
from grafana_foundation_sdk.models import text as text_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

__all__ = [
    "BLUE",
    "DATASOURCE",
    "GRAY",
    "GREEN",
    "IDLE",
    "LEFT_OPEN",
    "ORANGE",
    "PALE_BLUE",
    "PALE_GREEN",
    "PROVEN_DAYS",
    "RED",
    "RESULTS",
    "SUCCESS_RATE",
    "TYPES",
    "chart",
    "coarse",
    "folded_text",
    "hourly_bars",
    "in_colors",
    "name_types",
    "stacked",
    "table_query",
    "thresholds_of",
    "tile",
    "value_mappings",
]

DATASOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, ORANGE, RED, BLUE, GRAY = "green", "orange", "red", "blue", "#808080"

# Background of values that need no attention.
PALE_GREEN, PALE_BLUE = "rgba(86, 166, 75, 0.25)", "rgba(50, 116, 217, 0.25)"

RESULTS = {"Success": GREEN, "Warning": ORANGE, "Failed": RED, "Unknown": GRAY}
"""The colour of each result."""

TYPES = {
    "Vex": ("Exchange", "#3274D9"),
    "Veod": ("OneDrive", "#A352CC"),
    "Vesp": ("SharePoint", "#00A3A3"),
    "Vet": ("Teams", "#B8860B"),
    "Unknown": ("Unknown", GRAY),
}
"""Name and colour of each type; the colours carry no judgement."""

LEFT_OPEN = ((86_400, ORANGE), (3 * 86_400, RED))
"""Thresholds for the seconds a session has been open: one day and three days."""

IDLE = ((43_200, ORANGE), (86_400, RED))
"""Thresholds for the seconds an open session has been idle: half a day, as in the alert, and one day."""

PROVEN_DAYS = ((90, ORANGE), (365, RED))
"""Thresholds for the days since the last proven restore: a quarter, as in the alert, and a year."""

SUCCESS_RATE = ((0.8, ORANGE), (0.95, GREEN))
"""Thresholds for a success rate; red below the first."""

# With one scrape a minute, $__rate_interval (4 steps) still covers two samples, whatever interval the data source is set to.
_MIN_STEP = "30s"


def value_mappings(words: Mapping[str, tuple[str, str]]) -> list[dashboard.ValueMapping]:
    """Return mappings that show values as coloured words."""
    return [
        dashboard.ValueMap(
            {
                value: dashboard.ValueMappingResult(text=word, color=color, index=index)
                for index, (value, (word, color)) in enumerate(words.items())
            }
        )
    ]


def thresholds_of(base: str, *steps: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Return thresholds: `base` below the first step, then each step's colour from its value on."""
    return dashboard.ThresholdsConfig(
        mode=dashboard.ThresholdsMode.ABSOLUTE,
        steps=[
            dashboard.Threshold(value=None, color=base),
            *(dashboard.Threshold(value=value, color=color) for value, color in steps),
        ],
    )


class _Thresholds(building.ThresholdsConfig):
    def __init__(self, thresholds: dashboard.ThresholdsConfig) -> None:
        super().__init__()
        self._internal = thresholds


def _query(expression: str, number: int, min_step: str = _MIN_STEP) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .expr(expression)
        .ref_id(chr(ord("A") + number))
        .editor_mode(QueryEditorMode.CODE)
        .interval(min_step)
    )


def table_query(expression: str, number: int) -> prometheus.Dataquery:
    """Return an instant query, evaluated at the end of the time range, in table format."""
    return _query(expression, number).instant().format(PromQueryFormat.TABLE)


def tile(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    thresholds: dashboard.ThresholdsConfig,
    by_name: bool = False,
) -> stat.Panel:
    """Return a stat panel of the current value, without falling back to older values.

    Args:
        title: the panel's title.
        description: meaning and source of the data.
        queries: expressions by legend.
        thresholds: colours by value.
        by_name: show the legends instead of the values.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(units.Short)
        .thresholds(_Thresholds(thresholds))
        .no_value("No data")
        .reduce_options(parts.ReduceDataOptions().calcs(["last"]).values(values=False).fields(""))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(common.BigValueTextMode.NAME if by_name else common.BigValueTextMode.VALUE)
    )
    for number, (legend, expression) in enumerate(queries.items()):
        panel.with_target(_query(expression, number).instant().legend_format(legend))
    return panel


def chart(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    unit: str = units.Short,
    shades: str = "",
    min_step: str = _MIN_STEP,
) -> timeseries.Panel:
    """Return a line chart that shows gaps where there is no data, and a scale from 0 to 1 where all counts are 0.

    Args:
        title: the panel's title.
        description: meaning and source of the data.
        queries: expressions by legend.
        unit: a Grafana unit.
        shades: draw every line in a shade of this colour.
        min_step: shortest interval between two points.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .no_value("No data")
        .line_width(2)
        .fill_opacity(0)
        .span_nulls(span_nulls=False)
        .show_points(common.VisibilityMode.AUTO)
        .legend(
            parts.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
            .calcs(["last"])
        )
        .tooltip(
            parts.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
    )
    if unit != units.Seconds:
        panel.axis_soft_max(1)
    if shades:
        panel.color_scheme(
            building.FieldColor().mode(dashboard.FieldColorModeId.SHADES).fixed_color(shades)
        )
    for number, (legend, expression) in enumerate(queries.items()):
        panel.with_target(_query(expression, number, min_step).range().legend_format(legend))
    return panel


def stacked(panel: timeseries.Panel, opacity: int = 60) -> timeseries.Panel:
    """Stack the chart's series as areas with steps."""
    return (
        panel.fill_opacity(opacity)
        .line_width(1)
        .line_interpolation(common.LineInterpolation.STEP_AFTER)
        .stacking(parts.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    )


def hourly_bars(panel: timeseries.Panel) -> timeseries.Panel:
    """Stack the chart's series as bars, each of which covers the hour before its timestamp."""
    return (
        panel.draw_style(common.GraphDrawStyle.BARS)
        .bar_alignment(common.BarAlignment.BEFORE)
        .fill_opacity(80)
        .line_width(0)
        .stacking(parts.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
        .interval("1h")
        .max_data_points(31 * 24)
    )


def folded_text(content: str) -> text.Panel:
    """Return a text panel for the top of a folded row."""
    return (
        text.Panel()
        .mode(text_models.TextMode.MARKDOWN)
        .content(content)
        .transparent(transparent=True)
    )


def coarse(panel: timeseries.Panel) -> timeseries.Panel:
    """Limit the chart's points: counting single sessions is expensive, and a window of a day moves slowly."""
    return panel.max_data_points(150)


def in_colors(panel: timeseries.Panel, colors: Mapping[str, str]) -> timeseries.Panel:
    """Give series whose names match these regular expressions fixed colours."""
    for pattern, color in colors.items():
        panel.override_by_regexp(f"/{pattern}/", [_fixed(color)])
    return panel


def name_types(panel: timeseries.Panel) -> timeseries.Panel:
    """Give types their names and colours."""
    for value, (word, color) in TYPES.items():
        panel.override_by_name(
            value, [dashboard.DynamicConfigValue("displayName", word), _fixed(color)]
        )
    return panel


def _fixed(color: str) -> dashboard.DynamicConfigValue:
    return dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})
