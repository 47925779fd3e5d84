"""Generate a release's bill of materials (CycloneDX) from the locked dependencies: `python -m support.sbom`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from exporter import __version__

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
PROJECT = ROOT / "pyproject.toml"
DIRECTORY = ROOT / "dist"

_LOCKED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)", re.MULTILINE)
_NEEDED_BY = re.compile(r"^    # (?:via |  )([a-z0-9][a-z0-9._-]*)", re.MULTILINE)


class SbomError(Exception):
    """The bill of materials cannot be generated."""


def requirements() -> Iterator[tuple[str, str, str]]:
    """Yield name, version and lock entry of each locked requirement."""
    text = LOCK.read_text(encoding="utf-8")
    found = list(_LOCKED.finditer(text))
    ends = [*(one.start() for one in found[1:]), len(text)]
    for one, end in zip(found, ends, strict=True):
        yield one[1], one[2], text[one.start() : end]


def bill_of_materials(environ: Mapping[str, str] = os.environ) -> Bom:
    """Return the bill of materials: the exporter, every locked dependency with its hashes, and their dependency graph.

    It is reproducible: its serial number follows from its content, and its time is that of the source.

    Args:
        environ: SOURCE_DATE_EPOCH is its time (Unix seconds); without it, the bill has none.

    Raises:
        SbomError: the tool that reads the lock file failed.
    """
    made = subprocess.run(
        [
            *(sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK)),
            *("--pyproject", str(PROJECT), "--mc-type", "application", "--no-validate"),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        raise SbomError(made.stderr.decode(errors="replace"))
    bom = from_json(made.stdout)
    exporter = bom.metadata.component
    assert exporter is not None
    exporter.version = __version__
    for component in bom.components:
        component.description = None  # repeats the lock entry
    _register_dependencies(
        bom, {exporter.name: exporter} | {one.name: one for one in bom.components}
    )
    epoch = environ.get("SOURCE_DATE_EPOCH")
    time = datetime.fromtimestamp(int(epoch), UTC) if epoch else None
    bom.metadata.timestamp = time  # type: ignore[assignment] # its type is too narrow: the field is optional
    content = f"{exporter.name} {__version__} {LOCK.read_text(encoding='utf-8')}"
    bom.serial_number = uuid5(NAMESPACE_OID, content)
    return bom


def from_json(document: bytes | str) -> Bom:
    """Parse a bill of materials from JSON."""
    # The library adds this method at run time.
    bom: Bom = Bom.from_json(json.loads(document))  # type: ignore[attr-defined]
    return bom


def _register_dependencies(bom: Bom, by_name: Mapping[str, Component]) -> None:
    needs: dict[str, list[Component]] = {name: [] for name in by_name}
    for name, _, entry in requirements():
        for needed_by in _NEEDED_BY.findall(entry):
            needs[needed_by].append(by_name[name])
    for name, component in by_name.items():
        bom.register_dependency(component, needs[name])


def to_json(bom: Bom) -> str:
    """Serialize a bill of materials as JSON.

    Raises:
        SbomError: the result violates the schema.
    """
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        raise SbomError(str(wrong))
    return text


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    name = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["name"]
    (DIRECTORY / f"{name}-{__version__}.cdx.json").write_text(
        to_json(bill_of_materials()), encoding="utf-8"
    )
