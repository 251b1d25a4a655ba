"""Check 5: prompts are encoded in threads while graphs are captured and steps run."""

import asyncio
import copy
import math
from collections.abc import Iterator

import numpy as np

from benchmarks.gpu_check.company import audio
from benchmarks.gpu_check.measurement import Measurement, Setting, at_least, holds
from benchmarks.gpu_check.models import MOST_SLOTS, checkpoint, request, running
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.engine.audio_prompter import encode_audio_prompt
from serve_app.types import Audio, GenerationRequest

_WORDS = "calm piano over soft strings with a slow lofi beat and distant bells"


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield whether all of many unlike requests get their music, and the codes of audio prompts."""
    model = checkpoint(setting)
    count = 4 if setting.tiny else MOST_SLOTS
    duration_s = 1.0 if setting.tiny else 4.0
    requests = [_request(n, duration_s, model.sample_rate) for n in range(count)]
    with running(model, setting, warm=False, max_slots=count, max_duration_s=30.0) as engine:

        async def generate() -> list[object]:
            tasks = (audio(engine, one) for one in requests)
            return list(await asyncio.gather(*tasks, return_exceptions=True))

        results = asyncio.run(generate())
        healthy = engine.loop.alive
    errors = [repr(result) for result in results if isinstance(result, BaseException)]
    finite = all(np.isfinite(one).all() for one in results if isinstance(one, np.ndarray))
    yield holds(f"{count} requests that begin before any graph", not errors, _shown(errors))
    yield holds("their audio is finite, and the engine goes on", finite and healthy)
    yield at_least("codes of an audio prompt as the CPU's", _codes_as_on_cpu(model), 0.99)


def _shown(errors: list[str]) -> str:
    return errors[0][:200] if errors else "no error"


def _request(number: int, duration_s: float, sample_rate: int) -> GenerationRequest:
    """Return a request; every second one has an audio prompt, every third one no guidance."""
    prompt = " ".join([_WORDS] * (1 + number % 3))[: 20 + 40 * (number % 4)]
    sampling = {"cfg_coef": 1.0} if number % 3 == 2 else {}
    heard = tone(sample_rate, 0.25 + 0.05 * (number % 5)) if number % 2 else None
    return request(prompt, duration_s, number, sampling=sampling, audio_prompt=heard)


def tone(sample_rate: int, duration_s: float) -> Audio:
    """Return a chord with a decay, of one channel."""
    time = np.arange(round(duration_s * sample_rate), dtype=np.float32) / sample_rate
    chord = sum(np.sin(2 * math.pi * hz * time) for hz in (220.0, 277.2, 329.6))
    return Audio((0.2 * chord * np.exp(-time)).astype(np.float32)[None], sample_rate)


def _codes_as_on_cpu(model: Checkpoint) -> float:
    """Return the share of an audio prompt's codes that are the same on the device and on the CPU."""
    heard = tone(model.sample_rate, 2.0)
    codes = encode_audio_prompt(model, heard).cpu()
    codec = copy.deepcopy(model.codec).to("cpu")
    on_cpu = Checkpoint(model.musicgen, codec, model.text_encoder)
    return float((codes == encode_audio_prompt(on_cpu, heard)).double().mean())
