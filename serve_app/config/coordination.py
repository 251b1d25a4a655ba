"""Coordination of ingress replicas: `args.coordination`."""

from typing import Literal

from pydantic import Field

from serve_app.config.closed_model import ClosedModel
from serve_app.config.model_loading import Name


class CoordinationConfig(ClosedModel):
    """Limits and queues that hold for all ingress replicas together."""

    backend: Literal["auto", "local", "actor", "redis"] = "auto"
    """Keeper of what requests hold. `local`: each ingress replica counts its own requests; `actor`:
    an actor of Ray, for all replicas of one cluster; `redis`: a server, for several clusters; `auto`:
    `actor` if there may be several ingress replicas, else `local`."""
    redis_url_env: str = Field(
        default="MUSICGEN_COORDINATION_REDIS_URL", pattern=r"^[A-Z][A-Z0-9_]*$"
    )
    """Environment variable of the ingress that holds the address of Redis, such as
    `rediss://:password@host:6379/0`. It needs the extra `redis`."""
    name: Name = "musicgen"
    """Name of the limits in Redis: services with the same name share them."""
