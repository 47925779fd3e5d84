"""Sample lines as the client library's `generate_latest` writes them: labels sorted by name, values as Go writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.metrics.labels import escaped
from exporter.metrics.numbers import go_float

__all__ = ["label_pair", "sample_lines"]


def label_pair(name: str, value: str) -> str:
    """A label as it stands between the braces."""
    return f'{name}="{escaped(value)}"'


def sample_lines(
    name: str, labels: Sequence[str], samples: Iterable[tuple[Iterable[str], float]]
) -> str:
    """The lines of samples that share their name and the names of their labels.

    Args:
        name: of the samples.
        labels: their names, in any order.
        samples: the values of the labels in that order, `escaped`, and the value.
    """
    order = sorted(range(len(labels)), key=labels.__getitem__)
    pairs = ",".join(f'{labels[place]}="{{{place}}}"' for place in order)
    line = f"{name}{{{{{pairs}}}}} {{{len(labels)}}}\n".format
    return "".join([line(*values, go_float(value)) for values, value in samples])
