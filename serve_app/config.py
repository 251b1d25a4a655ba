"""The configuration: what a Serve YAML's `args` hold, closed and frozen, parsed once.

Its field names are those of Ray Serve LLM where it has the same thing.
"""

from pathlib import PurePath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

_PUBLISHED = "facebook/musicgen-"
_NON_COMMERCIAL = "CC-BY-NC-4.0"
MOST_SLOTS = 64  # of an engine that counts them by its GPU's memory
AUTO = "auto"  # asks for the largest model that is expected to be quick enough

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class _Closed(BaseModel):
    """Unknown options are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class EngineConfig(_Closed):
    """One replica's engine.

    device: `auto` takes a GPU where there is one.
    precision: of the language model; `auto` is fp16 on a GPU (as AudioCraft) and fp32 on a CPU. On a CPU it is what
    weights are stored as; int8 is for CPUs alone.
    max_slots: requests decoded at the same time; None: as many as the GPU's memory holds, or 8 on a CPU.
    max_duration_s: the longest piece; one that is longer than the model's window (30 s) is made by sliding it.
    max_prompt_tokens: the longest prompt, in the text encoder's tokens.
    first_chunk_s, chunk_s: seconds of audio in the first chunk of a stream and in the later ones.
    prompt_cache_size: prompts whose conditioning is kept.
    pin_batch_shape: pad matrix products to all slots, so that a seed gives bit-equal codes alone and among neighbours.
    num_threads: CPU threads of the engine; None: what the replica's num_cpus grants.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = "auto"
    max_slots: Annotated[int, Field(ge=1, le=1024)] | None = None
    max_duration_s: PositiveFloat = 120.0
    max_prompt_tokens: Annotated[int, Field(ge=1, le=4096)] = 256
    first_chunk_s: PositiveFloat = 0.4
    chunk_s: PositiveFloat = 1.0
    prompt_cache_size: Annotated[int, Field(ge=0)] = 64
    pin_batch_shape: bool = False
    num_threads: PositiveInt | None = None

    @model_validator(mode="after")
    def _int8_is_for_cpus(self) -> Self:
        if self.precision == "int8" and self.device != "cpu":
            raise ValueError("precision int8 needs `device: cpu`")
        return self


class ModelLoadingConfig(_Closed):
    """Where a model comes from.

    model_id: the name callers use.
    model_source: a hub id, a folder, or `embedded:musicgen-nano`.
    text_encoder_source, codec_source: stand in for the repositories that an AudioCraft export only names.
    """

    model_id: Name
    model_source: Annotated[str, Field(min_length=1)]
    text_encoder_source: str | None = None
    codec_source: str | None = None


class DeploymentConfig(_Closed):
    """A deployment's options, passed on to Ray Serve as they are; None leaves Serve's own default.

    max_ongoing_requests: None follows the engine's `max_slots`, so that its batch can fill; 65 where that is None.
    """

    num_replicas: PositiveInt | None = None
    autoscaling_config: dict[str, Any] | None = None
    max_ongoing_requests: PositiveInt | None = None
    max_queued_requests: Annotated[int, Field(ge=-1)] | None = None
    ray_actor_options: dict[str, Any] | None = None
    health_check_period_s: PositiveFloat = 2.0
    health_check_timeout_s: PositiveFloat = 10.0
    graceful_shutdown_timeout_s: PositiveFloat = 120.0

    @model_validator(mode="after")
    def _one_way_to_scale(self) -> Self:
        if self.num_replicas is not None and self.autoscaling_config is not None:
            raise ValueError("give either num_replicas or autoscaling_config, not both")
        return self


class ModelConfig(_Closed):
    """One served model: one deployment of replicas.

    aliases: further names it answers to. license: of the weights; None: known for published models, else "unknown".
    accelerator_type: the kind of GPU its replicas need, such as T4, A10G or L4; None: any. fallbacks: the ids of the
    models that answer in its stead, in this order, when its queue is full. price_per_hour: of a replica, in US dollars;
    answers then tell what they cost. max_queued_audio_s: of music that may wait in an ingress replica; None: no bound.
    """

    model_loading_config: ModelLoadingConfig
    aliases: tuple[Name, ...] = ()
    license: str | None = None
    accelerator_type: str | None = None
    fallbacks: tuple[Name, ...] = ()
    price_per_hour: PositiveFloat | None = None
    max_queued_audio_s: PositiveFloat | None = None
    engine_kwargs: EngineConfig = EngineConfig()
    deployment_config: DeploymentConfig = DeploymentConfig()

    @property
    def model_id(self) -> str:
        return self.model_loading_config.model_id

    @property
    def public_source(self) -> str:
        """The source as callers may see it: of a folder's path, the last part alone."""
        source = self.model_loading_config.model_source
        is_path = source.startswith(("/", ".", "~")) or source.count("/") > 1
        return PurePath(source).name if is_path else source

    @property
    def weights_license(self) -> str:
        source = self.model_loading_config.model_source
        published = _NON_COMMERCIAL if source.startswith(_PUBLISHED) else "unknown"
        return self.license or ("Apache-2.0" if source.startswith("embedded:") else published)


class AccessConfig(_Closed):
    """Who may call, and how much. Where there are keys, callers must send one: `Authorization: Bearer KEY`.

    keys_env: the environment variable that holds `name:key,name:key`. keys_file: a file with a `name:key` a line, read
    again when it changes; without a key in it the service does not start, and later keeps the last keys. require_keys:
    refuse to start without any. The limits are one key's, in each ingress replica; None: no limit.
    """

    keys_env: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")] = "MUSICGEN_API_KEYS"
    keys_file: str | None = None
    require_keys: bool = False
    max_concurrent_requests: PositiveInt | None = None
    max_audio_s_per_minute: PositiveFloat | None = None


class ApiConfig(_Closed):
    """The HTTP side.

    max_prompt_chars: the longest prompt. max_header_bytes: the largest headers, together. max_body_bytes: the largest
    request body. max_upload_bytes: the same where a request may bring audio. max_audio_prompt_s: the longest audio that
    a piece may begin with.
    cors_origins: origins whose pages may call; `*` is any, without credentials.
    """

    max_prompt_chars: PositiveInt = 2000
    max_header_bytes: PositiveInt = 32_768
    max_body_bytes: PositiveInt = 65_536
    max_upload_bytes: PositiveInt = 16_777_216
    max_audio_prompt_s: PositiveFloat = 30.0
    cors_origins: tuple[str, ...] = ("*",)
    access: AccessConfig = AccessConfig()


class AppConfig(_Closed):
    """The whole application: the models behind one ingress, which of them answers by default, and the API."""

    models: Annotated[tuple[ModelConfig, ...], Field(min_length=1)]
    default_model: str | None = None
    api: ApiConfig = ApiConfig()
    ingress_deployment_config: DeploymentConfig = DeploymentConfig(max_ongoing_requests=1000)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        names = [name for model in self.models for name in (model.model_id, *model.aliases)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"model ids and aliases must be unique, but {repeated} stand more than once"
            )
        if self.default_model is not None and self.default_model not in names:
            raise ValueError(f"default_model '{self.default_model}' is not among {sorted(names)}")
        if AUTO in names:
            raise ValueError(
                f"no model can be called '{AUTO}': it stands for the largest that is quick enough"
            )
        ids = [model.model_id for model in self.models]
        for model in self.models:
            if unknown := [
                name for name in model.fallbacks if name not in ids or name == model.model_id
            ]:
                raise ValueError(
                    f"fallbacks of '{model.model_id}' must be other models' ids, but {unknown} are not"
                )
        return self
