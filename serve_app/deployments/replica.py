"""A replica: one engine with one model, on one GPU or on CPU cores."""

import contextlib
import gc
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

import psutil

from serve_app.config.app import ModelConfig
from serve_app.config.watermark import WatermarkConfig
from serve_app.deployments.actor_options import gpu_share
from serve_app.deployments.autoscaling.context import (
    AUDIO_S,
    AUDIO_S_PER_S,
    JOBS_AUDIO_S,
    MADE_AUDIO_S_PER_S,
    MEAN_AUDIO_S,
    WAITING_AUDIO_S,
)
from serve_app.deployments.hang_guard import guard_replica
from serve_app.deployments.jobs_note import JobsNote
from serve_app.deployments.logs import log_with_serve, warn_of_user_config
from serve_app.deployments.metrics import ColdStart, ReplicaMetrics
from serve_app.deployments.replica_status import to_plain
from serve_app.deployments.resident_models import announce
from serve_app.deployments.tracing import trace_timings
from serve_app.deployments.transport import PackedChunk, pack
from serve_app.errors import ConfigError, ReplicaFailed, ServeAppError
from serve_app.model_status import EngineStats, ReplicaStatus
from serve_app.types import AudioChunk, GenerationRequest, StreamItem

if TYPE_CHECKING:
    from serve_app.checkpoints.checkpoint import Checkpoint
    from serve_app.engine.engine import Engine
    from serve_app.engine.fine_tunes import FineTunes
    from serve_app.models.musicgen.execution import ExecutionBackend

logger = logging.getLogger(__name__)


class MusicGenReplica:
    """Wrapper of an Engine, warm once constructed: Serve routes no request to a cold one.

    watermark: of its tracks; None: they are not marked. A replica that cannot load it does not start.
    """

    def __init__(self, config: ModelConfig, watermark: WatermarkConfig | None = None) -> None:
        log_with_serve()
        process_s = time() - psutil.Process().create_time()
        try:
            with _gc_paused():
                self._engine, self._fine_tunes, self.cold_start = _warm_engine(
                    config, watermark or WatermarkConfig(), process_s
                )
        except ServeAppError as error:  # Serve prints its traceback at each try
            logger.critical("Model '%s' cannot start: %s", config.model_id, error.message)
            raise type(error)(error.message) from None
        logger.info("Model '%s' is ready, in seconds: %s", config.model_id, self.cold_start)
        self._metrics = ReplicaMetrics(config.model_id, self.cold_start)
        self._jobs = JobsNote()
        self._guarding = guard_replica(self._engine.works)

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        """Stream the items of the request, packed. Closing the iterator frees its slot."""
        try:
            async with (
                self._lane(request.model) as lane,
                contextlib.aclosing(self._engine.generate(request, lane)) as items,
            ):
                async for item in items:
                    if isinstance(item, AudioChunk) and item.timings is not None:
                        trace_timings(request, item.timings)
                    yield pack(item, request)
        except ReplicaFailed:
            logger.critical("The engine has failed: the replica exits")
            os._exit(1)  # Serve replaces a dead process at once, an unhealthy one only later

    @contextlib.asynccontextmanager
    async def _lane(self, model_id: str) -> AsyncIterator[str]:
        """Keep the lane of a fine-tune in memory, and yield its name; that of the model is empty."""
        if self._fine_tunes is None or model_id not in self._fine_tunes:
            yield ""
            return
        async with self._fine_tunes.hold(model_id):
            yield model_id

    def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Tell that a `user_config` has no effect. Serve starts no replica without this method."""
        warn_of_user_config(user_config)

    async def wake(self) -> None:
        """Do nothing: Serve starts a replica to take the call."""

    async def check_prompt(self, prompt: str) -> None:
        """Raise PromptTooLong for a prompt of too many tokens."""
        self._engine.check_prompt(prompt)

    async def note_jobs(self, audio_s: float, model_id: str = "") -> None:
        """Take note of the seconds of music in a model's queued jobs, for the autoscaling policy."""
        self._jobs.take(audio_s, model_id)

    def record_routing_stats(self) -> dict[str, Any]:
        """Report the ReplicaStatus, as plain values.

        Serve calls this method beside the replica's requests, however many these are.
        """
        return to_plain(ReplicaStatus(self._engine.describe(), self._engine.stats()))

    def record_replica_metadata(self) -> dict[str, int]:
        """Report the slots, for WaitRouter. Serve calls this method once, at the start."""
        return {"slots": self._engine.stats().slots}

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Report DrainTimePolicy's inputs.

        Music held and queued (s), present rate and that of all admitted slots (s/s), mean requested
        duration (s).
        """
        stats = self._engine.stats()
        frame_rate = self._engine.describe().frame_rate
        return {
            AUDIO_S: stats.queued_audio_s + stats.running_audio_s,
            WAITING_AUDIO_S: stats.queued_audio_s,
            MADE_AUDIO_S_PER_S: stats.real_time_factor,
            AUDIO_S_PER_S: _full_rate(stats) / frame_rate,
            MEAN_AUDIO_S: stats.mean_audio_s,
            JOBS_AUDIO_S: self._jobs.audio_s,
        }

    def check_health(self) -> None:
        """Raise ReplicaFailed once the engine has stopped.

        Also exports metrics, because Serve calls this every few seconds.
        """
        self._metrics.report(self._engine.stats())
        self._engine.check_health()


def _full_rate(stats: EngineStats) -> float:
    """Return the frames per second of a batch that fills the admitted slots; 0: not known yet."""
    return stats.admitted_slots / stats.full_pace_s if stats.full_pace_s else 0.0


def _warm_engine(
    config: ModelConfig, watermark: WatermarkConfig, process_s: float
) -> "tuple[Engine, FineTunes | None, ColdStart]":
    """Load the model, warm up its engine, and time each stage.

    process_s: seconds from the start of the process to the call of the constructor.
    """
    started_at = perf_counter()
    # Imported here, so that building the application on a head node imports no torch.
    import torch
    from transformers.utils import logging as transformers_logging

    from serve_app.checkpoints.multiband_diffusion import load_multiband_diffusion
    from serve_app.checkpoints.stems import load_separator
    from serve_app.checkpoints.watermark import load_watermark
    from serve_app.engine.device import is_out_of_memory
    from serve_app.engine.engine import Engine

    imported_at = perf_counter()
    # Otherwise it warns of MusicGen's special token in every configuration.
    transformers_logging.set_verbosity_error()
    torch.set_num_threads(1)  # the engine's thread has the only pool: see engine.py
    try:
        checkpoint, backend = _load(config)
        mark = load_watermark(watermark, checkpoint.sample_rate, checkpoint.codec.codebooks.device)
        options = config.engine_kwargs
        diffusion = load_multiband_diffusion(options.multiband_diffusion_source, checkpoint.codec)
        stems = load_separator(options.melody_stems, options.melody_stems_source, checkpoint)
        loaded_at = perf_counter()
        share = gpu_share(config)
        places = config.fine_tunes.max_resident if config.fine_tunes else 0
        engine = Engine(checkpoint, options, backend, share, mark, diffusion, stems, places)
        fine_tunes = _fine_tunes(config, engine)
        engine.warm_up()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise ConfigError(
            f"The GPU has too little memory for model '{config.model_id}': lower max_slots, or "
            f"max_duration_s below the model's window, or take a larger card ({error})"
        ) from error
    return (
        engine,
        fine_tunes,
        ColdStart(
            process=process_s,
            imports=imported_at - started_at,
            weights=loaded_at - imported_at,
            graphs=engine.graphs_s,
            warm_up=perf_counter() - loaded_at - engine.graphs_s,
        ),
    )


def _fine_tunes(config: ModelConfig, engine: "Engine") -> "FineTunes | None":
    """Prepare the loading of the model's fine-tunes; None for a model without."""
    from serve_app.engine.fine_tunes import FineTunes

    if (options := config.fine_tunes) is None:
        return None
    loading = {one.model_id: one.model_loading_config for one in config.with_fine_tunes[1:]}
    base = config.model_loading_config
    return FineTunes(engine, base, loading, options.max_resident, options.max_wait_s, announce)


def _load(config: ModelConfig) -> "tuple[Checkpoint, ExecutionBackend]":
    """Load the model in its precision on its device, and prepare it for its backend."""
    from serve_app.checkpoints.checkpoint import load_checkpoint
    from serve_app.engine.device import loading_dtype, resolve_device, resolve_precision
    from serve_app.models.musicgen.execution import prepare_model

    device = resolve_device(config.engine_kwargs)
    precision = resolve_precision(config.engine_kwargs, device)
    loading = config.model_loading_config
    checkpoint = load_checkpoint(
        loading.pinned_source,
        dtype=loading_dtype(precision, device),
        device=device,
        text_encoder_source=loading.text_encoder_source,
        codec_source=loading.codec_source,
        form=loading.checkpoint_form,
        adapters=loading.adapter_source,
    )
    options = config.engine_kwargs
    backend = prepare_model(checkpoint.musicgen, precision, options.kernels, options.kv_cache)
    return checkpoint, backend


@contextlib.contextmanager
def _gc_paused() -> Iterator[None]:
    """Disable GC during start-up and freeze survivors: saves about 20 % of start time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
