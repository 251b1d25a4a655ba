"""Resources of a replica: the options that Ray gets, and the same under Ray's names of resources."""

from typing import Any

import pytest

from serve_app.config.app import ModelConfig
from serve_app.deployments.actor_options import actor_options, demand, gpu_share
from serve_app.placement import Demand


def model(options: dict[str, Any] | None = None, **fields: Any) -> ModelConfig:
    loading = {"model_id": "x", "model_source": "embedded:musicgen-nano"}
    deployment = {"ray_actor_options": options}
    fields = {"model_loading_config": loading, "deployment_config": deployment} | fields
    return ModelConfig.model_validate(fields)


@pytest.mark.parametrize(
    ("config", "options", "resources"),
    [
        (model(), None, {"CPU": 1.0}),
        (model({"num_cpus": 0.5}), {"num_cpus": 0.5}, {"CPU": 0.5}),
        (model({"num_cpus": 0}), {"num_cpus": 0}, {}),
        (
            model({"num_cpus": 2}, accelerator_type="T4"),
            {"num_gpus": 1, "accelerator_type": "T4", "num_cpus": 2},
            {"CPU": 2.0, "GPU": 1.0, "accelerator_type:T4": 0.001},
        ),
        (
            model({"num_gpus": 0.5, "accelerator_type": "L4", "memory": 1e9}),
            {"num_gpus": 0.5, "accelerator_type": "L4", "memory": 1e9},
            {"CPU": 1.0, "GPU": 0.5, "accelerator_type:L4": 0.001, "memory": 1e9},
        ),
        (
            model({"resources": {"disk": 2}}),
            {"resources": {"disk": 2}},
            {"CPU": 1.0, "disk": 2.0},
        ),
    ],
)
def test_options_and_resources(
    config: ModelConfig, options: dict[str, Any] | None, resources: dict[str, float]
) -> None:
    assert actor_options(config) == options
    assert demand(config) == Demand("model 'x'", resources)


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (model(), 1.0),
        (model({"num_gpus": 0}), 1.0),  # a GPU that Ray does not count
        (model(accelerator_type="T4"), 1.0),
        (model({"num_gpus": 2}), 1.0),
        (model({"num_gpus": 0.5, "accelerator_type": "L4"}), 0.5),
        (model({"num_gpus": 0.25}), 0.25),
    ],
)
def test_a_fraction_of_a_gpu_is_a_share_of_its_memory(config: ModelConfig, share: float) -> None:
    assert gpu_share(config) == share
