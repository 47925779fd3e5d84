"""Tables: a row for each set of labels, a column for each label and each expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as parts
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common, dashboard

from vb365_dashboard.look import DATASOURCE, table_query, value_mappings

__all__ = ["Column", "data_table", "link"]

_MIN_COLUMN_WIDTH = 60


def link(title: str, url: str, *, new_window: bool = False) -> dict[str, object]:
    """Return a link for a cell."""
    return {"title": title, "url": url, "targetBlank": new_window}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with the values of an expression, or of a label that all expressions have."""

    header: str
    label: str = ""
    expression: str = ""
    unit: str = ""
    decimals: int | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Text and colour for each value: a filled cell for values of expressions, coloured text for labels."""
    colors: dashboard.ThresholdsConfig | None = None
    absent: str = ""
    """Text for rows without a value."""
    width: int = 0
    min_width: int = 0
    links: Sequence[dict[str, object]] = ()

    def properties(self) -> list[dashboard.DynamicConfigValue]:
        """Return the column's field options in Grafana."""
        found: dict[str, object] = {"displayName": self.header}
        if self.unit:
            found["unit"] = self.unit
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.words or self.absent:
            found["mappings"] = [*value_mappings(self.words), *_absent_mappings(self.absent)]
        if self.words and self.expression:
            found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        if self.colors is not None:
            found["thresholds"] = self.colors
            found["custom.cellOptions"] = {"type": "color-text"}
        if self.expression and (self.colors or not self.words):
            # Filtering numbers by value is of little use, and the icon takes space from the header.
            found["custom.filterable"] = False
        if self.width:
            found["custom.width"] = self.width
        if self.min_width:
            found["custom.minWidth"] = self.min_width
        if self.links:
            found["links"] = list(self.links)
        return [dashboard.DynamicConfigValue(name, value) for name, value in found.items()]


def _absent_mappings(text: str) -> list[dashboard.ValueMapping]:
    shown = dashboard.ValueMappingResult(text=text, color="text")
    return [
        dashboard.SpecialValueMap(dashboard.DashboardSpecialValueMapOptions(match, shown))
        for match in (dashboard.SpecialValueMatch.NULL, dashboard.SpecialValueMatch.EMPTY)
        if text
    ]


def data_table(
    title: str, description: str, columns: Sequence[Column], *, sort_by: str, descending: bool
) -> table.Panel:
    """Return a table of current values, or of those at the end of the time range.

    Args:
        title: the panel's title.
        description: meaning and source of the data.
        columns: from left to right; at least two with expressions, because Grafana names a single one differently.
        sort_by: header of the column to sort by.
        descending: whether the largest values come first.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .show_header(show_header=True)
        .align(common.FieldTextAlignment.LEFT)
        .min_width(_MIN_COLUMN_WIDTH)
        .filterable(filterable=True)
        .sort_by([parts.TableSortByFieldState().display_name(sort_by).desc(descending)])
    )
    order: dict[str, int] = {}
    queries = 0
    for position, column in enumerate(columns):
        name = column.label
        if column.expression:
            query = table_query(column.expression, queries)
            name = f"Value #{query.build().ref_id}"
            panel.with_target(query)
            queries += 1
        order[name] = position
        panel.override_by_name(name, column.properties())
    return panel.with_transformation(
        dashboard.DataTransformerConfig(id_val="merge", options={})
    ).with_transformation(
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": {}},
        )
    )
