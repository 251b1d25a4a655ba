"""The coordinator that the configuration asks for."""

from collections.abc import Mapping

from serve_app.config.app import AppConfig
from serve_app.deployments.ledger_actor import ActorCoordinator
from serve_app.errors import ConfigError
from serve_app.gateway.permits.coordinator import Coordinator
from serve_app.gateway.permits.redis_coordinator import RedisCoordinator


def coordinator_of(
    config: AppConfig, app_name: str, environment: Mapping[str, str]
) -> Coordinator | None:
    """Build the coordinator; None: each ingress replica counts for itself. Nothing is connected.

    Raises ConfigError for a server without an address, or without the package for it.
    """
    backend = config.coordination.backend
    if backend == "redis":
        return _redis(config, environment)
    if backend == "actor" or (backend == "auto" and _has_several(config)):
        return ActorCoordinator(app_name, config.ingress_deployment_config)
    return None


def _redis(config: AppConfig, environment: Mapping[str, str]) -> RedisCoordinator:
    variable = config.coordination.redis_url_env
    url = environment.get(variable)
    if not url:
        raise ConfigError(
            f"coordination.backend is redis, but the environment variable {variable} is not set: "
            "set it to the server's address, such as rediss://:PASSWORD@HOST:6379/0"
        )
    return RedisCoordinator(url, config.coordination.name)


def _has_several(config: AppConfig) -> bool:
    """Whether there may be more than one ingress replica."""
    ingress = config.ingress_deployment_config
    scaling = ingress.autoscaling_config or {}
    if ingress.num_replicas == "auto":
        return True
    return bool(max(ingress.num_replicas or 1, scaling.get("max_replicas", 1)) > 1)
