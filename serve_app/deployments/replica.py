"""A replica: one engine with one model, on one GPU or on CPU cores."""

import contextlib
import logging
from collections.abc import AsyncGenerator
from time import perf_counter

from serve_app.config import ModelConfig
from serve_app.deployments.autoscaling import AUDIO_S, AUDIO_S_PER_S, MEAN_AUDIO_S
from serve_app.types import AudioChunk, GenerationRequest, ReplicaStatus

logger = logging.getLogger("ray.serve")


class MusicGenReplica:
    """Wraps an Engine. It is warm before it is constructed, so Serve sends it no request too early."""

    def __init__(self, config: ModelConfig) -> None:
        # Imported here, so that building the application on a head node imports no torch.
        import torch
        from transformers.utils import logging as transformers_logging

        from serve_app.engine.device import resolve_device, resolve_dtype
        from serve_app.engine.engine import Engine
        from serve_app.models.checkpoint import load_checkpoint

        started_at = perf_counter()
        transformers_logging.set_verbosity_error()  # it warns of MusicGen's special token in every configuration
        torch.set_num_threads(1)  # the engine's thread has the only pool: see engine.py
        device = resolve_device(config.engine_kwargs)
        loading = config.model_loading_config
        checkpoint = load_checkpoint(
            loading.model_source,
            dtype=resolve_dtype(config.engine_kwargs, device),
            device=device,
            text_encoder_source=loading.text_encoder_source,
            codec_source=loading.codec_source,
        )
        loaded_at = perf_counter()
        self._engine = Engine(checkpoint, config.engine_kwargs)
        self._engine.warm_up()
        logger.info(
            "Model '%s' is ready on %s: loaded in %.1f s, warmed up in %.1f s",
            config.model_id, device, loaded_at - started_at, perf_counter() - loaded_at,
        )  # fmt: skip

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[AudioChunk, None]:
        """The request's audio, chunk by chunk. A caller that goes away frees its slot."""
        async with contextlib.aclosing(self._engine.generate(request)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def status(self) -> ReplicaStatus:
        return ReplicaStatus(self._engine.describe(), self._engine.stats())

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What DrainTimePolicy goes by, in seconds of music: held here, made a second by all slots, in a piece."""
        stats, rate = self._engine.stats(), self._engine.describe().frame_rate
        return {
            AUDIO_S: stats.queued_audio_s + stats.running_audio_s,
            AUDIO_S_PER_S: stats.slots / (rate * stats.step_s) if stats.step_s else 0.0,
            MEAN_AUDIO_S: stats.mean_audio_s,
        }

    def check_health(self) -> None:
        """Serve replaces a replica whose engine has stopped."""
        self._engine.check_health()
