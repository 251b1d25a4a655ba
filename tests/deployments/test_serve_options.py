"""Options of deployments: what Serve takes reaches it, what it refuses or ignores is an error that names the option."""

from typing import Any

import pytest

from serve_app.app import build_app
from serve_app.config.deployment import DeploymentConfig
from serve_app.deployments.serve_options import deployment
from serve_app.errors import ConfigError
from tests.conftest import EMBEDDED


class Replica:
    """A deployment's class."""


def described(**options: Any) -> Any:
    config = DeploymentConfig.model_validate(options).model_dump(exclude_none=True)
    return deployment("MusicGen:nano", Replica, config)


def test_serve_gets_every_option() -> None:
    options: dict[str, Any] = {
        "num_replicas": 2,
        "max_ongoing_requests": 7,
        "max_queued_requests": 9,
        "ray_actor_options": {"num_cpus": 1, "label_selector": {"zone": "!in(a,b)"}},
        "health_check_period_s": 3.0,
        "health_check_timeout_s": 4.0,
        "graceful_shutdown_timeout_s": 5.0,
        "graceful_shutdown_wait_loop_s": 0.5,
        "max_surge_percent": 50,
        "rolling_update_percentage": 0.5,
        "max_replicas_per_node": 2,
        "max_constructor_retry_count": 3,
        "user_config": {"a": 1},
        "backpressure_config": {"status_code": 429, "retry_after_s": 2},
        "logging_config": {"log_level": "DEBUG"},
    }
    made = described(**options)
    config = made._deployment_config
    plain = {name for name, value in options.items() if not isinstance(value, dict)}
    for name in plain - {"max_replicas_per_node"}:
        assert getattr(config, name) == options[name], name
    assert made._replica_config.max_replicas_per_node == 2
    assert made._replica_config.ray_actor_options["label_selector"] == {"zone": "!in(a,b)"}
    assert (config.user_config, config.logging_config["log_level"]) == ({"a": 1}, "DEBUG")
    assert config.backpressure_config.retry_after_s == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"autoscaling_config": {"max_replica": 2}}, "autoscaling_config.max_replica: unknown"),
        ({"request_router_config": {"x": 1}}, "request_router_config.x: unknown option"),
        ({"deployment_actors": [{"nam": "x"}]}, "deployment_actors.nam: unknown option"),
        ({"logging_config": {"encodin": "x"}}, "logging_config.encodin: Extra inputs"),
        ({"backpressure_config": {"status_code": 400}}, "backpressure_config.status_code: "),
        ({"ray_actor_options": {"num_cpu": 1}}, "'num_cpu' in ray_actor_options"),
        (
            {"max_replicas_per_node": 1, "placement_group_bundles": [{"CPU": 1}]},
            "max_replicas_per_node is not allowed",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_refused_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="deployment 'MusicGen:nano'") as caught:
        described(**options)
    assert message in caught.value.message


def test_the_application_is_not_built_with_a_refused_option() -> None:
    model = {
        "model_loading_config": {"model_id": "nano", "model_source": EMBEDDED},
        "deployment_config": {"autoscaling_config": {"max_replica": 2}},
    }
    with pytest.raises(ConfigError, match="max_replica: unknown option"):
        build_app({"models": [model]})
    ingress = {"ingress_deployment_config": {"ray_actor_options": {"num_cpu": 1}}}
    with pytest.raises(ConfigError, match="deployment 'Ingress'"):
        build_app({"models": [{"model_loading_config": model["model_loading_config"]}]} | ingress)
