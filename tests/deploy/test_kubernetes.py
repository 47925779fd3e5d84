"""The kustomize base and its overlays render to valid, restricted and consistent manifests."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config import parse_config
from support.alert_rules import RULES, load_yaml
from support.kubernetes_manifests import (
    KUBERNETES,
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
    stdout_of,
    unchangeable,
)
from support.kubernetes_prometheusrule import MANIFEST, rendered
from support.processes import kube_program

BASE = "base"
SHARDED = "overlays/sharded"
AUDITED = "overlays/audit-log"
AUTHENTICATED = "overlays/web-authentication"
DIRECTORIES = [
    str(path.parent.relative_to(KUBERNETES))
    for path in sorted(KUBERNETES.rglob("kustomization.yaml"))
    if "components" not in path.parts
]
KINDS = {
    "ConfigMap",
    "Deployment",
    "NetworkPolicy",
    "PrometheusRule",
    "Service",
    "ServiceAccount",
    "ServiceMonitor",
}

made = cache(kustomize)
everywhere = pytest.mark.parametrize("directory", DIRECTORIES)


def one(kind: str, directory: str = BASE) -> Manifest:
    (manifest,) = of_kind(made(directory), kind)
    return manifest


def test_there_are_a_base_and_overlays() -> None:
    assert set(DIRECTORIES) == {BASE, SHARDED, AUDITED, AUTHENTICATED}


@everywhere
def test_the_api_accepts_the_manifests(directory: str) -> None:
    assert list(schema_problems(made(directory))) == []


@everywhere
def test_the_pod_is_restricted_and_has_no_token(directory: str) -> None:
    spec = pod(made(directory))
    (account,) = of_kind(made(directory), "ServiceAccount")

    assert restricted_violations(spec) == []
    assert container(made(directory))["securityContext"]["readOnlyRootFilesystem"]
    assert spec["serviceAccountName"] == account["metadata"]["name"]
    assert not spec["automountServiceAccountToken"]
    assert not account["automountServiceAccountToken"]


@everywhere
def test_a_path_that_a_flag_names_is_mounted(directory: str) -> None:
    only = container(made(directory))
    flags = options(made(directory))
    mounted = {mount["mountPath"]: mount["name"] for mount in only["volumeMounts"]}
    volumes = {volume["name"] for volume in pod(made(directory))["volumes"]}

    for file in (flags.config_file, flags.web_config_file, flags.audit_log_file):
        assert file is None or str(file.parent) in mounted
    assert set(mounted.values()) == volumes


@everywhere
def test_service_probes_and_policy_meet_at_the_port_the_exporter_listens_on(
    directory: str,
) -> None:
    only = container(made(directory))
    (port,) = only["ports"]
    (address,) = options(made(directory)).web_listen_address
    (served,) = scraped_service(made(directory))["spec"]["ports"]
    (let_in,) = one("NetworkPolicy", directory)["spec"]["ingress"]
    (scraped,) = one("ServiceMonitor", directory)["spec"]["endpoints"]

    assert port["containerPort"] == address.port == served["port"]
    assert port["name"] == served["targetPort"] == served["name"] == scraped["port"]
    assert let_in["ports"] == [{"port": port["name"]}]
    assert only["livenessProbe"]["httpGet"]["path"] == "/-/healthy"
    assert only["readinessProbe"]["httpGet"]["path"] == "/-/ready"
    assert port["name"] == only["livenessProbe"]["httpGet"]["port"]
    assert port["name"] == only["readinessProbe"]["httpGet"]["port"]


@everywhere
def test_everything_selects_the_pods_of_the_exporter(directory: str) -> None:
    (workload,) = (
        manifest
        for manifest in made(directory)
        if manifest["kind"] in {"Deployment", "StatefulSet"}
    )
    labels = workload["spec"]["template"]["metadata"]["labels"]
    monitor = one("ServiceMonitor", directory)["spec"]["selector"]["matchLabels"]

    assert workload["spec"]["selector"]["matchLabels"] == labels
    for service in of_kind(made(directory), "Service"):
        assert service["spec"]["selector"] == labels
    for budget in of_kind(made(directory), "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == labels
    assert one("NetworkPolicy", directory)["spec"]["podSelector"]["matchLabels"] == labels
    (scraped,) = (
        service
        for service in of_kind(made(directory), "Service")
        if monitor.items() <= service["metadata"]["labels"].items()
    )
    assert scraped == scraped_service(made(directory))


def test_the_base_is_complete() -> None:
    assert {manifest["kind"] for manifest in made(BASE)} == KINDS


def test_the_configuration_is_valid_and_uses_the_mounted_secret(
    tmp_path: Path,
) -> None:
    config: dict[str, Any] = yaml.safe_load(one("ConfigMap")["data"]["config.yaml"])
    auth = config["servers"][0]["auth"]
    directory, _, key = auth["password_file"].rpartition("/")
    mounted = {mount["mountPath"]: mount["name"] for mount in container(made(BASE))["volumeMounts"]}
    (volume,) = (one for one in pod(made(BASE))["volumes"] if one["name"] == mounted[directory])

    assert volume["secret"]["secretName"] == "vb365-restore-exporter"
    assert key == "password"
    auth["password_file"] = str(tmp_path / key)
    (tmp_path / key).write_text("secret")
    parse_config(yaml.safe_dump(config), directory=tmp_path)


def test_the_rules_match_those_of_prometheus(tmp_path: Path) -> None:
    groups = [group for path in sorted(RULES.glob("*.yml")) for group in load_yaml(path)["groups"]]

    assert rendered() == MANIFEST.read_text(encoding="utf-8"), "run: make manifests"
    assert one("PrometheusRule")["spec"]["groups"] == groups
    assert "SUCCESS" in check_rules(one("PrometheusRule"), tmp_path / "rules.yml")


def test_the_pods_of_the_stateful_set_are_all_the_shards() -> None:
    (workload,) = of_kind(made(SHARDED), "StatefulSet")
    replicas = workload["spec"]["replicas"]

    shards = [options(made(SHARDED), ordinal) for ordinal in range(replicas)]

    assert [(shard.shard, shard.total_shards) for shard in shards] == [
        (ordinal, replicas) for ordinal in range(replicas)
    ]
    governing = governing_service(made(SHARDED))
    assert workload["spec"]["serviceName"] == governing["metadata"]["name"]
    assert governing["spec"]["clusterIP"] == "None"
    assert of_kind(made(SHARDED), "Deployment") == []


def test_the_shards_can_be_applied_over_the_base_and_back() -> None:
    base, sharded = unchangeable(made(BASE)), unchangeable(made(SHARDED))

    common = base.keys() & sharded.keys()
    assert common == {("Service", "vb365-restore-exporter")}
    assert {name: base[name] for name in common} == {name: sharded[name] for name in common}


def test_shards_are_spread_over_nodes_that_are_drained_one_after_the_other() -> None:
    (spread,) = pod(made(SHARDED))["topologySpreadConstraints"]
    budget = one("PodDisruptionBudget", SHARDED)["spec"]

    assert spread["labelSelector"] == budget["selector"]
    assert (spread["whenUnsatisfiable"], budget["maxUnavailable"]) == ("ScheduleAnyway", 1)


def test_a_prometheus_that_discovers_pods_as_the_documentation_shows_keeps_the_exporter() -> None:
    text = (KUBERNETES.parents[1] / "docs" / "scale-out.md").read_text(encoding="utf-8")
    (agent,) = re.findall(r"^```yaml\n(# prometheus-agent.+?)^```$", text, re.MULTILINE | re.DOTALL)
    (job,) = yaml.safe_load(agent)["scrape_configs"]
    (workload,) = of_kind(made(BASE), "Deployment")
    (port,) = container(made(BASE))["ports"]
    discovered = {
        f"__meta_kubernetes_pod_label_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}": value
        for name, value in workload["spec"]["template"]["metadata"]["labels"].items()
    } | {"__meta_kubernetes_pod_container_port_name": port["name"]}

    kept = [rule for rule in job["relabel_configs"] if rule.get("action") == "keep"]

    assert len(kept) == 2
    for rule in kept:
        (label,) = rule["source_labels"]
        assert re.fullmatch(rule["regex"], discovered[label]), label


def test_with_web_authentication_probes_and_prometheus_authenticate() -> None:
    only = container(made(AUTHENTICATED))
    (scraped,) = one("ServiceMonitor", AUTHENTICATED)["spec"]["endpoints"]

    for probe in ("livenessProbe", "readinessProbe"):
        request = only[probe]["httpGet"]
        assert request["scheme"] == "HTTPS"
        assert [header["name"] for header in request["httpHeaders"]] == ["Authorization"]
    assert scraped["scheme"] == "https"
    assert set(scraped["basicAuth"]) == {"username", "password"}
    assert set(scraped["tlsConfig"]) == {"ca", "serverName"}


def built(tmp_path: Path, kustomization: str) -> list[Manifest]:
    """Render a kustomization from elsewhere; `KUBERNETES/` stands for the path of the shipped ones."""
    way = os.path.relpath(KUBERNETES, tmp_path)
    (tmp_path / "kustomization.yaml").write_text(kustomization.replace("KUBERNETES", way))
    return documents(stdout_of(kube_program("kubectl"), "kustomize", tmp_path))


def test_shards_can_have_web_authentication_too(tmp_path: Path) -> None:
    manifests = built(
        tmp_path,
        "resources: [KUBERNETES/overlays/sharded]\n"
        "components: [KUBERNETES/components/web-authentication]\n",
    )

    assert list(schema_problems(manifests)) == []
    assert options(manifests, 2).web_config_file is not None
    assert options(manifests, 2).shard == 2
    assert container(manifests)["readinessProbe"]["httpGet"]["scheme"] == "HTTPS"


def test_the_audit_log_is_on_a_volume_that_it_can_write_to() -> None:
    (claim,) = of_kind(made(AUDITED), "PersistentVolumeClaim")
    (mount,) = (
        one for one in container(made(AUDITED))["volumeMounts"] if one["name"] == "audit-log"
    )
    (volume,) = (one for one in pod(made(AUDITED))["volumes"] if one["name"] == "audit-log")

    assert options(made(AUDITED)).audit_log_file == Path(mount["mountPath"]) / "audit.log"
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert not mount.get("readOnly", False)
    assert pod(made(AUDITED))["securityContext"]["fsGroup"]


def test_the_base_writes_no_audit_log() -> None:
    assert options(made(BASE)).audit_log_file is None


def test_each_shard_writes_its_audit_log_into_a_directory_of_its_own(tmp_path: Path) -> None:
    manifests = built(
        tmp_path,
        "resources: [KUBERNETES/overlays/sharded]\ncomponents: [KUBERNETES/components/audit-log]\n",
    )
    (mount,) = (one for one in container(manifests)["volumeMounts"] if one["name"] == "audit-log")
    variables = {variable["name"] for variable in container(manifests)["env"]}

    assert list(schema_problems(manifests)) == []
    assert mount["subPathExpr"] == "shard-$(VB365_EXPORTER_SHARD)"
    assert "VB365_EXPORTER_SHARD" in variables


def test_an_overlay_as_in_the_readme_has_its_own_namespace_image_and_configuration(
    tmp_path: Path,
) -> None:
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    (overlay,) = re.findall(r"^```yaml\n(apiVersion.+?)^```$", readme, re.MULTILINE | re.DOTALL)
    example = (KUBERNETES.parents[1] / "config.example.yaml").read_text(encoding="utf-8")
    (tmp_path / "config.yaml").write_text(example, encoding="utf-8")

    manifests = built(tmp_path, overlay.replace("../../path/to/deploy/kubernetes", "KUBERNETES"))

    (config,) = of_kind(manifests, "ConfigMap")
    (mounted,) = (one for one in pod(manifests)["volumes"] if one["name"] == "config")
    assert list(schema_problems(manifests)) == []
    assert {manifest["metadata"]["namespace"] for manifest in manifests} == {"vb365"}
    assert container(manifests)["image"] == "registry.example.com/vb365-restore-exporter:0.1.0"
    assert config["data"] == {"config.yaml": example}
    assert config["metadata"]["name"] == mounted["configMap"]["name"]
