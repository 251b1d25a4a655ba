"""The nodes of every file for clusters have room for all replicas that configs/all.yaml allows."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from serve_app.config.app import AppConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments.actor_options import demand, ingress_demand
from serve_app.placement import Demand
from tests.conftest import CONFIGS

CLUSTER = CONFIGS.parent / "cluster"
CLOUDS = {"aws": {}, "gcp": {"A10G": "L4", "L40S": "A100"}}  # GPUs in place of the configuration's


@dataclass(frozen=True)
class Nodes:
    """Nodes of one kind: the resources of each, and the largest number of them."""

    resources: dict[str, float]
    most: int

    def room(self, replica: Demand) -> int:
        """Count the replicas that all of them hold; none on a GPU for one that takes no GPU."""
        if self.resources.get("GPU", 0) and "GPU" not in replica.resources:
            return 0
        holds = (
            self.resources.get(name, 0.0) // amount for name, amount in replica.resources.items()
        )
        return self.most * int(min(holds))


def on_kubernetes() -> list[Nodes]:
    """Worker groups of the RayService, whose Ray has the pod's limits, unless told otherwise."""
    service = yaml.safe_load((CLUSTER / "kuberay" / "rayservice.yaml").read_text())
    found = []
    for group in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        told = group["rayStartParams"]
        further = json.loads(json.loads(told.get("resources", '"{}"')))
        cpus = float(told.get("num-cpus", limits["cpu"]))
        resources = {"CPU": cpus, "GPU": limits.get("nvidia.com/gpu", 0)}
        found.append(Nodes(resources | further, group["maxReplicas"]))
    return found


def in_a_cloud(name: str) -> Callable[[], list[Nodes]]:
    """Types of nodes of a file for `ray up`; the head is one node."""

    def read() -> list[Nodes]:
        config = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
        kinds = config["available_node_types"].values()
        return [Nodes(kind["resources"], kind.get("max_workers", 1)) for kind in kinds]

    return read


def served(cards: dict[str, str]) -> AppConfig:
    """Return the configuration, with other GPUs in place of its own."""
    text = (CONFIGS / "all.yaml").read_text()
    for card, other in cards.items():
        text = text.replace(card, other)
    args: dict[str, Any] = yaml.safe_load(text)["applications"][0]["args"]
    return AppConfig.model_validate(args)


def most(deployment: DeploymentConfig) -> int:
    """Count the replicas at the largest scale, in an update that starts new ones first.

    Serve then starts as many new ones as there are old ones, and old ones that finish their requests
    keep their places. Without a free place it would stop none of them, and the update would not go on.
    """
    assert deployment.autoscaling_config
    replicas: int = deployment.autoscaling_config["max_replicas"]
    return 2 * replicas if deployment.max_surge_percent else replicas


@pytest.mark.parametrize(
    ("nodes", "cards"),
    [(on_kubernetes, {}), *((in_a_cloud(name), cards) for name, cards in CLOUDS.items())],
    ids=["kuberay", *CLOUDS],
)
def test_every_replica_has_its_place(
    nodes: Callable[[], list[Nodes]], cards: dict[str, str]
) -> None:
    config = served(cards)
    ingress = config.ingress_deployment_config
    assert ingress.max_surge_percent == 100
    wanted = [(ingress_demand(ingress), most(ingress))]
    wanted += [(demand(model), most(model.deployment_config)) for model in config.models]
    for replica, count in wanted:
        assert sum(kind.room(replica) for kind in nodes()) >= count, replica


def test_on_kubernetes_no_two_ingress_replicas_share_a_pod() -> None:
    """Else the loss of one node could end both: Serve spreads them only where it can."""
    replica = ingress_demand(served({}).ingress_deployment_config)
    assert {kind.room(replica) / kind.most for kind in on_kubernetes()} == {0, 1}


def test_the_ingress_carries_the_streams_of_all_slots() -> None:
    """At 100 live mp3 streams of a core, of which it should use `target_cpu`."""
    config = served({})
    streams = 0
    for model in config.models:
        scaling = model.deployment_config.autoscaling_config or {}
        streams += (model.engine_kwargs.max_slots or 0) * scaling["max_replicas"]
    ingress = config.ingress_deployment_config.autoscaling_config or {}
    target_cpu = ingress["policy"]["policy_kwargs"]["target_cpu"]
    assert 90 < streams <= 100 * target_cpu * ingress["max_replicas"]
