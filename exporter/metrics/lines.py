"""Sample lines as the client library's `generate_latest` writes them: labels sorted by name, values as Go writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter

from exporter.metrics.labels import escaped
from exporter.metrics.numbers import go_float

__all__ = ["label_pair", "sample_lines"]


def label_pair(name: str, value: str) -> str:
    """A label as it stands between the braces."""
    return f'{name}="{escaped(value)}"'


def sample_lines(
    name: str,
    labels: Sequence[str],
    samples: Iterable[tuple[tuple[str, ...], float]],
    *,
    paired: Sequence[str] = (),
) -> str:
    """The lines of samples that share their name and the names of their labels.

    Args:
        name: of the samples.
        labels: their names, in any order.
        samples: the values of the labels in that order, `escaped`, and the value.
        paired: names of further labels: each sample begins with their whole pairs.
    """
    names = (*paired, *labels)
    order = sorted(range(len(names)), key=names.__getitem__)
    places = ",".join("%s" if one < len(paired) else f'{names[one]}="%s"' for one in order)
    line = f"{name}{{{places}}} %s\n"
    sort: Callable[[tuple[str, ...]], tuple[str, ...]] = (
        itemgetter(*order) if len(order) > 1 else tuple
    )
    return "".join([line % (*sort(values), go_float(value)) for values, value in samples])
