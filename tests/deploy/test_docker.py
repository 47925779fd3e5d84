"""The image: its Dockerfile is linted, complete, pinned and unprivileged; its health check is correct."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from exporter import __version__
from support.docker_image import DOCKERFILE, ROOT, Step, stages
from support.processes import dev_tool, free_port

HEALTHCHECK = DOCKERFILE.with_name("healthcheck.py")
# A process with the exporter's command line, whatever responds at its address.
STAND_IN = "import sys; print(flush=True); sys.stdin.read()"

ARGUMENTS, BUILD, FINAL = stages()


def named(steps: list[Step], name: str) -> list[Step]:
    return [step for step in steps if step.name == name]


def test_hadolint_reports_nothing() -> None:
    linted = subprocess.run(
        [dev_tool("hadolint"), "--failure-threshold=style", DOCKERFILE],
        capture_output=True,
        text=True,
        check=False,
    )

    assert linted.stdout + linted.stderr == ""
    assert linted.returncode == 0


def test_the_base_is_pinned_and_has_the_python_of_the_locked_dependencies() -> None:
    (base,) = named(ARGUMENTS, "ARG")
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    pinned = re.fullmatch(
        r"PYTHON_IMAGE=python:(3\.\d+)\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", base.rest
    )

    assert pinned
    assert f"with Python {pinned[1]}\n" in locked
    assert [step.rest for stage in (BUILD, FINAL) for step in named(stage, "FROM")] == [
        "${PYTHON_IMAGE} AS build",
        "${PYTHON_IMAGE}",
    ]


def test_libraries_come_with_hashes_and_the_project_needs_no_others() -> None:
    commands = [
        words for step in named(BUILD, "RUN") for words in map(shlex.split, step.rest.split("&&"))
    ]
    installs = [words for words in commands if {"install", "wheel"} & set(words)]

    assert len(installs) == 4
    for words in installs:
        assert "--require-hashes" in words or {"--no-index", "--no-deps"} <= set(words), words


def test_copied_files_exist_and_are_the_whole_build_context() -> None:
    ignored, *admitted = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1:]
    copies = [step for stage in (BUILD, FINAL) for step in named(stage, "COPY") if not step.flags]
    copied = {source for step in copies for source in step.copy_arguments()[0]}

    assert ignored == "*"
    assert set(admitted) == {f"!{source}" for source in copied} | {"**/__pycache__"}
    assert [source for source in copied if not (ROOT / source).exists()] == []


def test_the_container_has_no_privileges_and_needs_no_shell() -> None:
    (user,) = named(FINAL, "USER")

    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user.rest)
    assert {step.rest[0] for step in named(FINAL, "RUN")} == {"["}
    (entrypoint,) = named(FINAL, "ENTRYPOINT")
    (healthcheck,) = named(FINAL, "HEALTHCHECK")
    for command in (entrypoint.rest, healthcheck.rest.removeprefix("CMD ")):
        assert json.loads(command)[0].startswith("/opt/exporter/bin/")


def test_the_standard_library_is_compiled_while_root_can_write_it(tmp_path: Path) -> None:
    (run,) = (step for step in named(FINAL, "RUN") if "compileall" in step.rest)
    (library := tmp_path / "lib").mkdir()
    (library / "module.py").write_text("VALUE = 1\n")
    program, option, code = json.loads(run.rest)
    assert (program, option) == ("python", "-c")
    stand_in = code.replace("sysconfig.get_path('stdlib')", repr(str(library)))
    assert stand_in != code

    compiled = subprocess.run([sys.executable, "-c", stand_in], check=False)
    (library / "broken.py").write_text("VALUE =\n")
    broken = subprocess.run([sys.executable, "-c", stand_in], capture_output=True, check=False)

    names = [step.name for step in FINAL]
    assert names.index("RUN") < names.index("USER")
    assert compiled.returncode == 0
    assert [path.suffix for path in (library / "__pycache__").iterdir()] == [".pyc"]
    assert broken.returncode == 1


def test_a_volume_for_the_audit_log_belongs_to_the_user() -> None:
    (user,) = named(FINAL, "USER")
    (install,) = (json.loads(step.rest) for step in named(FINAL, "RUN") if "/var/log/" in step.rest)
    documented = re.findall(
        r"--volume vb365-audit-log:(\S+) .*\n.*--audit.log-file=(\S+)", DOCKERFILE.read_text()
    )

    assert {f"--owner={user.rest.split(':')[0]}", f"--group={user.rest.split(':')[1]}"} <= set(
        install
    )
    assert documented == [(install[-1], f"{install[-1]}/audit.log")]


def test_labels_have_values() -> None:
    defaults = dict(step.rest.split("=", 1) for step in named(FINAL, "ARG") if "=" in step.rest)
    (labels,) = named(FINAL, "LABEL")
    base = dict(step.rest.split("=", 1) for step in named(ARGUMENTS, "ARG"))

    def filled(match: re.Match[str]) -> str:
        return (defaults | base)[match[1]]

    values = dict(
        word.split("=", 1) for word in shlex.split(re.sub(r"\$\{(\w+)\}", filled, labels.rest))
    )

    assert values["org.opencontainers.image.version"] == __version__
    assert values["org.opencontainers.image.base.name"] == base["PYTHON_IMAGE"]
    assert [label for label, value in values.items() if not value] == []


@contextmanager
def process(*arguments: str) -> Iterator[int]:
    """Something that looks like an exporter with these arguments."""
    with subprocess.Popen(
        [sys.executable, "-c", STAND_IN, "/bin/vb365-restore-exporter", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as stand_in:
        assert stand_in.stdout is not None
        stand_in.stdout.read(1)
        yield stand_in.pid
        stand_in.communicate()


def health(*arguments: str) -> tuple[int, str]:
    with process(*arguments) as pid:
        checked = subprocess.run(
            [sys.executable, "-I", HEALTHCHECK, str(pid)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert checked.stderr == ""
    return checked.returncode, checked.stdout


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, (0, "/-/healthy responds with 200\n")),
        (401, (0, "alive; responds with 401 without credentials\n")),
        (429, (0, "alive; responds with 429 without credentials\n")),
        (404, (1, "/-/healthy responds with 404\n")),
        (503, (1, "/-/healthy responds with 503\n")),
    ],
)
def test_the_exporter_is_healthy_if_the_page_is_or_requires_authentication(
    status: int, verdict: tuple[int, str]
) -> None:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/-/healthy" else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            assert health(f"--web.listen-address=127.0.0.1:{server.server_port}") == verdict
        finally:
            server.shutdown()
            thread.join()


def test_an_exporter_that_does_not_respond_is_unhealthy() -> None:
    status, why = health(f"--web.listen-address=:{free_port()}", "--demo")

    assert status == 1
    assert why.startswith("no response: ")


def test_a_container_without_the_exporter_is_not_healthy() -> None:
    checked = subprocess.run(
        [sys.executable, "-I", HEALTHCHECK, "self"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stdout) == (
        1,
        "no response: process self is not an exporter\n",
    )


def test_the_health_check_is_in_the_image() -> None:
    (healthcheck,) = named(FINAL, "HEALTHCHECK")
    place = json.loads(healthcheck.rest.removeprefix("CMD "))[-1]

    assert (("deploy/docker/healthcheck.py",), place) in [
        step.copy_arguments() for step in named(FINAL, "COPY")
    ]
