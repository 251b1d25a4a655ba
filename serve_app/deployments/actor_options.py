"""Resources of a model's replica: as options for Ray, and as the demand that a node must meet."""

from typing import Any

from serve_app.config.app import ModelConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.placement import Demand

_ACCELERATOR_SHARE = 0.001  # Ray's amount of the resource that marks a GPU type


def actor_options(model: ModelConfig) -> dict[str, Any] | None:
    """Return `ray_actor_options`: an accelerator type implies one GPU."""
    options = model.deployment_config.ray_actor_options
    if model.accelerator_type is None:
        return options
    return {"num_gpus": 1, "accelerator_type": model.accelerator_type} | (options or {})


def gpu_share(model: ModelConfig) -> float:
    """Return the replica's share of its GPU: below 1 where replicas share the card."""
    num_gpus = float((actor_options(model) or {}).get("num_gpus", 0))
    return num_gpus if 0 < num_gpus < 1 else 1.0


def demand(model: ModelConfig) -> Demand:
    """Return the resources of one replica under Ray's names."""
    return _demand(f"model '{model.model_id}'", actor_options(model) or {})


def ingress_demand(config: DeploymentConfig) -> Demand:
    """Return the resources of one ingress replica likewise."""
    return _demand("the ingress", config.ray_actor_options or {})


def _demand(deployment: str, options: dict[str, Any]) -> Demand:
    amounts = {
        "CPU": options.get("num_cpus", 1),
        "GPU": options.get("num_gpus", 0),
        "memory": options.get("memory", 0),
    } | (options.get("resources") or {})
    if kind := options.get("accelerator_type"):
        amounts[f"accelerator_type:{kind}"] = _ACCELERATOR_SHARE
    needed = {name: float(amount) for name, amount in amounts.items() if amount}
    return Demand(deployment, needed)
