"""The bill of materials names what the lock holds, and is valid CycloneDX."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.model.license import DisjunctiveLicense

from exporter import __version__
from support.sbom import PROJECT, SbomError, bill_of_materials, from_json, requirements, to_json


@pytest.fixture(scope="module")
def bom() -> Bom:
    return bill_of_materials()


def test_it_names_every_locked_dependency_with_its_version_and_its_hashes(bom: Bom) -> None:
    locked = {
        (name, version, frozenset(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)))
        for name, version, entry in requirements()
    }

    assert len(locked) > 10
    assert all(hashes for _, _, hashes in locked)
    assert {
        (
            component.name,
            component.version,
            frozenset(
                digest.content
                for reference in component.external_references
                for digest in reference.hashes
            ),
        )
        for component in bom.components
    } == locked


def test_it_is_of_this_version_of_the_exporter(bom: Bom) -> None:
    exporter = bom.metadata.component

    assert exporter is not None
    assert (exporter.name, exporter.version) == ("vb365-restore-exporter", __version__)
    (licence,) = exporter.licenses
    assert isinstance(licence, DisjunctiveLicense)
    assert licence.id == "Apache-2.0"


def test_it_has_the_dependency_graph_of_the_exporter(bom: Bom) -> None:
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    direct = {re.split(r"[^a-z0-9-]", one.lower())[0] for one in project["dependencies"]}
    names = {one.bom_ref: one.name for one in bom.components}
    needs = {
        names.get(one.ref, "exporter"): {names[inner.ref] for inner in one.dependencies}
        for one in bom.dependencies
    }

    assert needs.pop("exporter") == direct
    reached, found = direct, set[str]()
    while reached:
        found |= reached
        reached = set().union(*(needs[name] for name in reached)) - found
    assert found == {one.name for one in bom.components}


def test_it_is_valid_and_can_be_read_by_others(bom: Bom) -> None:
    text = to_json(bom)

    document = json.loads(text)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert {one.purl for one in from_json(text).components} == {one.purl for one in bom.components}


def test_one_that_is_not_valid_is_not_written() -> None:
    reference = {
        "type": "distribution",
        "url": "https://example.com/",
        "hashes": [{"alg": "SHA-256", "content": "no hash"}],
    }
    component = {"type": "library", "name": "broken", "externalReferences": [reference]}

    with pytest.raises(SbomError, match="does not match"):
        to_json(from_json(json.dumps({"components": [component]})))


def test_two_of_the_same_source_are_equal() -> None:
    first, second = (
        to_json(bill_of_materials({"SOURCE_DATE_EPOCH": "1700000000"})) for _ in range(2)
    )

    assert first == second
    assert json.loads(first)["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert json.loads(first)["serialNumber"].startswith("urn:uuid:")


def test_without_the_time_of_the_source_there_is_none() -> None:
    assert "timestamp" not in json.loads(to_json(bill_of_materials({})))["metadata"]
