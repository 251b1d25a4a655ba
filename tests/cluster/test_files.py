"""Files of cluster/: valid by the schemas of their programs, and in agreement with configs/."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import validate
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.util.metrics import Metric
from typer.core import TyperGroup as Group
from typer.main import get_command

from serve_app import errors
from serve_app.cli.app import app
from serve_app.deployments import proxy_guard
from serve_app.deployments.cpu_share import CpuShare
from serve_app.deployments.job_metrics import RayJobObserver
from serve_app.deployments.key_metrics import KeyMetrics
from serve_app.deployments.metrics import ColdStart, RayObserver, ReplicaMetrics
from serve_app.deployments.permit_metrics import RayPermitObserver
from serve_app.deployments.replica_watch import ReplicaWatch
from serve_app.engine.errors import ModelLoadFailed
from serve_app.errors import ServeAppError
from serve_app.launch.serve_process import ENVIRONMENT as SERVE_ENVIRONMENT
from serve_app.launch.serve_process import STOP_TIMEOUT_S
from tests.conftest import CONFIGS
from tools.kuberay import with_config


def all_metrics(owner: object) -> Iterator[Metric]:
    for value in vars(owner).values():
        for one in value.values() if isinstance(value, dict) else [value]:
            if isinstance(one, Metric):
                yield one


CLUSTER = CONFIGS.parent / "cluster"
MANIFEST = CLUSTER / "kuberay" / "rayservice.yaml"
DASHBOARD = CLUSTER / "grafana" / "dashboards" / "musicgen.json"
DOCKERFILE = CLUSTER / "Dockerfile"
OPERATIONS = (CONFIGS.parent / "docs" / "operations.md").read_text()
KUBERNETES = "1.33"
METRICS = {
    metric.info["name"]
    for metric in [
        *all_metrics(RayObserver()),
        *all_metrics(KeyMetrics()),
        *all_metrics(RayJobObserver()),
        *all_metrics(RayPermitObserver()),
        *all_metrics(ReplicaWatch("musicgen", CpuShare(1.0))),
        *all_metrics(ReplicaMetrics("small", ColdStart(0, 0, 0, 0, 0))),
    ]
}
SUFFIXES = ("_bucket", "_sum", "_count")


def pods() -> dict[str, dict[str, Any]]:
    cluster = yaml.safe_load(MANIFEST.read_text())["spec"]["rayClusterConfig"]
    groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"]} | groups


def test_the_manifest_has_the_configuration() -> None:
    config = (CONFIGS / "all.yaml").read_text()
    assert with_config(MANIFEST.read_text(), config) == MANIFEST.read_text(), "make manifest"
    expected = yaml.safe_load(config)
    expected["http_options"] |= {"host": "0.0.0.0", "port": 8001}
    assert yaml.safe_load(yaml.safe_load(MANIFEST.read_text())["spec"]["serveConfigV2"]) == expected


def test_a_manifest_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="serveConfigV2"):
        with_config("kind: RayService\n", "applications: []\n")


@pytest.mark.parametrize("group", ["head", "ingress", "t4", "a10g", "l40s"])
def test_pods_are_valid(group: str) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": group},
        "spec": pods()[group]["spec"],
    }
    validate(pod, KUBERNETES, strict=True)
    assert pod["spec"]["securityContext"]["runAsNonRoot"], "as the image is made for"


def test_rays_ports_are_for_its_pods_and_the_operator() -> None:
    cluster = yaml.safe_load(MANIFEST.read_text())["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    policy, _ = yaml.safe_load_all((CLUSTER / "kuberay" / "network-policy.yaml").read_text())
    labels = policy["spec"]["podSelector"]["matchLabels"]
    assert all(pod["metadata"]["labels"] == labels for pod in pods().values())
    rules = policy["spec"]["ingress"]
    assert [rule["ports"] for rule in rules if "from" not in rule] == [
        [{"protocol": "TCP", "port": 8000}]
    ]
    assert [rule["from"] for rule in rules if "ports" not in rule] == [
        [{"podSelector": {"matchLabels": labels}}]
    ]


def test_every_kind_of_card_has_its_nodes() -> None:
    """Kubernetes and AWS have nodes for each `accelerator_type` of configs/all.yaml."""
    models = yaml.safe_load((CONFIGS / "all.yaml").read_text())["applications"][0]["args"]["models"]
    cards = {f"accelerator_type:{model['accelerator_type']}" for model in models}
    groups = yaml.safe_load(MANIFEST.read_text())["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    on_kubernetes = [
        json.loads(json.loads(g["rayStartParams"].get("resources", '"{}"'))) for g in groups
    ]
    assert {card for resources in on_kubernetes for card in resources} == cards
    on_aws = yaml.safe_load((CLUSTER / "aws.yaml").read_text())["available_node_types"].values()
    assert {
        card for node in on_aws for card in node["resources"] if card.startswith("accelerator")
    } == cards


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_ray_up_takes_the_file(name: str) -> None:
    config = prepare_config(yaml.safe_load((CLUSTER / f"{name}.yaml").read_text()))
    validate_config(config)
    assert all(
        node["max_workers"] <= config["max_workers"]
        for node in config["available_node_types"].values()
    )


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_every_node_has_rays_token(name: str) -> None:
    config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    assert "export RAY_AUTH_MODE=token" in (CLUSTER / "setup-node.sh").read_text()
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all(
        command.startswith("RAY_AUTH_MODE=token ") for command in starts if "ray start" in command
    )


def test_every_proxy_has_its_guard() -> None:
    """Its path is that of the launcher, and exists."""
    path = "serve_app.deployments.proxy_guard:middleware"
    assert SERVE_ENVIRONMENT["RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"] == path
    variable = f"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH={path}"
    for name in ("setup-node.sh", "Dockerfile"):
        assert variable in (CLUSTER / name).read_text(), name
    [guard] = proxy_guard.middleware()
    assert getattr(guard.cls, "__name__", "") == "ProxyGuard"


@pytest.mark.parametrize("name", ["setup-node.sh", "Dockerfile"])
def test_a_dead_proxy_is_noticed_in_time(name: str) -> None:
    """By the period of which tests/tools/test_recovery_bounds.py holds the operations to the sum."""
    variable = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"
    assert f"{variable}={SERVE_ENVIRONMENT[variable]}" in (CLUSTER / name).read_text()


@pytest.mark.parametrize("name", ["setup-node.sh", "Dockerfile"])
def test_threads_share_heaps_on_every_node(name: str) -> None:
    """With a heap of its own for each thread, the ingress grew by 2.7 MiB a minute under load."""
    assert SERVE_ENVIRONMENT["MALLOC_ARENA_MAX"] == "2"
    assert "MALLOC_ARENA_MAX=2" in (CLUSTER / name).read_text()


def test_compose_publishes_the_edge_alone_and_wants_a_token() -> None:
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    service = services["musicgen"]
    assert service["ports"] == ["8000:8100"]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN"].startswith("${RAY_AUTH_TOKEN:?")
    assert services["edge"]["network_mode"] == "service:musicgen"
    assert services["edge"]["image"] == service["image"]


def test_composed_containers_end_after_their_requests() -> None:
    """Compose ends the edge first, because it depends on the service."""
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    service, edge = services["musicgen"], services["edge"]
    assert edge["depends_on"] == ["musicgen"]
    drain_s = float(edge["command"][edge["command"].index("--drain") + 1])
    for file in CONFIGS.glob("*.yaml"):
        assert drain_s >= yaml.safe_load(file.read_text())["http_options"]["request_timeout_s"]
    assert float(edge["stop_grace_period"].removesuffix("s")) > drain_s
    assert service["stop_signal"] == "SIGINT"
    assert float(service["stop_grace_period"].removesuffix("s")) > STOP_TIMEOUT_S


def edge_commands() -> Iterator[list[str]]:
    """The command of each edge in the files for clusters."""
    for pod in pods().values():
        [edge] = [one for one in pod["spec"]["initContainers"] if one["name"] == "edge"]
        yield edge["command"]
    composed = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]["edge"]["command"]
    yield [part.replace("${CONFIG:-small}", "small") for part in composed]
    for name in ("aws", "gcp"):
        config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
        for commands in (config["head_start_ray_commands"], config["worker_start_ray_commands"]):
            [command] = [one for one in commands if one.startswith("nohup")]
            words = shlex.split(command)
            yield words[1 : words.index(">")]


def test_every_cluster_has_an_edge_for_its_proxy() -> None:
    commands = list(edge_commands())
    assert len(commands) == 5 + 1 + 4
    program = get_command(app)
    assert isinstance(program, Group)
    for name, verb, *arguments in commands:
        assert (name, verb) == ("musicgen", "edge")
        options = program.commands[verb].make_context(verb, arguments).params
        assert options["host"] == "0.0.0.0"
        file = CONFIGS / Path(options["config"]).name
        assert yaml.safe_load(file.read_text())["applications"][0]["args"]["api"]["access"][
            "require_keys"
        ]
        on_kubernetes = options["port"] == 8000
        assert options["upstream"] == ("127.0.0.1:8001" if on_kubernetes else None)


def test_serves_proxy_is_on_the_loopback_interface() -> None:
    for file in CONFIGS.glob("*.yaml"):
        assert yaml.safe_load(file.read_text())["http_options"]["host"] == "127.0.0.1", file


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    command = [str(Path(sys.executable).parent / "hadolint"), str(DOCKERFILE)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_the_image_serves_beyond_the_containers_loopback() -> None:
    [command] = re.findall(r"^CMD (.*)$", DOCKERFILE.read_text(), re.MULTILINE)
    program, verb, config, *options = json.loads(command)
    assert (program, verb, options) == ("musicgen", "serve", ["--host", "0.0.0.0"])
    assert (CONFIGS.parent / config).is_file()


@pytest.mark.long
def test_alerts_are_raised_when_they_should_be() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        reason = "promtool is not installed: `apt-get install prometheus` (Debian)"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    for arguments in (
        ["test", "rules", "alerts_test.yaml"],
        ["check", "config", "prometheus.yaml"],
    ):
        run = subprocess.run(
            [promtool, *arguments],
            cwd=CLUSTER / "prometheus",
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr


def shown(text: str) -> set[str]:
    names = set(re.findall(r"\bray_(musicgen_[a-z_]+)", text))
    return {re.sub("|".join(f"{suffix}$" for suffix in SUFFIXES), "", name) for name in names}


def test_the_dashboard_shows_every_metric() -> None:
    assert len(METRICS) > 15
    assert shown(DASHBOARD.read_text()) == METRICS


def test_alerts_are_of_metrics_that_there_are() -> None:
    assert shown((CLUSTER / "prometheus" / "alerts.yaml").read_text()) <= METRICS


def test_every_alert_is_seen_to_fire_and_to_be_silent() -> None:
    folder = CLUSTER / "prometheus"
    groups = yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    rules = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    tests = yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]
    asked = [one for test in tests for one in test["alert_rule_test"]]
    assert {one["alertname"] for one in asked if "exp_alerts" in one} == rules
    assert {one["alertname"] for one in asked if "exp_alerts" not in one} == rules


def test_every_failure_of_the_service_uses_up_the_error_budget() -> None:
    """Beside those of models that have no replica, of which MusicgenDown tells."""
    without_replica = {"model_loading", "model_unplaceable"}
    faults = {
        error.code
        for error in (*vars(errors).values(), ModelLoadFailed)
        if isinstance(error, type) and issubclass(error, ServeAppError) and error.status >= 500
    }
    at_the_start = {"checkpoint_error", "config_error"}
    groups = yaml.safe_load((CLUSTER / "prometheus" / "alerts.yaml").read_text())["groups"]
    counted = {
        rule["record"]: set(re.findall(r'outcome=~"(.*?)"', rule["expr"])[0].split("|"))
        for group in groups
        for rule in group["rules"]
        if "record" in rule
    }
    assert len(counted) == 5
    for codes in counted.values():
        assert codes == faults - without_replica - at_the_start


def test_panels_lie_beside_each_other() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_operations_page_names_every_metric_and_alert() -> None:
    groups = yaml.safe_load((CLUSTER / "prometheus" / "alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    for name in METRICS | alerts:
        assert f"`{name}`" in OPERATIONS, name


def test_the_composed_services_find_their_files() -> None:
    compose = yaml.safe_load((CLUSTER / "compose.yaml").read_text())
    mounts = [
        volume.split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    ]
    assert all((CLUSTER / mount).exists() for mount in mounts if mount.startswith("."))
    assert (CONFIGS.parent / compose["services"]["musicgen"]["build"]["dockerfile"]).exists()
    provider = yaml.safe_load(
        (CLUSTER / "grafana/provisioning/dashboards/musicgen.yaml").read_text()
    )["providers"][0]
    assert (
        f"./grafana/dashboards:{provider['options']['path']}:ro"
        in compose["services"]["grafana"]["volumes"]
    )
