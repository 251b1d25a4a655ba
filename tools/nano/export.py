"""Install a trained checkpoint as the package's musicgen-nano, with three short samples.

    python -m tools.nano.export FOLDER [--to PACKAGE] [--temperature T]

FOLDER/checkpoint is the output of tools.nano.language_model. Its heads are divided by T, so that
sampling at the default temperature of 1 equals sampling the trained model at T: the distribution of
a model this small is flatter than that of its data.
"""

import argparse
import asyncio
import shutil
from pathlib import Path

import numpy as np
import soundfile
import torch
from safetensors.torch import load_file, save_file

from serve_app.checkpoints.checkpoint import load_checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.engine import Engine
from serve_app.types import AudioChunk, GenerationRequest, SamplingParams

PACKAGE = Path(__file__).parents[2] / "serve_app" / "assets" / "musicgen-nano"
# File name -> prompt.
SAMPLES = {
    "calm-bells": "calm bells, hopeful mood, soft drums, 80 bpm",
    "lofi": "lofi beat",
    "techno": "energetic techno with synth lead, dark mood, 128 bpm",
}
SAMPLE_S = 8.0
SEED = 1
TEMPERATURE = 0.8  # of those tried, the one at which outputs follow their prompts best


def export(folder: Path, package: Path, temperature: float = TEMPERATURE) -> None:
    """Replace the package's model by FOLDER/checkpoint. The model card in PACKAGE stays."""
    package.mkdir(parents=True, exist_ok=True)
    for file in (folder / "checkpoint").iterdir():
        shutil.copy(file, package)
    sharpen(package / "model.safetensors", temperature)
    asyncio.run(_write_samples(package))
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    print(f"{package}: {size / 1e6:.1f} MB")


def sharpen(weights: Path, temperature: float) -> None:
    """Divide the language model's heads by `temperature`, in place."""
    tensors = load_file(weights)
    for name in tensors:
        if "lm_heads" in name:
            tensors[name] = (tensors[name].float() / temperature).to(tensors[name].dtype)
    save_file(tensors, weights, {"format": "pt"})
    weights.chmod(0o644)  # save_file creates files readable by their owner alone


async def _write_samples(package: Path) -> None:
    torch.set_num_threads(1)  # the engine has its own threads
    engine = Engine(load_checkpoint(str(package)), EngineConfig(device="cpu"))
    (package / "samples").mkdir(exist_ok=True)
    try:
        for name, prompt in SAMPLES.items():
            await _write_sample(engine, prompt, package / "samples" / f"{name}.ogg")
    finally:
        engine.shutdown()


async def _write_sample(engine: Engine, prompt: str, file: Path) -> None:
    request = GenerationRequest(
        request_id=file.stem,
        model="nano",
        prompt=prompt,
        duration_s=SAMPLE_S,
        sampling=SamplingParams(seed=SEED),
    )
    items = [item async for item in engine.generate(request)]
    chunks = [item for item in items if isinstance(item, AudioChunk)]
    samples = np.concatenate([chunk.samples[0] for chunk in chunks])
    soundfile.write(file, samples, chunks[0].sample_rate, format="OGG")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.export",
        description="Install a trained checkpoint as the package's musicgen-nano.",
    )
    parser.add_argument("folder", type=Path, help="holds checkpoint/")
    parser.add_argument(
        "--to", type=Path, default=PACKAGE, help="target (default: this package's musicgen-nano)"
    )
    parser.add_argument(
        "--temperature", type=float, default=TEMPERATURE, help=f"(default: {TEMPERATURE})"
    )
    arguments = parser.parse_args()
    export(arguments.folder, arguments.to, arguments.temperature)


if __name__ == "__main__":
    main()
