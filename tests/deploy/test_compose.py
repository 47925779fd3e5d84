"""The Compose files: valid, hardened, made of files that are there, and wired by the names of the services."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from exporter.flags import parse
from support.alert_rules import DEPLOY, load_yaml
from support.processes import RELEASES, debian_program, dev_tool, programs_of

DOCKER = DEPLOY / "docker"
COMPOSE = DOCKER / "compose.yml"
REAL = DOCKER / "compose.real.yml"
AUDIT_LOG = DOCKER / "compose.audit-log.yml"
SERVICES: dict[str, dict[str, Any]] = load_yaml(COMPOSE)["services"]

every_service = pytest.mark.parametrize("service", SERVICES)


def run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=DOCKER,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def mounts(service: str) -> dict[str, Path]:
    """Return the mounts of a service from this repository by path."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", ())]
    return {
        target: (DOCKER / source).resolve()
        for source, target, *_ in parts
        if source.startswith(".")
    }


def test_the_files_are_valid() -> None:
    checked = run(
        dev_tool("check-jsonschema"),
        "--builtin-schema=vendor.compose-spec",
        COMPOSE.name,
        REAL.name,
        AUDIT_LOG.name,
    )

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("service", "program", "package"),
    [
        ("prometheus", "promtool", "prometheus"),
        ("alertmanager", "amtool", "prometheus-alertmanager"),
    ],
)
def test_an_image_is_of_a_version_between_those_that_run_the_tests(
    service: str, program: str, package: str
) -> None:
    def version(text: str) -> tuple[int, ...]:
        (numbers,) = re.findall(r"(?:version |:v)(\d+)\.(\d+)\.(\d+)", text)
        return tuple(map(int, numbers))

    tested = []
    for release in RELEASES:
        with programs_of(release):
            tested.append(version(run(debian_program(program, package), "--version").stdout))

    assert tested[0] < version(SERVICES[service]["image"]) <= tested[1]


@pytest.mark.parametrize(
    "files",
    [COMPOSE.name, f"{COMPOSE.name}:{REAL.name}", f"{COMPOSE.name}:{REAL.name}:{AUDIT_LOG.name}"],
)
def test_the_linter_finds_only_that_images_are_pinned_by_version_alone(
    files: str, tmp_path: Path
) -> None:
    linted = run(
        dev_tool("compose-lint"),
        "check",
        "--format=json",
        COMPOSE_FILE=files,
        VB365_AUDIT_LOG_DIRECTORY=str(tmp_path / "log"),
        VB365_CONFIG_DIRECTORY=str(tmp_path),
        VB365_SECRETS_DIRECTORY=str(tmp_path / "secrets"),
    )

    found = json.loads(linted.stdout)["findings"]
    assert {one["rule_id"] for one in found} == {"CL-0019"}, found


@every_service
def test_a_service_has_no_privileges_and_writes_nowhere_but_to_its_own_volume(
    service: str,
) -> None:
    has = SERVICES[service]

    assert has["read_only"]
    assert has["cap_drop"] == ["ALL"]
    assert has["security_opt"] == ["no-new-privileges:true"]
    assert not has["user"].startswith("0")
    for volume in has.get("volumes", ()):
        assert volume.startswith(f"{service}:") or volume.endswith(":ro")
    for mount in has.get("tmpfs", ()):
        assert "noexec,nosuid,nodev" in mount


@every_service
def test_a_service_is_published_on_this_machine_only(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service]["ports"])


@every_service
def test_mounts_are_directories_in_which_a_replaced_file_is_seen(service: str) -> None:
    assert [path for path in mounts(service).values() if not path.is_dir()] == []


def test_the_image_is_built_of_files_that_exist_with_arguments_that_it_has() -> None:
    build = SERVICES["exporter"]["build"]
    dockerfile = DOCKER / build["context"] / build["dockerfile"]
    text = dockerfile.read_text(encoding="utf-8")

    for name, value in build["args"].items():
        assert f"\nARG {name}" in text
        if value is not None:
            assert f"\nARG {name}={value.removeprefix(f'${{{name}:-').removesuffix('}')}\n" in text


def test_prometheus_is_the_example_except_for_service_names() -> None:
    example = (DEPLOY / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    for port, service in (("9093", "alertmanager"), ("10365", "exporter")):
        assert f"localhost:{port}" in example
        assert service in SERVICES
        assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
        example = example.replace(f"localhost:{port}", f"{service}:{port}")

    rules = (mounts("prometheus")["/etc/vb365/prometheus"] / "../rules").name
    example = example.replace("  - rules/*.yml", "  - ../rules/*.yml")
    assert mounts("prometheus")[f"/etc/vb365/{rules}"] == DEPLOY / "prometheus" / "rules"

    def settings(text: str) -> list[str]:
        return [
            line for line in text.splitlines() if line.strip() and not line.strip().startswith("#")
        ]

    actual = (DOCKER / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    assert settings(actual) == settings(example)


@pytest.mark.parametrize(
    ("service", "variable", "port"),
    [("prometheus", "PROMETHEUS_URL", 9090), ("alertmanager", "ALERTMANAGER_URL", 9093)],
)
def test_links_in_notifications_lead_to_the_published_port(
    service: str, variable: str, port: int
) -> None:
    (url,) = (
        word.removeprefix("--web.external-url=")
        for word in SERVICES[service]["command"]
        if word.startswith("--web.external-url=")
    )

    assert url == f"${{{variable}:-http://localhost:{port}}}"
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_a_thousand_servers_fit_into_the_limit_of_tasks() -> None:
    assert SERVICES["exporter"]["pids_limit"] >= 2 * 1000 + 1000


@pytest.mark.usefixtures("release")
def test_prometheus_and_alertmanager_accept_their_configurations(tmp_path: Path) -> None:
    for service in ("prometheus", "alertmanager"):
        for target, source in mounts(service).items():
            place = tmp_path / target.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place)

    prometheus = run(
        debian_program("promtool", "prometheus"),
        "check",
        "config",
        tmp_path / "etc" / "vb365" / "prometheus" / "prometheus.yml",
    )
    alertmanager = run(
        debian_program("amtool", "prometheus-alertmanager"),
        "check-config",
        tmp_path / "etc" / "alertmanager" / "alertmanager.yml",
    )

    assert prometheus.returncode == 0, prometheus.stderr
    assert prometheus.stdout.count("rules found") == 3
    assert alertmanager.returncode == 0, alertmanager.stderr
    for service in ("prometheus", "alertmanager"):
        (config,) = (
            word.removeprefix("--config.file=")
            for word in SERVICES[service]["command"]
            if word.startswith("--config.file=")
        )
        assert str(Path(config).parent) in mounts(service)


def test_grafana_finds_the_dashboard_and_its_data() -> None:
    found = mounts("grafana")
    provisioning = found["/etc/grafana/provisioning"]
    (provider,) = load_yaml(provisioning / "dashboards" / "vb365.yml")["providers"]
    (source,) = load_yaml(provisioning / "datasources" / "prometheus.yml")["datasources"]
    home = Path(SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in SERVICES
    assert str(home.parent) == provider["options"]["path"]
    assert (found[str(home.parent)] / home.name).is_file()


def test_the_real_exporter_gets_directories_with_a_configuration_and_a_secret() -> None:
    (service,) = load_yaml(REAL)["services"].values()

    (flag,) = service["command"]
    config, secrets = (volume.rsplit(":", 2) for volume in service["volumes"])
    assert (config[0].partition(":")[0], config[2]) == ("${VB365_CONFIG_DIRECTORY", "ro")
    assert (secrets[0].partition(":")[0], secrets[2]) == ("${VB365_SECRETS_DIRECTORY", "ro")
    assert flag == f"--config.file={config[1]}/config.yaml"
    assert f"`password_file: {secrets[1]}/vb365-password`" in REAL.read_text(encoding="utf-8")


def test_the_audit_log_is_off_until_it_has_a_directory_of_the_machine() -> None:
    (service,) = load_yaml(AUDIT_LOG)["services"].values()
    (volume,) = service["volumes"]
    source, target = volume.rsplit(":", 1)
    options = parse([], service["environment"])

    assert source.startswith("${VB365_AUDIT_LOG_DIRECTORY:?")
    assert options.audit_log_file == Path(target) / "audit.log"
    for file in (COMPOSE, REAL):
        exporter = load_yaml(file)["services"]["exporter"]
        assert parse(exporter["command"], exporter.get("environment", {})).audit_log_file is None
