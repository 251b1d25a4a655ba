"""Durable jobs."""

from typing import Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from serve_app.config.closed_model import ClosedModel


class WebhookConfig(ClosedModel):
    """Messages to callers' addresses."""

    allow_private_addresses: bool = False
    """Deliver to private, loopback and link-local addresses, too. Otherwise a webhook or an upload
    to one is refused."""
    timeout_s: PositiveFloat = 15.0
    """Seconds that a receiver may take to answer."""
    progress_interval_s: PositiveFloat = 2.0
    """Shortest time between two progress messages of one job, in seconds."""


class JobsConfig(ClosedModel):
    """Durable jobs: `/v1/jobs`, and the dialects that stand on it."""

    enabled: bool = True
    """Serve jobs. `false`: their routes answer `503` `jobs_disabled`."""
    store: str | None = Field(default=None, pattern=r"^(sqlite:///.+|postgres(ql)?://.+)$")
    """Database: `sqlite:///relative`, `sqlite:////absolute` or `postgresql://...`. SQLite serves one
    node. Default: the variable of `store_env`, else an SQLite file in the user's data folder."""
    store_env: str = Field(default="MUSICGEN_JOBS_STORE", pattern=r"^[A-Z][A-Z0-9_]*$")
    """Environment variable of the ingress that holds the database's address, which may hold a
    password, instead of `store`."""
    results: str | None = None
    """Store of finished files: a folder, or `s3://bucket/prefix`. Default: a folder beside the SQLite
    file, or in the user's data folder."""
    s3_endpoint_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """Address of an S3-compatible store. Credentials come from the environment, by AWS's names.
    Default: AWS's own."""
    public_url: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$")
    """Address of the service as callers see it, for links in jobs and webhooks. Default: that of
    each request."""
    kept_s: PositiveFloat = 86_400.0
    """Seconds for which results are kept after the end of a job, if it names no other time."""
    max_kept_s: PositiveFloat = 604_800.0
    """Longest time that a job may name for that, in seconds."""
    row_kept_s: PositiveFloat = 604_800.0
    """Seconds for which a job is listed after its end."""
    link_s: PositiveFloat = 3600.0
    """Seconds for which a signed download link is valid."""
    max_queued: PositiveInt = 10_000
    """Jobs of one key that have not ended; beyond it `429`."""
    max_attempts: PositiveInt = 3
    """Starts of one job, beyond which a lost worker fails it."""
    lease_s: float = Field(default=30.0, ge=3.0)
    """Seconds without a sign of life after which another worker takes a job over."""
    max_running: PositiveInt | None = None
    """Jobs that one ingress replica works on at a time. Default: the free slots of its models."""
    patience_s: PositiveFloat = 60.0
    """Seconds after which a job that waits in an engine's queue counts as an interactive request,
    which otherwise goes first."""
    log_prompts: bool = False
    """Write prompts of jobs into the log."""
    webhooks: WebhookConfig = WebhookConfig()
    """Messages that tell callers of their jobs."""

    @model_validator(mode="after")
    def _times_go_together(self) -> Self:
        if self.kept_s > self.max_kept_s:
            raise ValueError(
                f"kept_s ({self.kept_s:g}) must be at most max_kept_s ({self.max_kept_s:g})"
            )
        return self
