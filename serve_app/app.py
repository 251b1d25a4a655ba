"""Builder of the Ray Serve application, for `import_path: serve_app.app:build_app`."""

import os
from pathlib import Path
from typing import Any

from ray.serve import Application, Deployment
from ray.serve.exceptions import RayServeException

from serve_app.config.app import MOST_SLOTS, AppConfig, ModelConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.config.reader import environment_variables, read_config
from serve_app.config.watermark import WatermarkConfig
from serve_app.deployments.actor_options import actor_options
from serve_app.deployments.autoscaling.context import MODEL_PREFIX
from serve_app.deployments.coordination import coordinator_of
from serve_app.deployments.ingress import Ingress, check_jobs, max_requests
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.serve_options import deployment
from serve_app.errors import ConfigError
from serve_app.gateway.keys import KeyRing
from serve_app.gateway.marking import Marking
from serve_app.gateway.observer import LogObserver

INGRESS_NAME = "Ingress"
_STATUS_PERIOD_S = 3600.0  # of Serve's own calls for the status, which it makes no use of
_ROUTER = "serve_app.deployments.wait_router:WaitRouter"
_ROOM = 100  # calls into the ingress beyond its requests: health checks, and refusals


class BuildError(ConfigError, RayServeException):  # type: ignore[misc]
    """A ConfigError of which Serve shows the message without a traceback."""


def build_app(args: dict[str, Any]) -> Application:
    """Bind one deployment `MusicGen:<model_id>` per model and the ingress in front of them.

    args: an AppConfig as plain values. Raises ConfigError that names every invalid option, and for
    missing API keys or signing credentials: the node that builds the application needs them as the
    ingress does. So it is with the packages that the stores of jobs need.
    """
    try:
        config = read_config(args)
        _check_keys(config)
        _check_signing(config)
        _check_jobs(config)
        _check_coordination(config)
        ingress = _ingress(config)
        watermark = config.provenance.watermark
        bound = [(model, _replicas(model, watermark)) for model in config.models]
    except ConfigError as error:
        raise BuildError(error.message) from None
    handles = {one.model_id: replicas for model, replicas in bound for one in model.with_fine_tunes}
    return ingress.bind(config, handles)


def _ingress(config: AppConfig) -> Deployment:
    """Describe the ingress, with room beyond the requests that it accepts.

    Serve makes `max_ongoing_requests` the limit of all calls into the actor (above Ray's 1000). So a
    replica that accepts that many has no room for a health check, and is replaced.
    """
    options = _options(config.ingress_deployment_config)
    options["max_ongoing_requests"] = max_requests(config) + _ROOM
    return deployment(INGRESS_NAME, Ingress, options)


def _check_keys(config: AppConfig) -> None:
    """Read the API keys once. A keys file may be on the ingress's nodes alone."""
    access = config.api.access
    if access.keys_file is None or Path(access.keys_file).exists():
        options = config.ingress_deployment_config.ray_actor_options
        KeyRing(access, lambda: None, dict(os.environ) | environment_variables(options))


def _check_signing(config: AppConfig) -> None:
    """Read the signing credentials once. Their files may be on the ingress's nodes alone."""
    provenance = config.provenance
    file = provenance.certificate_file
    if file is None or Path(file).exists():
        options = config.ingress_deployment_config.ray_actor_options
        environment = dict(os.environ) | environment_variables(options)
        Marking.of(provenance, LogObserver(), environment)


def _check_jobs(config: AppConfig) -> None:
    """Choose the stores of jobs once. They are opened by the ingress alone."""
    options = config.ingress_deployment_config.ray_actor_options
    check_jobs(config.jobs, dict(os.environ) | environment_variables(options))


def _check_coordination(config: AppConfig) -> None:
    """Choose the coordinator once. It is reached by the ingress alone."""
    options = config.ingress_deployment_config.ray_actor_options
    coordinator_of(config, INGRESS_NAME, dict(os.environ) | environment_variables(options))


def _replicas(model: ModelConfig, watermark: WatermarkConfig) -> Application:
    """Bind a model's deployment.

    A replica holds one request more than its slots, which starts when a slot is freed. Each
    fine-tune in memory has as many slots.
    """
    checkpoints = 1 + (model.fine_tunes.max_resident if model.fine_tunes else 0)
    slots = checkpoints * (model.engine_kwargs.max_slots or MOST_SLOTS)
    options = {"max_ongoing_requests": slots + 1} | _options(model.deployment_config)
    routing = {
        "request_router_class": _ROUTER,
        "request_routing_stats_period_s": _STATUS_PERIOD_S,
    }
    options["request_router_config"] = routing | (options.get("request_router_config") or {})
    if (actor := actor_options(model)) is not None:
        options["ray_actor_options"] = actor
    name = MODEL_PREFIX + model.model_id
    return deployment(name, MusicGenReplica, options).bind(model, watermark)


def _options(config: DeploymentConfig) -> dict[str, Any]:
    return config.model_dump(exclude_none=True)
