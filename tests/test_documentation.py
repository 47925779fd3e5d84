"""The documentation says what the code does."""

from __future__ import annotations

from exporter.metrics.catalogue import all_families
from exporter.vb365.errors import Reason
from support.readme import README, written
from support.screenshots import PICTURES


def test_the_readmes_tables_are_those_of_the_code() -> None:
    readme = README.read_text(encoding="utf-8")

    assert written(readme) == readme, "run: make docs"


def test_every_reason_is_explained() -> None:
    readme = README.read_text(encoding="utf-8")

    assert [] == [reason for reason in Reason if f"| `{reason}` |" not in readme]


def test_the_readmes_pictures_are_there_and_small() -> None:
    readme = README.read_text(encoding="utf-8")

    for picture in PICTURES:
        assert f"deploy/screenshots/{picture.name}" in readme
        assert picture.path.stat().st_size < 200_000


def test_metric_names_follow_the_conventions() -> None:
    for family in all_families(("name",)):
        assert family.name.startswith("vb365_")
        assert family.help.endswith(".")
        assert (family.kind.value == "counter") == family.name.endswith("_total")
        assert not family.name.endswith(("_sum", "_count", "_bucket"))
