"""Configuration: the `args` of a Serve YAML file, frozen, parsed once, closed to unknown options.

Field names follow Ray Serve LLM where it has the same option. The text below each field is its
description (`Field.description`), which `make docs` prints in docs/configuration.md.
"""

from pathlib import PurePath
from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from serve_app.config.api import ApiConfig
from serve_app.config.closed_model import ClosedModel
from serve_app.config.coordination import CoordinationConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.config.edge import EdgeConfig
from serve_app.config.fine_tunes import FineTunesConfig
from serve_app.config.jobs import JobsConfig
from serve_app.config.model_loading import ModelLoadingConfig, Name
from serve_app.config.provenance import ProvenanceConfig
from serve_app.config.published import NON_COMMERCIAL, is_non_commercial
from serve_app.types import ENCODEC, MULTIBAND_DIFFUSION, Decoder

MAX_GRAPHS = 64  # every usual batch of MOST_SLOTS slots and 30 s, and some unusual ones
MOST_SLOTS = 64  # upper bound of the slots that an engine derives from its GPU's memory
DEMUCS = "adefossez/HTDemucs"  # the model whose stems AudioCraft takes
AUTO = "auto"  # model name that asks for the largest model expected to be fast enough


class EngineConfig(ClosedModel):
    """One replica's engine."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device of the model. `auto`: a GPU if the replica has one, else the CPU."""
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = "auto"
    """Precision of the language model. `auto`: `fp16` on a GPU (as AudioCraft), `fp32` on a CPU. On
    a CPU it is the format of the weights, and computation is in fp32, except that `int8` multiplies
    in int8. On a GPU `int8` is the format of the weights, which Triton multiplies in fp16."""
    kernels: Literal["auto", "eager", "triton"] = "auto"
    """Kernels of a step on a GPU. `triton`: this package's, for compute capability 8.0 and later;
    `eager`: PyTorch's; `auto`: `triton` if possible, on a T4 for attention and the draw alone."""
    kv_cache: Literal["auto", "int8"] = "auto"
    """Format of cached keys and values. `int8`: 8 bits and a scale, which halves the KV cache of a
    GPU; `auto`: the precision of the computation, on a CPU `int8` with `precision: int8`."""
    max_slots: int | None = Field(default=None, ge=1, le=1024)
    """Requests decoded together; 0.29, 0.88 or 1.18 GB of KV cache each (small, medium, large in
    fp16). Default: as many as the GPU's free memory holds, or the share of it that a fractional
    `num_gpus` grants, at most 64; 8 on a CPU."""
    max_graphs: int = Field(default=MAX_GRAPHS, ge=0, le=1024)
    """CUDA graphs of steps that a GPU keeps, about 24 MiB each; the usual batches' come first. A
    batch that none of them fits runs without one, which is slower. 0: no graphs."""
    max_duration_s: PositiveFloat = 120.0
    """Longest track, in seconds. Beyond the model's window (30 s) the window slides."""
    max_prompt_tokens: int = Field(default=256, ge=1, le=4096)
    """Longest prompt, in tokens of the text encoder."""
    first_chunk_s: PositiveFloat = 0.4
    """Seconds of audio in the first chunk of a stream."""
    chunk_s: PositiveFloat = 1.0
    """Seconds of audio in the largest chunks of a stream: chunks grow from the first, so that each is
    ready before the audio before it has been played."""
    prompt_cache_size: int = Field(default=64, ge=0)
    """Number of prompts whose conditioning is cached."""
    pin_batch_shape: bool = False
    """A seed gives bit-equal audio at any load. Steps are guided and, in PyTorch, padded."""
    keep_pace: bool | None = None
    """Beside streams, take no more requests than keep up with the music. Default: on a GPU."""
    num_threads: PositiveInt | None = None
    """CPU threads of the engine. Default: the replica's `num_cpus`."""
    multiband_diffusion_source: str | None = Field(default=None, min_length=1)
    """Folder that `musicgen convert-mbd` wrote, or the file of weights in it, on every node that runs
    the model. Requests may then ask for the decoder `multiband_diffusion`; it needs the extra
    `audiocraft`, 4.6 GB of memory and a GPU. Default: EnCodec's decoder alone."""
    melody_stems: Literal["none", "demucs"] = "none"
    """Source of a melody's chroma. `none`: the whole mix; `demucs`: its vocals and other instruments
    without drums and bass, as AudioCraft's, which needs the extra `demucs` and seconds for each melody."""
    melody_stems_source: str = Field(default=DEMUCS, min_length=1)
    """HTDemucs of `melody_stems: demucs`: a file of safetensors in Demucs' own form, a folder with one,
    or a hub id."""

    @property
    def decoders(self) -> tuple[Decoder, ...]:
        """Decoders of the codes that a request may ask for."""
        if self.multiband_diffusion_source is None:
            return (ENCODEC,)
        return (ENCODEC, MULTIBAND_DIFFUSION)


class ModelConfig(ClosedModel):
    """One served model: one deployment of replicas."""

    model_loading_config: ModelLoadingConfig
    """Name and source of the model."""
    aliases: tuple[Name, ...] = ()
    """Further names that the model answers to."""
    license: str | None = None
    """Licence of the weights, adapters included, reported to clients. Default: known for published
    models, whose licence holds for a merge with adapters, too; else `unknown`."""
    accelerator_type: str | None = None
    """GPU type that a replica needs: `T4`, `A10G`, `L4`, `L40S`, `A100`, `H100`. Default: any."""
    fallbacks: tuple[Name, ...] = ()
    """Ids of the models that answer instead, in this order, when the model's queue is full."""
    price_per_hour: PositiveFloat | None = None
    """Price of one replica, in US dollars per hour; answers then report their cost. Default:
    unknown."""
    max_queued_audio_s: PositiveFloat | None = None
    """Seconds of music that may wait, over the ingress replicas that `coordination` joins; beyond it
    `429`. Default: no limit."""
    engine_kwargs: EngineConfig = EngineConfig()
    """Engine of each replica."""
    deployment_config: DeploymentConfig = DeploymentConfig()
    """Serve's options of the model's deployment."""
    fine_tunes: FineTunesConfig | None = None
    """Fine-tunes that the model's replicas serve as well. Default: none."""

    @property
    def with_fine_tunes(self) -> "tuple[ModelConfig, ...]":
        """The model, and each of its fine-tunes as a model of its own in the same deployment."""
        fine_tunes = self.fine_tunes
        return (self, *(fine_tunes.beside(self, self.model_loading_config) if fine_tunes else ()))

    @property
    def model_id(self) -> str:
        return self.model_loading_config.model_id

    @property
    def public_source(self) -> str:
        """The source and its adapters as clients may see them: the last parts of folders' paths."""
        source = self.model_loading_config.model_source
        adapters = self.model_loading_config.adapter_source
        return " + ".join(map(_public, (source, *(adapter.source for adapter in adapters))))

    @property
    def weights_license(self) -> str:
        source = self.model_loading_config.model_source
        if self.license is not None:
            return self.license
        if is_non_commercial(source):
            return NON_COMMERCIAL
        is_ours = source.startswith("embedded:") and not self.model_loading_config.adapter_source
        return "Apache-2.0" if is_ours else "unknown"


def _public(source: str) -> str:
    is_path = source.startswith(("/", ".", "~")) or source.count("/") > 1
    return PurePath(source).name if is_path else source


class AppConfig(ClosedModel):
    """The whole application: the models behind one ingress."""

    models: tuple[ModelConfig, ...] = Field(min_length=1)
    """The served models, at least one."""
    default_model: str | None = None
    """Model that answers a request without a model. Default: the first of `models`."""
    api: ApiConfig = ApiConfig()
    """Limits and access of the HTTP API."""
    coordination: CoordinationConfig = CoordinationConfig()
    """Sharing of queues and limits among ingress replicas."""
    jobs: JobsConfig = JobsConfig()
    """Durable jobs, which outlive their connection."""
    provenance: ProvenanceConfig = ProvenanceConfig()
    """Marks of generated audio."""
    edge: EdgeConfig = EdgeConfig()
    """Limits of the edge, the HAProxy in front of Serve's HTTP proxy."""
    ingress_deployment_config: DeploymentConfig = DeploymentConfig()
    """Serve's options of the ingress deployment."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = self._names()
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"model ids and aliases must be unique, but {repeated} are used more than once: "
                "rename them"
            )
        if AUTO in names:
            raise ValueError(
                f"'{AUTO}' is reserved for the choice of a model by the service: "
                "give the model another name"
            )
        return self

    @model_validator(mode="after")
    def _default_is_served(self) -> Self:
        names = self._names()
        if self.default_model is not None and self.default_model not in names:
            raise ValueError(
                f"default_model '{self.default_model}' is not served: use one of {sorted(names)}"
            )
        return self

    @model_validator(mode="after")
    def _fallbacks_are_served(self) -> Self:
        ids = [model.model_id for model in self.served]
        for model in self.served:
            others = [name for name in ids if name != model.model_id]
            if unknown := [name for name in model.fallbacks if name not in others]:
                raise ValueError(
                    f"fallbacks of '{model.model_id}' name {unknown}, but must be ids of other "
                    f"models: use some of {others}"
                )
        return self

    @property
    def served(self) -> list[ModelConfig]:
        """All models that clients may name, fine-tunes included."""
        return [served for model in self.models for served in model.with_fine_tunes]

    @property
    def adapters(self) -> list[str]:
        """Sources of the adapters of all models."""
        loading = (model.model_loading_config for model in self.served)
        return [adapter.source for one in loading for adapter in one.adapter_source]

    @property
    def separators(self) -> list[str]:
        """Sources of Demucs of all models that take a melody's stems."""
        options = (model.engine_kwargs for model in self.models)
        return [one.melody_stems_source for one in options if one.melody_stems == "demucs"]

    def _names(self) -> list[str]:
        """Every id and alias, in the order of the configuration."""
        return [name for model in self.served for name in (model.model_id, *model.aliases)]
