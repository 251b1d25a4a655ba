"""Options of a deployment, checked by Ray Serve's own classes when the application is built."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve import Deployment
from ray.serve.config import (
    AutoscalingConfig,
    DeploymentActorConfig,
    GangSchedulingConfig,
    RequestRouterConfig,
)

from serve_app.errors import ConfigError

# Sections of which Serve ignores unknown options, so that a slip is never seen.
_OPEN_SECTIONS: Mapping[str, type[BaseModel]] = {
    "autoscaling_config": AutoscalingConfig,
    "deployment_actors": DeploymentActorConfig,
    "gang_scheduling_config": GangSchedulingConfig,
    "request_router_config": RequestRouterConfig,
}


def deployment(name: str, replica: type, options: dict[str, Any]) -> Deployment:
    """Describe a deployment of `replica` to Serve.

    options: as of a DeploymentConfig. Raises ConfigError that names every option that Serve refuses or does not know.
    """
    faults = [fault for option, value in options.items() for fault in _unknown(option, value)]
    if faults:
        raise _refusal(name, faults)
    try:
        described: Deployment = serve.deployment(name=name, **options)(replica)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise _refusal(name, [f"{_dotted(one['loc'])}: {one['msg']}" for one in found]) from None
    except (ValueError, TypeError) as error:
        raise _refusal(name, [str(error)]) from None
    return described


def _refusal(name: str, faults: list[str]) -> ConfigError:
    lines = "".join(f"\n- {fault}" for fault in faults)
    return ConfigError(f"Ray Serve refuses the options of deployment '{name}':{lines}")


def _unknown(option: str, value: Any) -> list[str]:
    """List the options of a section that Serve's class does not have."""
    if (section := _OPEN_SECTIONS.get(option)) is None:
        return []
    entries = value if isinstance(value, list) else [value]
    given = [name for entry in entries if isinstance(entry, dict) for name in entry]
    known = sorted(section.model_fields)
    return [
        f"{option}.{name}: unknown option. This section has: {', '.join(known)}."
        for name in given
        if name not in known
    ]


def _dotted(path: tuple[int | str, ...]) -> str:
    return ".".join(map(str, path))
