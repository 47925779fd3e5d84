"""Render Kubernetes manifests with the real programs and validate them against the API's schemas."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import kubernetes_validate  # type: ignore[import-untyped] # it has no types
import yaml

from exporter.flags import Options, parse
from support.alert_rules import DEPLOY
from support.kubernetes_operator_schema import OPERATOR_API, operator_problems
from support.processes import debian_program, kube_program

Manifest: TypeAlias = Mapping[str, Any]

KUBERNETES = DEPLOY / "kubernetes"
VERSIONS = ("1.28", "1.37")
"""The oldest version with the pod-index label that sharding needs, and the newest with published schemas."""

_ORDINAL = {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}}
_STATEFUL_SET_CHANGEABLE = {
    "minReadySeconds",
    "ordinals",
    "persistentVolumeClaimRetentionPolicy",
    "replicas",
    "template",
    "updateStrategy",
}
_UNCHANGEABLE: Mapping[str, Callable[[Manifest], Any]] = {
    "Deployment": lambda spec: spec["selector"],
    "Service": lambda spec: spec.get("clusterIP"),
    "StatefulSet": lambda spec: {
        key: value for key, value in spec.items() if key not in _STATEFUL_SET_CHANGEABLE
    },
}
_VOLUMES = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}


def stdout_of(*command: str | Path) -> str:
    """Return the standard output of a program; output on standard error is a failure, too."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def documents(text: str) -> list[Manifest]:
    """Return the manifests of a YAML stream."""
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def kustomize(directory: str) -> list[Manifest]:
    """Return the manifests that `kubectl kustomize` renders from a directory."""
    return documents(stdout_of(kube_program("kubectl"), "kustomize", KUBERNETES / directory))


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def scraped_service(manifests: Iterable[Manifest]) -> Manifest:
    """Return the only Service with ports: not the governing one of a StatefulSet."""
    (only,) = (one for one in of_kind(manifests, "Service") if one["spec"].get("ports"))
    return only


def governing_service(manifests: Iterable[Manifest]) -> Manifest:
    """Return the only headless Service, which gives the pods of a StatefulSet their names."""
    (only,) = (one for one in of_kind(manifests, "Service") if one["spec"].get("clusterIP"))
    return only


def unchangeable(manifests: Iterable[Manifest]) -> dict[tuple[str, str], Any]:
    """Return, for each object that has them, the fields that the API forbids to change, by kind and name."""
    return {
        (one["kind"], one["metadata"]["name"]): _UNCHANGEABLE[one["kind"]](one["spec"])
        for one in manifests
        if one["kind"] in _UNCHANGEABLE
    }


def schema_problems(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Yield violations of the schemas of the API server and the Prometheus operator."""
    yield from operator_problems(manifests)
    for manifest in manifests:
        if manifest["apiVersion"] == OPERATOR_API:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{version} {manifest['kind']}: {error}"


def pod(manifests: Iterable[Manifest]) -> Manifest:
    """Return the pod specification of the only workload."""
    (workload,) = (
        manifest for manifest in manifests if manifest["kind"] in {"Deployment", "StatefulSet"}
    )
    spec: Manifest = workload["spec"]["template"]["spec"]
    return spec


def container(manifests: Iterable[Manifest]) -> Manifest:
    """Return the only container of the only workload."""
    (only,) = pod(manifests)["containers"]
    return only  # type: ignore[no-any-return] # YAML has no types


def options(manifests: Sequence[Manifest], ordinal: int = 0) -> Options:
    """Return the exporter's options in the pod with this ordinal."""
    only = container(manifests)
    environ = {
        variable["name"]: str(ordinal) if "valueFrom" in variable else variable["value"]
        for variable in only.get("env", ())
        if variable.get("valueFrom", _ORDINAL) == _ORDINAL
    }
    return parse(only["args"], environ)


def restricted_violations(spec: Manifest) -> list[str]:
    """Return a pod's violations of the Pod Security profile `restricted`."""
    context = spec.get("securityContext", {})
    found = []
    if any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        found.append("host namespaces")
    if not context.get("runAsNonRoot") or context.get("runAsUser") == 0:
        found.append("root")
    if context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}:
        found.append("seccomp")
    found += [
        f"volume {volume['name']}"
        for volume in spec.get("volumes", ())
        if not set(volume) - {"name"} <= _VOLUMES
    ]
    for only in (*spec["containers"], *spec.get("initContainers", ())):
        own = only.get("securityContext", {})
        if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
            found.append("privileges")
        if own.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
        if any("hostPort" in port for port in only.get("ports", ())):
            found.append("host port")
    return found


def check_rules(manifest: Manifest, path: Path) -> str:
    """Check a PrometheusRule with promtool and return its output; the rules are written to `path`.

    Raises:
        AssertionError: promtool rejects the rules.
    """
    path.write_text(yaml.safe_dump(manifest["spec"]), encoding="utf-8")
    return stdout_of(debian_program("promtool", "prometheus"), "check", "rules", path)
