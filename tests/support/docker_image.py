"""Parse the Dockerfile, and run its build stage in a directory where no image can be built.

    python -m support.docker_image DIRECTORY

creates in DIRECTORY/opt what the image has in /opt. Libraries come from the package index.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"

_FLAG = re.compile(r"--\S+\s+")


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction: its name, its flags (`--from=build`) and its arguments."""

    name: str
    flags: tuple[str, ...]
    rest: str

    def copy_arguments(self) -> tuple[tuple[str, ...], str]:
        """Return the sources and the target of a COPY."""
        *sources, target = shlex.split(self.rest)
        return tuple(sources), target


def stages() -> list[list[Step]]:
    """Return the steps of each stage; the first list holds what precedes the first stage."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: list[list[Step]] = [[]]
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if not line:
            continue
        name, rest = line.split(maxsplit=1)
        flags = []
        while flag := _FLAG.match(rest):
            flags.append(flag[0].strip())
            rest = rest[flag.end() :]
        if name == "FROM":
            found.append([])
        found[-1].append(Step(name, tuple(flags), rest))
    return found


def build(directory: Path) -> None:
    """Run the steps of the build stage with a directory in place of the root.

    Raises:
        subprocess.CalledProcessError: a step failed.
    """
    _, steps, _ = stages()
    python = directory / "python"
    venv.create(python, with_pip=True)
    environ: Mapping[str, str] = {**os.environ, "PATH": f"{python}/bin:{os.environ['PATH']}"}
    work = directory
    for step in steps:
        rest = step.rest.replace("/opt/", f"{directory}/opt/")
        if step.name == "WORKDIR":
            work = directory / step.rest.lstrip("/")
            work.mkdir(parents=True)
        elif step.name == "ENV":
            environ = {**environ, **dict(word.split("=", 1) for word in shlex.split(rest))}
        elif step.name == "COPY":
            sources, target = step.copy_arguments()
            for source in sources:
                place = work / target / ("" if (ROOT / source).is_dir() else source)
                if (ROOT / source).is_dir():
                    shutil.copytree(
                        ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__")
                    )
                else:
                    shutil.copy(ROOT / source, place)
        elif step.name == "RUN":
            subprocess.run(["/bin/sh", "-c", rest], cwd=work, env=environ, check=True)


if __name__ == "__main__":
    build(Path(sys.argv[1]).resolve())
