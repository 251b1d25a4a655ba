"""Whether the embedded model does what its prompts say: on prompts that it was not trained on, by default sampling.

python -m benchmarks.nano_quality

Each figure stands beside its ceilings, the same measure on the training data's own sound and on the codec's
reconstruction of it, and its floor, untrained weights. The last line is JSON: the figures, their bars, and `missed`.
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np
import torch
import yaml
from tqdm import tqdm

from benchmarks import hearing
from benchmarks.hearing import SAMPLE_RATE, Samples
from benchmarks.report import print_result
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.checkpoints.hub import resolve
from serve_app.config import AppConfig, EngineConfig
from serve_app.engine.engine import Engine
from serve_app.types import GenerationRequest, SamplingParams
from tools.nano.codec import si_sdr
from tools.nano.codes import PIECES, prompts_of
from tools.nano.composer import Score, render
from tools.nano.prompts import DRUM_WORDS, ENERGY_WORDS, LEAD_WORDS, MOOD_WORDS, random_piece

CONFIG = Path(__file__).parent.parent / "configs" / "nano.yaml"
HELD_OUT_SEED = 1_000_000
TEMPOS = (62, 74, 86, 98, 110, 122, 134, 146, 158, 174)
SHORT_S, LONG_S, END_S = 8.0, 30.0, 10.0
SILENCE, CLIPPING = 1e-3, 0.999  # root mean square; peak
BARS = {"tempo": 0.75, "timbre": 0.90, "mode": 0.70, "energy": 0.85, "alive": 0.95}
CODEC_BAR_DB, SPEED_BAR = 10.0, 3.0
TOGETHER = 10  # outputs made at a time, where speed is not what is measured


@dataclass(frozen=True)
class Wish:
    """A prompt and the piece that it describes. Those of a `group` differ in timbre and energy alone."""

    score: Score
    prompt: str
    group: int | None = None

    @property
    def asks_tempo(self) -> bool:
        return f"{self.score.bpm}bpm" in self.prompt.replace(" ", "")

    @property
    def asks_mode(self) -> bool:
        words = self.prompt.lower().replace(",", "").split()
        return any(word in words for word in (self.score.mode, *MOOD_WORDS[self.score.mode]))


def wishes(free: int = 20) -> list[Wish]:
    """Forty that come in fours, bright and dark, calm and energetic, and `free` ones as the training data's are."""
    trained = {prompt for seed in range(PIECES) for prompt in prompts_of(seed)}
    found = [wish for group in range(len(TEMPOS)) for wish in _four(group)]
    seed = HELD_OUT_SEED
    while len(found) < 4 * len(TEMPOS) + free:
        score, prompt = random_piece(seed)
        if prompt not in trained:
            found.append(Wish(score, prompt))
        seed += 1
    assert not trained & {wish.prompt for wish in found}
    return found


def _four(group: int) -> list[Wish]:
    mode = ("major", "minor")[group % 2]
    leads = (("bells", "flute")[group // 2 % 2], ("bass", "pad")[group // 3 % 2])
    return [_wish(group, lead, mode, energy) for lead in leads for energy in (0, 2)]


def _wish(group: int, lead: str, mode: str, energy: int) -> Wish:
    groove = "soft" if energy == 0 else "straight"
    score = Score(
        tonic="C",
        mode=mode,
        bpm=TEMPOS[group],
        lead=lead,
        groove=groove,
        energy=energy,
    )
    score = replace(score, tonic=score.home)
    energies, moods = ENERGY_WORDS[energy], MOOD_WORDS[mode]
    words = (
        f"{energies[group % len(energies)]} {LEAD_WORDS[lead][0]}, {moods[group % len(moods)]} mood"
    )
    return Wish(score, f"{words}, {mode} key, {DRUM_WORDS[groove][0]}, {score.bpm} bpm", group)


@dataclass(frozen=True)
class Heard:
    """What `hearing` says of one output."""

    tempo: float
    mode: str
    brightness: float
    loudness: float
    onsets: int
    flatness: float
    peak: float


def hear(samples: Samples) -> Heard:
    return Heard(
        hearing.tempo(samples), hearing.mode(samples), hearing.brightness(samples), hearing.loudness(samples),
        hearing.onsets(samples), hearing.flatness(samples), float(np.abs(samples).max()),
    )  # fmt: skip


def figures(
    wanted: Sequence[Wish], heard: Sequence[Heard], flatness: tuple[float, float]
) -> dict[str, float]:
    """The share of outputs, or of pairs, that are as asked, by the names of BARS."""
    both = list(zip(wanted, heard, strict=True))
    groups: dict[int, list[Heard]] = {}
    for wish, output in both:
        if wish.group is not None:
            groups.setdefault(wish.group, []).append(output)
    fours = list(groups.values())
    return {
        "tempo": mean(hearing.same_tempo(o.tempo, w.score.bpm) for w, o in both if w.asks_tempo),
        "timbre": mean(
            b.brightness > d.brightness for b0, b1, d0, d1 in fours for b, d in ((b0, d0), (b1, d1))
        ),
        "mode": mean(o.mode == w.score.mode for w, o in both if w.asks_mode),
        "energy": mean(
            e.loudness > c.loudness for c0, e0, c1, e1 in fours for c, e in ((c0, e0), (c1, e1))
        ),
        "alive": mean(_alive(o, flatness) for o in heard),
    }


def _alive(output: Heard, flatness: tuple[float, float]) -> bool:
    """Neither silent nor clipping, neither a constant tone nor noise."""
    sound = output.loudness > SILENCE and output.peak < CLIPPING
    return sound and output.onsets > 0 and flatness[0] <= output.flatness <= flatness[1]


def tempo_control(wanted: Sequence[Wish], heard: Sequence[Heard]) -> float:
    """`tempo` of outputs that are paired with other outputs' prompts, at random."""
    asked = [(w.score.bpm, o.tempo) for w, o in zip(wanted, heard, strict=True) if w.asks_tempo]
    rng = random.Random(0)
    shares = []
    for _ in range(200):
        shuffled = rng.sample(asked, len(asked))
        shares.append(
            mean(hearing.same_tempo(o, w) for (w, _), (_, o) in zip(asked, shuffled, strict=True))
        )
    return mean(shares)


def untrained(checkpoint: str) -> Checkpoint:
    """The same architecture with the weights that training begins with."""
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
    checkpoint: Checkpoint, config: EngineConfig, prompts: Sequence[str], duration_s: float
) -> list[Samples]:
    """What the engine makes of each prompt; the seeds are the prompts' numbers."""
    engine = Engine(checkpoint, config)
    progress = tqdm(total=len(prompts), desc=f"{duration_s:g} s outputs", leave=False)

    async def one(number: int, prompt: str) -> Samples:
        sampling = SamplingParams(seed=number)
        request = GenerationRequest(
            request_id=str(number),
            model="nano",
            prompt=prompt,
            duration_s=duration_s,
            sampling=sampling,
        )
        samples = np.concatenate([chunk.samples[0] async for chunk in engine.generate(request)])
        progress.update()
        return samples

    async def all_of_them() -> list[Samples]:
        return await asyncio.gather(*(one(number, prompt) for number, prompt in enumerate(prompts)))

    try:
        return asyncio.run(all_of_them())
    finally:
        engine.shutdown()
        progress.close()


def real_time_factor(checkpoint: Checkpoint, config: EngineConfig, rounds: int = 3) -> float:
    """Seconds of music per second, of one request of LONG_S alone: the median of `rounds`."""
    factors = []
    for _ in range(rounds):
        started = perf_counter()
        generate(checkpoint, config, ["calm piano, 90 bpm"], LONG_S)
        factors.append(LONG_S / (perf_counter() - started))
    return median(factors)


def flatness_range(seeds: Iterable[int]) -> tuple[float, float]:
    """The lowest and the highest of the training data."""
    values = [hearing.flatness(render(random_piece(seed)[0], SHORT_S)) for seed in seeds]
    return min(values), max(values)


def reconstruct(checkpoint: Checkpoint, samples: Samples) -> Samples:
    """The samples through the codec and back."""
    with torch.no_grad():
        codes = checkpoint.codec.encode(torch.from_numpy(samples)[None, None])
        return np.asarray(checkpoint.codec.decode(codes)[0, 0, : len(samples)], np.float32)


def sounds(
    checkpoint: Checkpoint, config: EngineConfig, wanted: Sequence[Wish], duration_s: float
) -> list[Samples]:
    return generate(checkpoint, config, [wish.prompt for wish in wanted], duration_s)


def measure(source: str, config: EngineConfig) -> dict[str, Any]:
    """Every figure with its bar, floor and ceilings. config: of the engine whose speed is measured."""
    wanted, trained = wishes(), load_checkpoint(source)
    speed = real_time_factor(trained, config)
    config = config.model_copy(update={"max_slots": TOGETHER})
    data = [render(wish.score, LONG_S) for wish in tqdm(wanted, desc="data", leave=False)]
    coded = [reconstruct(trained, samples) for samples in tqdm(data, desc="codec", leave=False)]
    floor = untrained(source)
    short = int(SHORT_S * SAMPLE_RATE)
    outputs = {
        "": {
            "data": [samples[:short] for samples in data],
            "codec": [samples[:short] for samples in coded],
            "model": sounds(trained, config, wanted, SHORT_S),
            "floor": sounds(floor, config, wanted, SHORT_S),
        },
        "_last_10_s": {
            name: [samples[-int(END_S * SAMPLE_RATE) :] for samples in whole]
            for name, whole in {
                "data": data,
                "codec": coded,
                "model": sounds(trained, config, wanted, LONG_S),
                "floor": sounds(floor, config, wanted, LONG_S),
            }.items()
        },
    }
    found: dict[str, Any] = {}
    flatness = flatness_range(range(300))
    with ProcessPoolExecutor() as pool:
        for suffix, sources in outputs.items():
            heard = {
                name: list(pool.map(hear, tqdm(one, desc=name, leave=False)))
                for name, one in sources.items()
            }
            shares = {name: figures(wanted, one, flatness) for name, one in heard.items()}
            for figure, bar in BARS.items():
                row = {name: round(share[figure], 3) for name, share in shares.items()}
                found[figure + suffix] = {"bar": bar} | row
            found["tempo" + suffix]["control"] = round(tempo_control(wanted, heard["model"]), 3)
    quality = [
        float(si_sdr(*(torch.from_numpy(x)[None, None] for x in pair)))
        for pair in zip(coded, data, strict=True)
    ]
    found["codec_si_sdr_db"] = {
        "bar": CODEC_BAR_DB,
        "model": round(mean(quality), 2),
        "lowest": round(min(quality), 2),
    }
    found["real_time_factor"] = {"bar": SPEED_BAR, "model": round(speed, 2)}
    return found


def table(found: dict[str, Any]) -> str:
    """Markdown: a row for each figure."""
    columns = ("bar", "model", "floor", "codec", "data")
    names = ("bar", "musicgen-nano", "untrained", "codec's reconstruction", "data")
    lines = [f"| figure | {' | '.join(names)} |", "|---" * (len(columns) + 1) + "|"]
    for figure, row in found.items():
        cells = ("" if column not in row else f"{row[column]:g}" for column in columns)
        lines.append(f"| {figure} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.nano_quality", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "--model",
        default="embedded:musicgen-nano",
        help="a checkpoint (default: the embedded model)",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the engine has threads of its own
    args = yaml.safe_load(CONFIG.read_text())["applications"][0]["args"]
    config = AppConfig.model_validate(args).models[0].engine_kwargs
    found = measure(arguments.model, config)
    print(table(found))
    missed = [figure for figure, row in found.items() if row["model"] < row["bar"]]
    print_result("nano_quality", model=arguments.model, figures=found, missed=missed)


if __name__ == "__main__":
    main()
