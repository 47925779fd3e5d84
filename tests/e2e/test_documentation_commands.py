"""The commands that the documentation shows work as they stand there.

Names and ports of the documentation are replaced by those of a simulator and of this test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.documentation import pages
from support.documented_commands import ShellBlock, shell_blocks
from support.processes import (
    EXPORTER,
    HttpProgram,
    clean_environment,
    debian_program,
    free_port,
    running_process,
)
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

RUN = [block for block in shell_blocks() if block.scene is not None]
USER = r"CONTOSO\svc-monitoring"
CONFIG = """\
servers:
  - name: hq
    url: https://{server}
    auth: {{username: '{user}', password_file: vb365-password}}
    tls_config: {{ca_file: vb365.pem}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A directory with a configuration for a simulator, and the address for the exporter's pages."""

    directory: Path
    server: str
    address: str

    def script(self, block: ShellBlock) -> str:
        """Return the block's commands, with the addresses of the scene."""
        replaced = {
            "vb365.example.com:4443": self.server,
            "localhost:10365": self.address,
            "/var/lib/prometheus/node-exporter": str(self.directory),
        }
        script = block.script
        for shown, used in replaced.items():
            script = script.replace(shown, used)
        return script

    def start(self, script: str) -> subprocess.Popen[str]:
        """Start a script where the exporter is on the path and uses the scene's address."""
        commands = Path(sys.executable).parent
        return subprocess.Popen(
            [debian_program("bash", "bash"), "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env=clean_environment(
                PATH=f"{commands}{os.pathsep}{os.environ['PATH']}",
                VB365_EXPORTER_WEB_LISTEN_ADDRESS=self.address,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server, ca_file = f"127.0.0.1:{free_port()}", tmp_path / "vb365.pem"
    simulate = [
        *(sys.executable, "-m", "exporter.simulator", f"--web.listen-address={server}"),
        *(f"--username={USER}", "--password=secret", f"--tls.ca-file={ca_file}"),
    ]
    (tmp_path / "vb365-password").write_text("secret\n")
    (tmp_path / "vb365-password").chmod(0o600)
    (tmp_path / "config.yaml").write_text(CONFIG.format(server=server, user=USER))
    with running_process(simulate, tmp_path / "simulator.log"):
        wait_until(ca_file.exists, "the simulator", 30)
        yield Scene(directory=tmp_path, server=server, address=f"127.0.0.1:{free_port()}")


@contextmanager
def running_exporter(scene: Scene) -> Iterator[None]:
    command = [
        *(*EXPORTER, f"--config.file={scene.directory / 'config.yaml'}"),
        *(f"--web.listen-address={scene.address}", "--web.enable-lifecycle"),
    ]
    with running_process(command, scene.directory / "exporter.log"):
        wait_until_ready(scene)
        yield


def wait_until_ready(scene: Scene) -> None:
    pages = HttpProgram(f"http://{scene.address}")
    wait_until(lambda: pages.answers("/-/ready"), "the first poll", 30)
    pages.close()


def test_the_queries_of_the_documentation_are_valid(tmp_path: Path) -> None:
    queries = [query for page in pages() for query in _queries(page.read_text(encoding="utf-8"))]
    rules = [{"record": "documented", "expr": query} for query in queries]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "documentation", "rules": rules}]}))

    checked = subprocess.run(
        [debian_program("promtool", "prometheus"), "check", "rules", "--lint=none", file],
        capture_output=True,
        text=True,
        check=False,
    )

    assert len(queries) > 10
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _queries(page: str) -> Iterator[str]:
    """Yield the queries of a page; in its blocks, each one follows a comment."""
    for block in re.findall(r"^```promql\n(.+?)^```", page, re.MULTILINE | re.DOTALL):
        yield from (part.strip() for part in re.split(r"^#.*$", block, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize("block", RUN, ids=[block.id for block in RUN])
def test_the_commands_of_a_block_succeed(block: ShellBlock, scene: Scene) -> None:
    for name, package in (("jq", "jq"), ("promtool", "prometheus"), ("curl", "curl")):
        if name in block.script.split():
            debian_program(name, package)
    if block.scene == "served":
        with running_exporter(scene):
            ended = scene.start(scene.script(block))
            output, _ = ended.communicate(timeout=60)
    else:
        ended = scene.start(scene.script(block))
        if block.scene == "serving":
            wait_until_ready(scene)
            os.killpg(ended.pid, signal.SIGINT)
        output, _ = ended.communicate(timeout=60)

    assert ended.returncode == block.status, output
