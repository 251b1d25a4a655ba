"""Kubernetes' files: valid by the newest schemas, and so timed and placed that no accepted request is lost."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate

from tests.cluster.custom_resources import SCHEMAS, faults
from tests.conftest import CONFIGS

KUBERAY = CONFIGS.parent / "cluster" / "kuberay"
ALERTS = CONFIGS.parent / "cluster" / "prometheus" / "alerts.yaml"
KUBERNETES = "1.33"
LONGEST_START_S = 180  # of a replacement
DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
WORKERS = ("ingress", "t4", "a10g", "l40s")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((KUBERAY / f"{name}.yaml").read_text()))


def service() -> dict[str, Any]:
    [document] = documents("rayservice")
    return document


def serve_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(service()["spec"]["serveConfigV2"])
    return config


def args() -> dict[str, Any]:
    found: dict[str, Any] = serve_config()["applications"][0]["args"]
    return found


def groups() -> dict[str, dict[str, Any]]:
    cluster = service()["spec"]["rayClusterConfig"]
    workers = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]} | workers


def pod(group: str) -> dict[str, Any]:
    spec: dict[str, Any] = groups()[group]["template"]["spec"]
    return spec


def environment(group: str) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in pod(group)["containers"][0]["env"]}


def test_the_newest_kuberay_takes_the_manifest() -> None:
    assert faults(service()) == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("spec", "rayClusterDeletionDelay"), 1, "spec: Additional properties"),
        (("spec", "rayClusterConfig", "authOptions", "mode"), "tokens", "authOptions.mode: 'tokens'"),
        (("spec", "rayClusterConfig", "headGroupSpec", "template", "spec", "tolerance"), [], "spec: Add"),
        (("spec", "rayClusterDeletionDelaySeconds"), "soon", "Seconds: 'soon' is not of type"),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)  # fmt: skip
def test_a_fault_is_found(path: tuple[str, ...], value: object, fault: str) -> None:
    document = service()
    section = document
    for name in path[:-1]:
        section = section[name]
    section[path[-1]] = value
    assert any(fault in found for found in faults(document)), faults(document)


@pytest.mark.parametrize("file", sorted(KUBERAY.glob("*.yaml")), ids=lambda file: file.stem)
def test_every_document_is_valid(file: Path) -> None:
    for document in documents(file.stem):
        if (SCHEMAS / f"{document['kind']}.json").exists():
            assert faults(document) == []
        else:
            validate(document, KUBERNETES, strict=True)


def test_the_alerts_are_a_rule_of_prometheus_operator() -> None:
    rule = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "musicgen"},
        "spec": yaml.safe_load(ALERTS.read_text()),
    }
    assert faults(rule) == []


@pytest.mark.parametrize("group", WORKERS)
def test_a_pod_that_ends_finishes_its_requests(group: str) -> None:
    longest_s = serve_config()["http_options"]["request_timeout_s"]
    drain_s = float(environment(group)[DRAIN])
    assert drain_s >= longest_s + LONGEST_START_S
    assert pod(group)["terminationGracePeriodSeconds"] > drain_s


def test_replicas_finish_their_requests() -> None:
    longest_s = serve_config()["http_options"]["request_timeout_s"]
    configs = [model["deployment_config"] for model in args()["models"]]
    for config in [*configs, args()["ingress_deployment_config"]]:
        assert config["graceful_shutdown_timeout_s"] >= longest_s
    assert args()["ingress_deployment_config"]["max_surge_percent"] == 100


def test_an_update_keeps_the_old_cluster_until_its_requests_have_ended() -> None:
    longest_s = serve_config()["http_options"]["request_timeout_s"]
    assert service()["spec"]["rayClusterDeletionDelaySeconds"] > longest_s


def test_the_head_gets_no_request_and_restarts_at_once() -> None:
    assert service()["spec"]["excludeHeadPodFromServeSvc"] is True
    assert environment("head")[DRAIN] == "0"
    assert groups()["head"]["rayStartParams"]["num-cpus"] == "0"


@pytest.mark.parametrize("group", ["head", *WORKERS])
def test_the_edge_outlives_ray(group: str) -> None:
    """A sidecar ends after the containers of its pod."""
    [edge] = [one for one in pod(group)["initContainers"] if one["name"] == "edge"]
    assert edge["restartPolicy"] == "Always"
    assert len(pod(group)["containers"]) == 1


@pytest.mark.parametrize("group", ["head", "ingress"])
def test_ingress_and_head_stay_off_gpus_and_spot_nodes(group: str) -> None:
    affinity = pod(group)["affinity"]["nodeAffinity"]
    [term] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    keys = {one["key"] for one in term["matchExpressions"] if one["operator"] == "NotIn"}
    assert keys >= {"nvidia.com/gpu.present", "karpenter.sh/capacity-type"}
    assert pod(group).get("tolerations") is None


def test_ingress_replicas_select_nodes_without_a_gpu() -> None:
    """By a label that Ray gives nodes with a GPU, and the autoscaler knows before there is a pod."""
    selector = args()["ingress_deployment_config"]["ray_actor_options"]["label_selector"]
    cards = {model["accelerator_type"] for model in args()["models"]}
    excluded = selector["ray.io/accelerator-type"].removeprefix("!in(").removesuffix(")")
    assert set(excluded.split(",")) == cards
    labelled = [g["labels"]["ray.io/accelerator-type"] for g in groups().values() if "labels" in g]
    assert set(labelled) == cards
    assert service()["spec"]["rayClusterConfig"]["autoscalerOptions"]["version"] == "v2"


def test_ingress_pods_are_spread_and_not_all_evicted() -> None:
    constraints = pod("ingress")["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in constraints] == [
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    ]
    [budget] = documents("disruption")
    assert budget["spec"].keys() == {"minAvailable", "selector"}, "a RayCluster has no scale"
    assert type(budget["spec"]["minAvailable"]) is int
    assert groups()["ingress"]["minReplicas"] - budget["spec"]["minAvailable"] == 1
    labels = {"app": "musicgen", "ray.io/group": "ingress"}
    assert budget["spec"]["selector"]["matchLabels"] == labels


def test_pods_have_a_priority_that_there_is() -> None:
    values = {one["metadata"]["name"]: one["value"] for one in documents("priority")}
    used = {name: values[pod(name)["priorityClassName"]] for name in groups()}
    assert used["head"] == used["ingress"] > max(used[name] for name in WORKERS[1:])


def test_clients_come_by_https_and_wait_as_long_as_the_service() -> None:
    gateway, route, redirect = documents("gateway")
    listeners = {one["name"]: one for one in gateway["spec"]["listeners"]}
    assert listeners["https"]["tls"]["mode"] == "Terminate"
    [rule] = route["spec"]["rules"]
    assert route["spec"]["parentRefs"] == [{"name": "musicgen", "sectionName": "https"}]
    assert rule["backendRefs"] == [{"name": "musicgen-serve-svc", "port": 8000}]
    longest_s = serve_config()["http_options"]["request_timeout_s"]
    assert int(rule["timeouts"]["request"].removesuffix("s")) > longest_s
    [to_https] = redirect["spec"]["rules"][0]["filters"]
    assert to_https["requestRedirect"]["scheme"] == "https"


def test_prometheus_finds_the_metrics_of_every_pod() -> None:
    monitor, probe = documents("monitoring")
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    for group in groups().values():
        labels = group["template"]["metadata"]["labels"]
        assert labels.items() >= monitor["spec"]["selector"]["matchLabels"].items()
        ports = group["template"]["spec"]["containers"][0]["ports"]
        assert {"containerPort": 8080, "name": endpoint["port"]} in ports
    gateway, *_ = documents("gateway")
    [address] = probe["spec"]["targets"]["staticConfig"]["static"]
    assert address == f"https://{gateway['spec']['listeners'][0]['hostname']}/health"


def test_prometheus_and_its_exporters_reach_what_they_watch() -> None:
    """Alerts of an exporter that a policy keeps out would never end."""
    monitoring = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
    }
    for policy, port in zip(documents("network-policy"), (8080, 6379), strict=True):
        rules = [one for one in policy["spec"]["ingress"] if monitoring in one.get("from", [])]
        assert [one["ports"] for one in rules] == [[{"protocol": "TCP", "port": port}]]
