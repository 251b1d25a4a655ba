"""Check 4: with `pin_batch_shape`, a track alone is bit-equal to the same track among others."""

import asyncio
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.gpu_check.measurement import Measurement, Setting, found, holds
from benchmarks.gpu_check.models import MOST_SLOTS, checkpoint, request, running
from serve_app.engine.engine import Engine
from serve_app.types import AudioChunk, GenerationRequest

_SEED = 7
_DURATION_S = 8.0  # 400 steps: across a length that graphs are captured for
_PROMPT = "lofi beat, 80 bpm"
_OTHERS = ("calm ambient piano", "happy bells, driving drums, 140 bpm", "a")


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield equality by the card's own kernels, and by PyTorch's attention, of which cuDNN's is one.

    The service turns cuDNN's attention off.
    """
    yield _alone_as_among_others(setting, "auto", cudnn=False)
    yield _alone_as_among_others(setting, "eager", cudnn=False)
    if setting.on_gpu:
        yield _alone_as_among_others(setting, "eager", cudnn=True)


def _alone_as_among_others(setting: Setting, kernels: str, cudnn: bool) -> Measurement:
    slots = 4 if setting.tiny else MOST_SLOTS
    options = {
        "max_slots": slots,
        "pin_batch_shape": True,
        "max_duration_s": 30.0,
        "kernels": kernels,
    }
    with running(checkpoint(setting), setting, warm=False, **options) as engine:
        torch.backends.cuda.enable_cudnn_sdp(cudnn)
        engine.warm_up()
        mine = request(_PROMPT, 1.5 if setting.tiny else _DURATION_S, _SEED)
        alone = asyncio.run(audio(engine, mine))
        among = asyncio.run(_among(engine, mine, slots - 1, setting))
    equal = np.array_equal(alone, among)
    attention = ", cuDNN's attention" if cudnn else ""
    name = f"audio alone as among {slots}, kernels: {kernels}{attention}"
    value = "bit-equal" if equal else f"{float(np.abs(alone - among).max()):.1e} apart"
    return found(name, value) if cudnn else holds(name, equal, value)


async def _among(
    engine: Engine, mine: GenerationRequest, others: int, setting: Setting
) -> NDArray[np.float32]:
    """Generate the track while others, of other prompts and lengths, run, begin and end."""
    longest_s = 1.5 if setting.tiny else _DURATION_S
    requests = [
        request(_OTHERS[n % len(_OTHERS)], longest_s * (n + 1) / others, 100 + n)
        for n in range(others)
    ]
    tasks = [asyncio.create_task(audio(engine, one)) for one in requests[: others // 2]]
    track = asyncio.create_task(audio(engine, mine))
    tasks += [asyncio.create_task(audio(engine, one)) for one in requests[others // 2 :]]
    await asyncio.gather(*tasks)
    return await track


async def audio(engine: Engine, one: GenerationRequest) -> NDArray[np.float32]:
    """Generate a track: samples [channels, n]."""
    chunks = [item async for item in engine.generate(one) if isinstance(item, AudioChunk)]
    return np.concatenate([chunk.samples for chunk in chunks], axis=1)
