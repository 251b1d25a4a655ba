"""The service with a further model, `recorded`, that plays one track again and again in real time.

Its replica makes the track once, with the model's own engine, and sends it in an engine's chunks at
the pace of the music. So the CPU time of the service is that of carrying audio, and of nothing else.
"""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from ray.serve import Application

from serve_app import app
from serve_app.config.app import ModelConfig
from serve_app.config.watermark import WatermarkConfig
from serve_app.deployments.replica import MusicGenReplica
from serve_app.deployments.transport import PackedChunk, pack
from serve_app.engine.chunk_sizes import chunk_sizes
from serve_app.types import AudioChunk, FinishReason, GenerationRequest, StreamItem, Timings

RECORDED = "recorded"
LISTENERS = 400  # that one replica plays to
_RECORDED_S = 8.0
_FIRST_FRAMES = 20
_MOST_FRAMES = 50
_FRAME_RATE = 50


def build_app(args: dict[str, Any]) -> Application:
    """Build the application of serve_app, whose model `recorded` plays a recorded track."""
    with patch.object(app, "MusicGenReplica", PlayingReplica):
        return app.build_app(args)


def with_recorded(args: dict[str, Any]) -> dict[str, Any]:
    """Add the model `recorded` to the configuration of the embedded model."""
    [model] = args["models"]
    loading = model["model_loading_config"] | {"model_id": RECORDED}
    deployment = model["deployment_config"] | {
        "ray_actor_options": {"num_cpus": 0.1},
        "max_ongoing_requests": LISTENERS,
    }
    recorded = model | {
        "model_loading_config": loading,
        "aliases": [],
        "max_queued_audio_s": 3600.0 * LISTENERS,
        "deployment_config": deployment,
    }
    return args | {"models": [model, recorded]}


class PlayingReplica(MusicGenReplica):
    """A replica whose `generate` plays the recorded track, if its model is `recorded`."""

    def __init__(self, config: ModelConfig, watermark: WatermarkConfig | None = None) -> None:
        super().__init__(config, watermark)
        self._plays = config.model_id == RECORDED
        self._samples: NDArray[np.float32] | None = None
        self._timings: Timings | None = None
        self._rate = 0
        self._recording = asyncio.Lock()

    async def generate(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        """Stream the request's audio, made by the engine or recorded."""
        items = self._play(request) if self._plays else super().generate(request)
        async for item in items:
            yield item

    async def _play(
        self, request: GenerationRequest
    ) -> AsyncGenerator[StreamItem | PackedChunk, None]:
        samples = await self._track()
        frames = round(request.duration_s * _FRAME_RATE)
        hop = self._rate // _FRAME_RATE
        started_at = monotonic()
        made = 0
        for size in chunk_sizes(_FIRST_FRAMES, _MOST_FRAMES):
            size = min(size, frames - made)
            positions = np.arange(made * hop, (made + size) * hop) % samples.shape[1]
            await asyncio.sleep(started_at + made / _FRAME_RATE - monotonic())
            made += size
            yield pack(self._chunk(samples[:, positions], made == frames), request)
            if made == frames:
                return

    def _chunk(self, samples: NDArray[np.float32], is_last: bool) -> AudioChunk:
        finish = FinishReason.LENGTH if is_last else None
        return AudioChunk(samples, self._rate, finish, self._timings if is_last else None)

    async def _track(self) -> NDArray[np.float32]:
        """Return the recorded track [channels, n]; the first caller waits until it is made."""
        async with self._recording:
            if self._samples is None:
                self._samples = await self._record()
            return self._samples

    async def _record(self) -> NDArray[np.float32]:
        request = GenerationRequest(
            request_id=RECORDED, model=RECORDED, prompt="lofi beat", duration_s=_RECORDED_S
        )
        chunks = [c async for c in self._engine.generate(request) if isinstance(c, AudioChunk)]
        self._rate = chunks[0].sample_rate
        self._timings = chunks[-1].timings
        return np.concatenate([chunk.samples for chunk in chunks], axis=1)
