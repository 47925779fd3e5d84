"""Tables: a row for each set of labels, a column for each label and each expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from grafana_foundation_sdk.builders import common as parts
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import common, dashboard

from vb365_dashboard.look import DATASOURCE, in_words, table_query

__all__ = ["Column", "data_table", "link"]

_NARROWEST_COLUMN = 60


def link(title: str, url: str, *, elsewhere: bool = False) -> dict[str, object]:
    """A link of a cell; `elsewhere` opens it in a new window."""
    return {"title": title, "url": url, "targetBlank": elsewhere}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with the values of an expression, or with those of a label that all expressions have."""

    header: str
    label: str = ""
    expression: str = ""
    unit: str = ""
    decimals: int | None = None
    words: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Shown instead of values, with a colour: as a filled cell where it is a value, as text where it is a label."""
    colors: dashboard.ThresholdsConfig | None = None
    absent: str = ""
    """Shown where a row has no value."""
    width: int = 0
    least_width: int = 0
    links: Sequence[dict[str, object]] = ()

    def properties(self) -> list[dashboard.DynamicConfigValue]:
        """What Grafana has to know of the column."""
        found: dict[str, object] = {"displayName": self.header}
        if self.unit:
            found["unit"] = self.unit
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.words or self.absent:
            found["mappings"] = [*in_words(self.words), *_instead_of_nothing(self.absent)]
        if self.words and self.expression:
            found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        if self.colors is not None:
            found["thresholds"] = self.colors
            found["custom.cellOptions"] = {"type": "color-text"}
        if self.width:
            found["custom.width"] = self.width
        if self.least_width:
            found["custom.minWidth"] = self.least_width
        if self.links:
            found["links"] = list(self.links)
        return [dashboard.DynamicConfigValue(name, value) for name, value in found.items()]


def _instead_of_nothing(text: str) -> list[dashboard.ValueMapping]:
    shown = dashboard.ValueMappingResult(text=text, color="text")
    return [
        dashboard.SpecialValueMap(dashboard.DashboardSpecialValueMapOptions(match, shown))
        for match in (dashboard.SpecialValueMatch.NULL, dashboard.SpecialValueMatch.EMPTY)
        if text
    ]


def data_table(
    title: str, description: str, columns: Sequence[Column], *, sort_by: str, descending: bool
) -> table.Panel:
    """A table of what is true now, or at the end of the time range.

    Args:
        title: over it.
        description: what it means and where it comes from.
        columns: from left to right; at least two have expressions, because a single one would have another name in Grafana.
        sort_by: header of the column that orders the rows.
        descending: whether the largest come first.
    """
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .show_header(show_header=True)
        .align(common.FieldTextAlignment.LEFT)
        .min_width(_NARROWEST_COLUMN)
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
