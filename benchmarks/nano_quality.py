"""Measure whether the embedded model follows prompts that are not in its training data.

python -m benchmarks.nano_quality

Each figure has two ceilings, the same measure on the training data's own sound and on the codec's
reconstruction of it, and a floor, untrained weights. Sampling parameters are the defaults. The last
line is JSON: the figures, their bars, and those that are `missed`. `nano_variety` has the figures of
variety, brightness, loudness, endings and form.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from tqdm import tqdm

from benchmarks import nano_variety
from benchmarks.eval_prompts import EvalPrompt, eval_prompts
from benchmarks.nano_figures import features_of, figures, tempo_control
from benchmarks.nano_table import table
from benchmarks.report import print_result, summary
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.hub import resolve
from serve_app.config.app import AppConfig, EngineConfig
from serve_app.engine.device import resolve_precision
from serve_app.engine.engine import Engine
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model
from serve_app.types import AudioChunk, GenerationRequest, SamplingParams
from tools.nano import analysis
from tools.nano.codec import si_sdr
from tools.nano.composer import render
from tools.nano.prompts import random_example
from tools.nano.synthesizer import SAMPLE_RATE, Samples

CONFIG = Path(__file__).parent.parent / "configs" / "nano.yaml"
SHORT_S = 8.0
LONG_S = 30.0
END_S = 10.0
BARS = {"tempo": 0.75, "timbre": 0.90, "mode": 0.70, "energy": 0.85, "alive": 0.95}
CODEC_BAR_DB = 10.0
SPEED_BAR = 3.0  # seconds of music per second
SLOTS = 10  # outputs generated at once, except for the speed
Sounds = dict[str, list[Samples]]  # by source: data, codec, model, floor


class Model(NamedTuple):
    """A checkpoint whose language model is prepared as in a replica."""

    checkpoint: Checkpoint
    backend: ExecutionBackend


def prepared(checkpoint: Checkpoint, config: EngineConfig) -> Model:
    """Prepare a checkpoint, once."""
    precision = resolve_precision(config, torch.device("cpu"))
    return Model(
        checkpoint, prepare_model(checkpoint.musicgen, precision, kv_cache=config.kv_cache)
    )


def untrained(checkpoint: str) -> Checkpoint:
    """Build the checkpoint's architecture with random weights."""
    from transformers import AutoConfig, AutoTokenizer, MusicgenForConditionalGeneration

    from tools.nano.huggingface import save

    torch.manual_seed(1)
    source = resolve(checkpoint)
    model = MusicgenForConditionalGeneration(AutoConfig.from_pretrained(source))
    for layer in model.audio_encoder.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    with tempfile.TemporaryDirectory() as folder:
        save(model, AutoTokenizer.from_pretrained(source), Path(folder))
        return load_checkpoint(folder)


def generate(
    model: Model, config: EngineConfig, prompts: Sequence[str], duration_s: float
) -> list[Samples]:
    """Generate audio for each prompt, with its index as seed."""
    engine = Engine(model.checkpoint, config, model.backend)
    progress = tqdm(total=len(prompts), desc=f"{duration_s:g} s outputs", leave=False)

    async def one(number: int, prompt: str) -> Samples:
        samples = await _generate_one(engine, number, prompt, duration_s)
        progress.update()
        return samples

    async def all_of_them() -> list[Samples]:
        return await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts)))

    try:
        return asyncio.run(all_of_them())
    finally:
        engine.shutdown()
        progress.close()


async def _generate_one(engine: Engine, seed: int, prompt: str, duration_s: float) -> Samples:
    request = GenerationRequest(
        request_id=str(seed),
        model="nano",
        prompt=prompt,
        duration_s=duration_s,
        sampling=SamplingParams(seed=seed),
    )
    items = [item async for item in engine.generate(request)]
    return np.concatenate([item.samples[0] for item in items if isinstance(item, AudioChunk)])


def real_time_factor(model: Model, config: EngineConfig, rounds: int = 3) -> float:
    """Seconds of music per second for a lone request of LONG_S: the median of `rounds`."""
    factors = []
    for _ in range(rounds):
        started_at = perf_counter()
        generate(model, config, ["calm piano, 90 bpm"], LONG_S)
        factors.append(LONG_S / (perf_counter() - started_at))
    return median(factors)


def flatness_range(seeds: Iterable[int]) -> tuple[float, float]:
    """Lowest and highest spectral flatness of the training data."""
    values = [analysis.flatness(render(random_example(seed)[0], SHORT_S)) for seed in seeds]
    return min(values), max(values)


def reconstruct(checkpoint: Checkpoint, samples: Samples) -> Samples:
    """Encode and decode the samples by the codec."""
    with torch.no_grad():
        codes = checkpoint.codec.encode(torch.from_numpy(samples)[None, None])
        return np.asarray(checkpoint.codec.decode(codes)[0, 0, : len(samples)], np.float32)


def _generated(
    source: str, trained: Model, config: EngineConfig, prompts: Sequence[EvalPrompt]
) -> tuple[Sounds, Sounds]:
    """Outputs of the model and of its floor: of SHORT_S, and of LONG_S."""
    config = config.model_copy(update={"max_slots": SLOTS})
    models = {"model": trained, "floor": prepared(untrained(source), config)}
    texts = [prompt.prompt for prompt in prompts]
    short, long = (
        {name: generate(one, config, texts, duration_s) for name, one in models.items()}
        for duration_s in (SHORT_S, LONG_S)
    )
    return short, long


def _agreement(
    prompts: Sequence[EvalPrompt], sources: Sounds, flatness: tuple[float, float], suffix: str
) -> dict[str, Any]:
    """Rows of BARS: the figure of each source."""
    with ProcessPoolExecutor() as pool:
        features = {
            name: list(pool.map(features_of, tqdm(sounds, desc=name, leave=False)))
            for name, sounds in sources.items()
        }
    shares = {name: figures(prompts, one, flatness) for name, one in features.items()}
    rows: dict[str, Any] = {}
    for figure, bar in BARS.items():
        row = {name: round(share[figure], 3) for name, share in shares.items()}
        rows[figure + suffix] = {"bar": bar} | row
    rows["tempo" + suffix]["control"] = round(tempo_control(prompts, features["model"]), 3)
    return rows


def _codec_quality(coded: list[Samples], data: list[Samples]) -> dict[str, float]:
    quality = [
        float(si_sdr(*(torch.from_numpy(samples)[None, None] for samples in pair)))
        for pair in zip(coded, data, strict=True)
    ]
    return {
        "bar": CODEC_BAR_DB,
        "model": round(mean(quality), 2),
        "lowest": round(min(quality), 2),
    }


def measure(source: str, config: EngineConfig) -> dict[str, Any]:
    """Measure every figure with its bar, floor and ceilings. config: of the engine measured."""
    prompts = eval_prompts()
    trained = prepared(load_checkpoint(source), config)
    speed = real_time_factor(trained, config)
    data = [render(prompt.score, LONG_S) for prompt in tqdm(prompts, desc="data", leave=False)]
    coded = [
        reconstruct(trained.checkpoint, samples)
        for samples in tqdm(data, desc="codec", leave=False)
    ]
    short, long = _generated(source, trained, config, prompts)
    reference = {"data": data, "codec": coded}
    flatness = flatness_range(range(300))
    start = slice(0, int(SHORT_S * SAMPLE_RATE))
    end = slice(-int(END_S * SAMPLE_RATE), None)
    found = _agreement(prompts, _cut(reference, start) | short, flatness, "")
    found |= _agreement(prompts, _cut(reference | long, end), flatness, "_last_10_s")
    one_length = config.model_copy(update={"max_slots": SLOTS})
    found |= nano_variety.of_one_prompt(
        lambda texts, duration_s: generate(trained, one_length, texts, duration_s)
    )
    found |= _variety(trained, prompts, short, long)
    found["codec_si_sdr_db"] = _codec_quality(coded, data)
    found["real_time_factor"] = {"bar": SPEED_BAR, "model": round(speed, 2)}
    return found


def _variety(
    trained: Model, prompts: Sequence[EvalPrompt], short: Sounds, long: Sounds
) -> dict[str, Any]:
    """Figures of outputs beside data that ends as the outputs should, and its reconstruction."""
    references: list[Sounds] = []
    for duration_s in (SHORT_S, LONG_S):
        scores = (replace(prompt.score, length_s=int(duration_s)) for prompt in prompts)
        data = [render(score, duration_s) for score in scores]
        coded = [reconstruct(trained.checkpoint, samples) for samples in data]
        references.append({"codec": coded, "data": data})
    return nano_variety.of_all_prompts(prompts, short | references[0], long | references[1])


def _cut(sources: Sounds, part: slice) -> Sounds:
    return {name: [samples[part] for samples in sounds] for name, sounds in sources.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nano_quality", description=summary(__doc__)
    )
    parser.add_argument(
        "--model",
        default="embedded:musicgen-nano",
        help="a checkpoint (default: the embedded model)",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the engine has its own threads
    args = yaml.safe_load(CONFIG.read_text())["applications"][0]["args"]
    config = AppConfig.model_validate(args).models[0].engine_kwargs
    found = measure(arguments.model, config)
    print(table(found))
    missed = nano_variety.missed(found)
    print_result("nano_quality", model=arguments.model, figures=found, missed=missed)


if __name__ == "__main__":
    main()
