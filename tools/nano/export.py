"""Puts a trained checkpoint into the package as musicgen-nano, with three short samples.

    python -m tools.nano.export FOLDER [--to PACKAGE] [--temperature T]

FOLDER/checkpoint is what tools.nano.language_model wrote. Its heads are divided by T, so that sampling at the default
temperature of 1 is what sampling at T was: a model so small spreads its chances thinner than its data does.
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
from serve_app.config import EngineConfig
from serve_app.engine.engine import Engine
from serve_app.types import GenerationRequest, SamplingParams

PACKAGE = Path(__file__).parents[2] / "serve_app" / "assets" / "musicgen-nano"
SAMPLES = {
    "calm-bells": "calm bells, hopeful mood, soft drums, 80 bpm",
    "lofi": "lofi beat",
    "techno": "energetic techno with synth lead, dark mood, 128 bpm",
}  # file's name: prompt
SAMPLE_S, SEED = 8.0, 1
TEMPERATURE = 0.7  # of those tried, prompts are followed best


def export(folder: Path, package: Path, temperature: float = TEMPERATURE) -> None:
    """Replace the package's model by FOLDER/checkpoint; its model card stays."""
    package.mkdir(parents=True, exist_ok=True)
    for file in (folder / "checkpoint").iterdir():
        shutil.copy(file, package)
    sharpen(package / "model.safetensors", temperature)
    asyncio.run(_write_samples(package))
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    print(f"{package}: {size / 1e6:.1f} MB")


def sharpen(weights: Path, temperature: float) -> None:
    """Divide the language model's heads."""
    tensors = load_file(weights)
    for name in tensors:
        if "lm_heads" in name:
            tensors[name] = (tensors[name].float() / temperature).to(tensors[name].dtype)
    save_file(tensors, weights, {"format": "pt"})
    weights.chmod(0o644)  # save_file's are its owner's alone


async def _write_samples(package: Path) -> None:
    torch.set_num_threads(1)  # the engine has threads of its own
    engine = Engine(load_checkpoint(str(package)), EngineConfig(device="cpu"))
    (package / "samples").mkdir(exist_ok=True)
    try:
        for name, prompt in SAMPLES.items():
            request = GenerationRequest(
                request_id=name,
                model="nano",
                prompt=prompt,
                duration_s=SAMPLE_S,
                sampling=SamplingParams(seed=SEED),
            )
            chunks = [chunk async for chunk in engine.generate(request)]
            samples = np.concatenate([chunk.samples[0] for chunk in chunks])
            soundfile.write(
                package / "samples" / f"{name}.ogg", samples, chunks[0].sample_rate, format="OGG"
            )
    finally:
        engine.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.export", description="Put a trained checkpoint into the package."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--to", type=Path, default=PACKAGE, help="where to (default: this package's musicgen-nano)"
    )
    parser.add_argument(
        "--temperature", type=float, default=TEMPERATURE, help=f"(default: {TEMPERATURE})"
    )
    arguments = parser.parse_args()
    export(arguments.folder, arguments.to, arguments.temperature)


if __name__ == "__main__":
    main()
