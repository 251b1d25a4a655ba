"""Options of a deployment, which Ray Serve takes: the same names, and Serve's own meaning.

The fields are those of `ray.serve.schema.DeploymentSchema`, which a launcher must not import, because that takes
seconds. A test compares them. Sections within an option are checked by Serve when the application is built.
"""

from typing import Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from serve_app.config.closed_model import ClosedModel

_Section = dict[str, Any]


class DeploymentConfig(ClosedModel):
    """Options of a deployment, passed on to Ray Serve; None leaves Serve's own default."""

    num_replicas: PositiveInt | Literal["auto"] | None = None
    """Fixed number of replicas, which excludes `autoscaling_config`; `auto`: Serve's own scaling. Default: 1."""
    autoscaling_config: _Section | None = None
    """Serve's `AutoscalingConfig`: a model scales on seconds of music with `DrainTimePolicy`, or on
    the number of requests with `target_ongoing_requests`. Default: no scaling."""
    max_ongoing_requests: PositiveInt | None = None
    """Requests in one replica at a time. Default: `max_slots` + 1, so that one waits beside a full
    batch (65 if `max_slots` is not set); 1000 for the ingress, beyond which it answers `429`."""
    max_queued_requests: int | None = Field(default=None, ge=-1)
    """Requests that wait in one ingress replica; beyond it `429`. Default: no limit, as -1."""
    ray_actor_options: _Section | None = None
    """Resources of one replica: `num_gpus`, `num_cpus` and Ray's others; `label_selector`: labels that its node must
    have. Default: Ray's."""
    health_check_period_s: PositiveFloat = 2.0
    """Seconds between health checks. Three failures in a row replace a replica."""
    health_check_timeout_s: PositiveFloat = 10.0
    """Seconds until a health check without an answer counts as a failure."""
    graceful_shutdown_timeout_s: NonNegativeFloat = 600.0
    """Seconds that a replica may take to finish its tracks before it stops. Default: as long as a request may take."""
    graceful_shutdown_wait_loop_s: NonNegativeFloat | None = None
    """Seconds between checks for unfinished requests of a replica that stops. Default: 2."""
    max_surge_percent: int | None = Field(default=None, ge=0, le=100)
    """Replicas beyond the wanted number during an update, in percent of it, rounded up: new ones start before old ones
    stop, which needs room for them. Default: 0, an old replica stops first."""
    rolling_update_percentage: float | None = Field(default=None, gt=0, le=1)
    """Share of the replicas that an update replaces at a time. Default: 0.2, at least one."""
    max_replicas_per_node: int | None = Field(default=None, ge=1, le=100)
    """Most replicas of the deployment on one node. Default: no limit."""
    max_constructor_retry_count: PositiveInt | None = None
    """Failed starts of a replica after which the deployment has failed. Default: 20, at most three for each replica."""
    user_config: _Section | None = None
    """Serve's configuration for `reconfigure`. It has no effect here; each replica logs a warning. Default: none."""
    backpressure_config: _Section | None = None
    """Answer of Serve's proxy beyond the ingress's `max_queued_requests`: `status_code`, `retry_after_s`.
    Default: `503`."""
    logging_config: _Section | None = None
    """Serve's `LoggingConfig` for this deployment. Default: that of the file."""
    request_router_config: _Section | None = None
    """Serve's `RequestRouterConfig`: the choice of a replica for a request. Default: of two drawn at random the
    one with fewer requests."""
    placement_group_bundles: list[dict[str, float]] | None = None
    """Resources of a placement group for each replica; excludes `max_replicas_per_node`. Default: no group."""
    placement_group_strategy: str | None = None
    """Strategy of that group: `PACK`, `SPREAD`, `STRICT_PACK` or `STRICT_SPREAD`. Default: `PACK`."""
    placement_group_bundle_label_selector: list[dict[str, str]] | None = None
    """Labels that the nodes of its bundles must have. Default: any."""
    gang_scheduling_config: _Section | None = None
    """Serve's `GangSchedulingConfig`: replicas that start together or not at all. Default: none."""
    deployment_actors: list[_Section] | None = None
    """Further actors that all replicas share, each with `name`, `actor_class`, `init_kwargs`, `actor_options`. Default:
    none."""

    @field_validator("num_replicas", mode="before")
    @classmethod
    def _number_or_auto(cls, value: Any) -> Any:
        if value in (None, "auto") or (isinstance(value, int) and value > 0):
            return value
        raise ValueError("Input should be a whole number above 0, or auto")

    @model_validator(mode="after")
    def _one_way_to_scale(self) -> Self:
        has_number = self.num_replicas not in (None, "auto")
        if has_number and self.autoscaling_config is not None:
            raise ValueError(
                f"num_replicas ({self.num_replicas}) and autoscaling_config exclude each other: "
                "give one, not both"
            )
        return self
