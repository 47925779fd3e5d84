"""The Helm chart renders to valid, restricted manifests that match the kustomize base."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from exporter.config import parse_config
from support.alert_rules import DEPLOY, RULES, alerts, load_yaml
from support.kubernetes_manifests import (
    Manifest,
    check_rules,
    container,
    documents,
    governing_service,
    kustomize,
    of_kind,
    options,
    pod,
    restricted_violations,
    schema_problems,
    scraped_service,
    unchangeable,
)
from support.processes import kube_program

pytestmark = pytest.mark.e2e

CHART = DEPLOY / "helm" / "vb365-restore-exporter"
SETS = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())
DASHBOARDS = DEPLOY / "grafana" / "dashboards"

every_set = pytest.mark.parametrize("values", SETS)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [kube_program("helm"), *arguments], capture_output=True, text=True, check=False
    )


def values_file(values: str) -> Path:
    return CHART / "ci" / f"{values}-values.yaml"


@cache
def made(values: str) -> list[Manifest]:
    rendered = helm("template", "restores", CHART, f"--values={values_file(values)}")
    assert rendered.returncode == 0, rendered.stderr
    return documents(rendered.stdout)


def one(kind: str, values: str) -> Manifest:
    (manifest,) = of_kind(made(values), kind)
    return manifest


def given(values: str) -> dict[str, Any]:
    """The chart's values with those of a set in their place."""
    changed: dict[str, Any] = load_yaml(CHART / "values.yaml") | load_yaml(values_file(values))
    return changed


@every_set
def test_helm_lint_reports_nothing(values: str) -> None:
    linted = helm("lint", "--strict", CHART, f"--values={values_file(values)}")

    assert linted.returncode == 0, linted.stdout
    # An icon would have to be fetched from somewhere.
    assert re.findall(r"^\[.+", linted.stdout, re.MULTILINE) == [
        "[INFO] Chart.yaml: icon is recommended"
    ]


@every_set
def test_the_api_accepts_the_manifests(values: str) -> None:
    assert list(schema_problems(made(values))) == []


@every_set
def test_pods_are_restricted_and_have_no_token(values: str) -> None:
    (test,) = of_kind(made(values), "Pod")
    for spec in (pod(made(values)), test["spec"]):
        assert restricted_violations(spec) == []
        assert not spec["automountServiceAccountToken"]
        for only in spec["containers"]:
            assert only["securityContext"]["readOnlyRootFilesystem"]
    account = one("ServiceAccount", values)
    assert not account["automountServiceAccountToken"]
    assert account["metadata"]["name"] == pod(made(values))["serviceAccountName"]


@every_set
def test_flags_are_valid_and_their_files_are_mounted(values: str) -> None:
    flags = options(made(values))
    mounted = {
        mount["mountPath"]: mount["name"] for mount in container(made(values))["volumeMounts"]
    }

    assert given(values)["demo"] == flags.demo
    assert flags.demo or str(flags.config_file.parent) in mounted
    for file in (flags.web_config_file, flags.audit_log_file):
        assert file is None or str(file.parent) in mounted
    assert set(mounted.values()) == {volume["name"] for volume in pod(made(values))["volumes"]}
    assert not flags.demo or "/tmp" in mounted  # noqa: S108 - a path in the container


@every_set
def test_service_and_test_meet_the_exporter_at_its_port(values: str) -> None:
    (address,) = options(made(values)).web_listen_address
    (port,) = container(made(values))["ports"]
    service = scraped_service(made(values))
    (served,) = service["spec"]["ports"]
    *_, tested_host, tested_port = one("Pod", values)["spec"]["containers"][0]["command"]

    assert address.port == port["containerPort"]
    assert port["name"] == served["targetPort"]
    assert (service["metadata"]["name"], str(served["port"])) == (tested_host, tested_port)
    for monitor in of_kind(made(values), "ServiceMonitor"):
        assert served["name"] == monitor["spec"]["endpoints"][0]["port"]


@every_set
def test_everything_selects_the_pods_of_the_exporter_and_not_the_test(values: str) -> None:
    (workload,) = (
        manifest for manifest in made(values) if manifest["kind"] in {"Deployment", "StatefulSet"}
    )
    labels = workload["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        workload["spec"]["selector"]["matchLabels"],
        *(service["spec"]["selector"] for service in of_kind(made(values), "Service")),
        *(
            budget["spec"]["selector"]["matchLabels"]
            for budget in of_kind(made(values), "PodDisruptionBudget")
        ),
        *(
            policy["spec"]["podSelector"]["matchLabels"]
            for policy in of_kind(made(values), "NetworkPolicy")
        ),
    ]

    for selector in selectors:
        assert selector.items() <= labels
        assert not selector.items() <= one("Pod", values)["metadata"]["labels"].items()
    for monitor in of_kind(made(values), "ServiceMonitor"):
        selector = monitor["spec"]["selector"]["matchLabels"]
        assert [scraped_service(made(values))] == [
            service
            for service in of_kind(made(values), "Service")
            if selector.items() <= service["metadata"]["labels"].items()
        ]


def test_the_chart_makes_the_pod_of_the_kustomize_base() -> None:
    def settings(manifests: list[Manifest]) -> dict[str, Any]:
        spec = {**pod(manifests)}
        only = {**container(manifests)}
        only["args"] = [word for word in only["args"] if not word.startswith("--log.")]
        only.pop("imagePullPolicy", None)
        del only["image"], spec["serviceAccountName"], spec["volumes"]
        return {**spec, "containers": [only]}

    assert settings(kustomize("base")) == settings(made("real"))


@pytest.mark.parametrize(
    "values", [name for name in SETS if "config" in load_yaml(values_file(name))]
)
def test_the_configuration_arrives_as_it_was_given(values: str, tmp_path: Path) -> None:
    (text,) = (
        manifest["data"]["config.yaml"]
        for manifest in of_kind(made(values), "ConfigMap")
        if "config.yaml" in manifest["data"]
    )
    wanted = given(values)["config"]

    assert yaml.safe_load(text) == wanted
    for server in wanted["servers"]:
        for key, path in server["auth"].items():
            if key.endswith("_file"):
                file = tmp_path / Path(path).name
                file.write_text("secret")
                text = text.replace(path, str(file))
    assert len(wanted["servers"]) == len(parse_config(text, directory=tmp_path).servers)


@every_set
def test_the_audit_log_is_written_to_the_claim_alone_and_by_each_shard_to_its_directory(
    values: str,
) -> None:
    claim = given(values).get("auditLog", {}).get("existingClaim")
    mounts = [one for one in container(made(values))["volumeMounts"] if one["name"] == "audit-log"]
    claims = [
        one["persistentVolumeClaim"]["claimName"]
        for one in pod(made(values))["volumes"]
        if "persistentVolumeClaim" in one
    ]

    assert claims == ([claim] if claim else [])
    assert (options(made(values)).audit_log_file is not None) == bool(claim)
    assert [one.get("subPathExpr") for one in mounts] == (
        ["shard-$(VB365_EXPORTER_SHARD)" if values == "sharded" else None] if claim else []
    )


def test_the_pods_of_the_stateful_set_are_all_the_shards() -> None:
    workload = one("StatefulSet", "sharded")
    replicas = workload["spec"]["replicas"]

    shards = [options(made("sharded"), ordinal) for ordinal in range(replicas)]

    assert replicas == 3
    assert [(shard.shard, shard.total_shards) for shard in shards] == [
        (ordinal, replicas) for ordinal in range(replicas)
    ]
    governing = governing_service(made("sharded"))
    assert governing["spec"]["clusterIP"] == "None"
    assert workload["spec"]["serviceName"] == governing["metadata"]["name"]


def with_values(tmp_path: Path, *flags: str, **values: Any) -> list[Manifest]:
    """Render the typical values with some of them replaced."""
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(given("real") | values))
    rendered = helm("template", "restores", CHART, f"--values={file}", *flags)
    assert rendered.returncode == 0, rendered.stderr
    return documents(rendered.stdout)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3)])
def test_an_installed_release_accepts_another_number_of_shards(
    before: int, after: int, tmp_path: Path
) -> None:
    old, new = (unchangeable(with_values(tmp_path, shards=shards)) for shards in (before, after))

    common = old.keys() & new.keys()
    assert ("Service", "restores-vb365-restore-exporter") in common
    assert {name: old[name] for name in common} == {name: new[name] for name in common}


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("key", ["nameOverride", "fullnameOverride"])
def test_long_names_are_shortened_to_what_the_api_accepts(
    key: str, shards: int, tmp_path: Path
) -> None:
    manifests = with_values(
        tmp_path,
        shards=shards,
        **{key: "a-restore-exporter-with-a-very-very-long-name-" + "b" * 60},
    )

    assert list(schema_problems(manifests)) == []
    for manifest in manifests:
        name, labels = manifest["metadata"]["name"], manifest["metadata"]["labels"]
        assert all(len(word) <= 63 for word in (name, *labels.values())), manifest["kind"]
        if manifest["kind"] in {"Deployment", "StatefulSet"}:
            # The label of its pods has a hash of up to 10 characters after the name.
            assert len(name) <= 52


def test_shards_are_spread_over_nodes_that_are_drained_one_after_the_other(tmp_path: Path) -> None:
    manifests = with_values(tmp_path, shards=3)
    (spread,) = pod(manifests)["topologySpreadConstraints"]
    (budget,) = of_kind(manifests, "PodDisruptionBudget")
    off = with_values(tmp_path, shards=3, podDisruptionBudget={"enabled": False})

    assert spread["labelSelector"] == budget["spec"]["selector"]
    assert (spread["whenUnsatisfiable"], budget["spec"]["maxUnavailable"]) == ("ScheduleAnyway", 1)
    assert one("PodDisruptionBudget", "sharded")["spec"]["maxUnavailable"] == "50%"
    assert of_kind(off, "PodDisruptionBudget") == []
    assert of_kind(with_values(tmp_path, shards=1), "PodDisruptionBudget") == []


@pytest.mark.parametrize(("enabled", "workloads"), [(True, 1), (False, 0)])
def test_a_parent_chart_can_have_it_as_a_conditional_dependency(
    enabled: bool,  # noqa: FBT001 - a case
    workloads: int,
    tmp_path: Path,
) -> None:
    parent = tmp_path / "parent"
    shutil.copytree(CHART, parent / "charts" / CHART.name)
    dependency = {
        "name": CHART.name,
        "version": __version__,
        "condition": f"{CHART.name}.enabled",
    }
    (parent / "Chart.yaml").write_text(
        json.dumps(
            {"apiVersion": "v2", "name": "parent", "version": "1.0.0", "dependencies": [dependency]}
        )
    )
    (parent / "values.yaml").write_text(
        json.dumps({CHART.name: {"enabled": enabled, "demo": True}, "global": {"team": "backup"}})
    )

    rendered = helm("template", "restores", parent)

    assert rendered.returncode == 0, rendered.stderr
    assert len(of_kind(documents(rendered.stdout), "Deployment")) == workloads


def test_probes_pass_the_authentication_in_the_way_that_is_chosen() -> None:
    shown = container(made("web-authentication"))
    executed = container(made("client-certificates"))

    for probe, path in (("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")):
        assert shown[probe]["httpGet"] == {
            "path": path,
            "port": "http-metrics",
            "scheme": "HTTPS",
            "httpHeaders": [
                {"name": "Authorization", "value": "Basic cHJvYmU6Y2hhbmdlLW1l"},
            ],
        }
        assert executed[probe]["exec"]["command"][-1] == "/opt/exporter/healthcheck.py"
        assert "httpGet" not in executed[probe]


def test_the_values_in_the_documentation_make_valid_manifests(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "install.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```yaml\n(# values\.yaml.+?)^```$", page, re.MULTILINE | re.DOTALL)
    values = tmp_path / "values.yaml"
    values.write_text(shown, encoding="utf-8")

    rendered = helm("template", "vb365", CHART, f"--values={values}")

    assert rendered.returncode == 0, rendered.stderr
    assert list(schema_problems(documents(rendered.stdout))) == []


def test_the_rules_match_those_of_prometheus(tmp_path: Path) -> None:
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in load_yaml(path)["groups"]]
    rule = one("PrometheusRule", "real")

    assert rule["spec"]["groups"] == groups
    assert "SUCCESS" in check_rules(rule, tmp_path / "rules.yml")


def test_thresholds_and_runbook_urls_can_be_replaced(tmp_path: Path) -> None:
    rule = one("PrometheusRule", "client-certificates")
    made_of = [each for group in rule["spec"]["groups"] for each in group["rules"]]

    assert [each["annotations"]["runbook_url"] for each in made_of if "alert" in each] == [
        f"https://wiki.example.com/vb365/{alert.name}.md" for alert in alerts()
    ]
    thresholds = {
        each["record"] for each in load_yaml(RULES / "vb365-thresholds.yml")["groups"][0]["rules"]
    }
    assert thresholds & {each.get("record") for each in made_of} == set()
    check_rules(rule, tmp_path / "rules.yml")


def test_the_dashboard_is_where_grafanas_sidecar_looks() -> None:
    (config_map,) = (
        manifest
        for manifest in of_kind(made("real"), "ConfigMap")
        if "grafana_dashboard" in manifest["metadata"]["labels"]
    )

    shipped = {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.iterdir()}
    assert config_map["data"] == shipped


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "config, existingConfigMap or demo: one of them is needed"),
        ({"demo": True, "shards": 2}, "demo: has one server"),
        ({"demo": True, "shards": 0}, "at '/shards'"),
        ({"demo": True, "shard": 2}, "'shard' not allowed"),
        ({"demo": True, "log": {"level": "loud"}}, "at '/log/level'"),
        ({"demo": True, "extraArgs": ["demo"]}, "at '/extraArgs/0'"),
        ({"demo": True, "webConfig": {"tls": True}}, "webConfig: tls and probeAuthorization mean"),
        ({"config": {"servers": []}}, "at '/config/servers'"),
        (
            {"config": {"servers": [{"url": "http://a.example", "auth": {}}]}},
            "at '/config/servers/0/url'",
        ),
        (
            {"config": {"servers": [{"url": "https://a.example", "auth": {"password": "p"}}]}},
            "config.servers[0].auth.password: a ConfigMap is no place for secrets",
        ),
        (
            {
                "config": {
                    "servers": [
                        {"url": "https://a.example", "auth": {}, "proxy_url": "http://u:p@proxy"}
                    ]
                }
            },
            "config.servers[0].proxy_url: a ConfigMap is no place for secrets",
        ),
        (
            {
                "config": {"servers": [{"url": "https://a.example", "auth": {}}]},
                "existingConfigMap": "vb365",
            },
            "only one of them can be",
        ),
    ],
)
def test_contradictory_values_are_rejected(
    settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(json.dumps(settings))

    rendered = helm("template", "restores", CHART, f"--values={file}")

    assert rendered.returncode != 0
    assert message in rendered.stderr


def differences(values: Any, schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """Return the differences between the keys of the values and of their schema; open objects may have any keys."""
    if schema.get("additionalProperties") is not False:
        return
    properties = schema["properties"]
    for key in values.keys() ^ properties.keys():
        # Helm's own, and what the condition of a parent chart reads.
        if (place, key) not in {("", "global"), ("", "enabled")}:
            yield f"{place}.{key}"
    for key in values.keys() & properties.keys():
        yield from differences(values[key], properties[key], f"{place}.{key}")


def test_the_schema_knows_every_value() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))

    assert list(differences(load_yaml(CHART / "values.yaml"), schema)) == []


def test_the_sets_of_values_try_every_value() -> None:
    tried: set[str] = set()
    for values in SETS:
        tried |= set(load_yaml(values_file(values)))

    # Those are the same for everybody: restricted Pod Security, and what an exporter needs.
    left = {"nameOverride", "podSecurityContext", "securityContext", "resources"}
    assert tried == set(load_yaml(CHART / "values.yaml")) - left


def test_versions_are_those_of_the_exporter() -> None:
    chart = load_yaml(CHART / "Chart.yaml")

    assert __version__ == chart["version"] == chart["appVersion"]
    assert container(made("demo"))["image"] == f"vb365-restore-exporter:{__version__}"
    assert container(kustomize("base"))["image"] == f"vb365-restore-exporter:{__version__}"


@every_set
def test_the_notes_describe_access_and_missing_settings(values: str) -> None:
    installed = helm(
        "install", "restores", CHART, f"--values={values_file(values)}", "--dry-run=client"
    )

    assert installed.returncode == 0, installed.stderr
    _, _, notes = installed.stdout.partition("NOTES:\n")
    scheme = "https" if given(values).get("webConfig", {}).get("tls") else "http"
    name = scraped_service(made(values))["metadata"]["name"]
    assert f"port-forward service/{name} 10365:" in notes
    assert f"  {scheme}://localhost:10365/\n" in notes
    own_config_map = given(values)["existingConfigMap"]
    assert ("rollout restart deployment/" in notes) == bool(own_config_map)
    for kind, missing in (
        ("ServiceMonitor", "not scraped yet"),
        ("PrometheusRule", "no alerts for failed restores"),
    ):
        assert (missing in notes) == (not of_kind(made(values), kind))


def test_a_package_holds_the_rules_and_the_dashboard_themselves(tmp_path: Path) -> None:
    packaged = helm("package", CHART, f"--destination={tmp_path}")

    assert packaged.returncode == 0, packaged.stderr
    (package,) = tmp_path.iterdir()
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
        for path in (*RULES.glob("*.yml"), *DASHBOARDS.iterdir()):
            inside = f"{CHART.name}/files/{path.parent.name}/{path.name}"
            file = archive.extractfile(inside)
            assert file is not None
            assert path.read_bytes() == file.read()
    assert not any("/ci/" in name for name in names)
