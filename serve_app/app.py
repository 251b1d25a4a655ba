"""Builder of the Ray Serve application, for `import_path: serve_app.app:build_app`."""

from typing import Any

from pydantic import ValidationError
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import RequestRouterConfig

from serve_app.config import MOST_SLOTS, AppConfig, DeploymentConfig, ModelConfig
from serve_app.deployments.autoscaling import MODEL_PREFIX
from serve_app.deployments.ingress import Ingress, max_requests
from serve_app.deployments.replica import MusicGenReplica
from serve_app.errors import ConfigError

INGRESS_NAME = "Ingress"
_STATUS_PERIOD_S = 3600.0  # of Serve's own calls for the status, which it makes no use of
_ROOM = 100  # calls into the ingress beyond its requests: health checks, and refusals


def build_app(args: dict[str, Any]) -> Application:
    """Bind one deployment `MusicGen:<model_id>` per model and the ingress in front of them.

    args: an AppConfig as plain values. Raises ConfigError that names every invalid option.
    """
    try:
        config = AppConfig.model_validate(args)
    except ValidationError as error:
        raise ConfigError(f"The application's args are not valid: {error}") from error
    handles = {model.model_id: _replicas(model) for model in config.models}
    return _ingress(config).bind(config, handles)


def _ingress(config: AppConfig) -> Deployment:
    """Describe the ingress, with room beyond the requests that it accepts.

    Serve makes `max_ongoing_requests` the limit of all calls into the actor (above Ray's 1000). So a
    replica that accepts that many has no room for a health check, and is replaced.
    """
    options = _options(config.ingress_deployment_config)
    options["max_ongoing_requests"] = max_requests(config) + _ROOM
    return serve.deployment(Ingress).options(name=INGRESS_NAME, **options)


def _replicas(model: ModelConfig) -> Application:
    """Bind a model's deployment.

    A replica holds one request more than its slots, which starts when a slot is freed.
    """
    slots = model.engine_kwargs.max_slots or MOST_SLOTS
    options = {"max_ongoing_requests": slots + 1} | _options(model.deployment_config)
    options["request_router_config"] = RequestRouterConfig(
        request_routing_stats_period_s=_STATUS_PERIOD_S
    )
    if model.accelerator_type is not None:
        actor = {"num_gpus": 1, "accelerator_type": model.accelerator_type}
        options["ray_actor_options"] = actor | options.get("ray_actor_options", {})
    return (
        serve.deployment(MusicGenReplica)
        .options(name=MODEL_PREFIX + model.model_id, **options)
        .bind(model)
    )


def _options(config: DeploymentConfig) -> dict[str, Any]:
    return config.model_dump(exclude_none=True)
