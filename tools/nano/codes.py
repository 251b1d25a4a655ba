"""Encode music with prompts as codes, the training data of the language model.

    python -m tools.nano.codes FOLDER [--pieces N] [--device cuda|cpu]
    python -m tools.nano.codes FOLDER --audio MUSIC --checkpoint CHECKPOINT

The first form encodes synthetic tracks by the codec in FOLDER/encodec, the second your own music by
the codec of CHECKPOINT. MUSIC holds audio files (wav, flac, ogg, mp3), each with its prompt in a
text file of the same name: `a.wav`, `a.txt`.
The output is FOLDER/codes: NAME.npy, int16 [examples, K, frames], and NAME.json, with the prompts
and the sound of each example. Existing files are kept.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from tools.nano.music import FULL_SCALE, PCM, piece, renderer
from tools.nano.prompts import duration_s, other_prompts, random_example
from tools.nano.synthesizer import Samples
from tools.nano.training import Progress, add_device, training_device

BLOCK = 500  # examples rendered before they are encoded and saved
BATCH_S = {"cpu": 60, "cuda": 900}  # of music encoded at once
EXAMPLES = 12_000
PROMPTS = 12  # per example: codes cost much, and a prompt nothing
WINDOW_S = 30.0  # of audio files
SHORTEST_S = 6.0  # shortest window kept
RECORDED = "recorded"  # sound of audio files, whose instruments are unknown
AUDIO = (".wav", ".flac", ".ogg", ".mp3")
Codes = NDArray[np.int16]


class Example(NamedTuple):
    """One training example. codes: [K, frames]; sound: examples of equal sound may be mixed."""

    codes: Codes
    prompts: list[str]
    sound: str


class Encoder:
    """Codec that turns samples into codes."""

    def __init__(self, encodec: Any, device: torch.device) -> None:
        self.device = device
        self.encodec = encodec.float().eval().to(device)
        self.sample_rate: int = encodec.config.sampling_rate

    def __call__(self, samples: Samples) -> Codes:
        """samples [n] -> codes [K, frames]"""
        return np.asarray(self.batch(samples[None])[0])

    def batch(self, samples: Samples) -> Codes:
        """samples [B, n] -> codes [B, K, frames]"""
        with torch.no_grad():
            x = torch.from_numpy(samples).to(self.device)[:, None]
            return np.asarray(self.encodec.encode(x).audio_codes[0].cpu(), np.int16)


def synthesized(folder: Path, examples: int, device: str | None = None) -> None:
    """Encode the pieces of seeds 0 to `examples` in blocks, by groups of equal duration."""
    from transformers import EncodecModel

    encode = Encoder(EncodecModel.from_pretrained(folder / "encodec"), training_device(device))
    progress = Progress("codes", 0, examples)
    with renderer(piece) as render:
        for first in range(0, examples, BLOCK):
            seeds = range(first, min(examples, first + BLOCK))
            missing = {
                name: group for name, group in _groups(seeds).items() if not _exists(folder, name)
            }
            pieces = render(sorted(seed for group in missing.values() for seed in group))
            sounds = dict(zip(sorted(s for g in missing.values() for s in g), pieces, strict=True))
            for name, group in missing.items():
                codes = _encoded(encode, [sounds[seed] for seed in group])
                _write(
                    folder,
                    name,
                    [_example(seed, one) for seed, one in zip(group, codes, strict=True)],
                )
            progress.show(seeds.stop)


def _groups(seeds: range) -> dict[str, list[int]]:
    """Seeds of each duration: names of files -> seeds"""
    groups: dict[str, list[int]] = {}
    for seed in seeds:
        groups.setdefault(f"{seeds.start:06d}-{duration_s(seed):02d}s", []).append(seed)
    return groups


def _encoded(encode: Encoder, pieces: Sequence[PCM]) -> Iterable[Codes]:
    """Codes of pieces of equal duration, encoded together."""
    together = max(1, int(BATCH_S[encode.device.type] * encode.sample_rate / len(pieces[0])))
    for first in range(0, len(pieces), together):
        pcm = np.stack(pieces[first : first + together])
        yield from encode.batch(np.asarray(pcm / FULL_SCALE, np.float32))


def _example(seed: int, codes: Codes) -> Example:
    return Example(codes, prompts_of(seed), random_example(seed)[0].lead)


def prompts_of(seed: int) -> list[str]:
    """All training prompts of the example of this seed."""
    return [random_example(seed)[1], *other_prompts(seed, PROMPTS - 1)]


def recorded(folder: Path, music: Path, checkpoint: Path, device: str | None = None) -> None:
    """Encode audio files in windows of WINDOW_S. Raises SystemExit naming an unusable file."""
    from transformers import MusicgenForConditionalGeneration

    model = MusicgenForConditionalGeneration.from_pretrained(checkpoint)
    encode = Encoder(model.audio_encoder, training_device(device))
    files = sorted(file for file in music.iterdir() if file.suffix.lower() in AUDIO)
    if not files:
        raise SystemExit(f"{music} has no audio files ({', '.join(AUDIO)})")
    for file in tqdm(files, desc="codes", unit="file"):
        if not _exists(folder, file.name):
            prompts = [_prompt(file)]
            windows = _windows(file, encode.sample_rate)
            examples = [Example(encode(window), prompts, RECORDED) for window in windows]
            _write(folder, file.name, examples)


def load(folder: Path) -> list[Example]:
    """Load all examples in FOLDER/codes. Raises SystemExit if there are none."""
    examples: list[Example] = []
    for file in sorted((folder / "codes").glob("*.json")):
        described = json.loads(file.read_text())
        codes = np.load(file.with_suffix(".npy"))
        examples += (Example(c, **one) for c, one in zip(codes, described, strict=True))
    if not examples:
        raise SystemExit(
            f"{folder / 'codes'} is empty: python -m tools.nano.codes {folder} fills it"
        )
    return examples


def _prompt(file: Path) -> str:
    text = file.with_suffix(".txt")
    if not text.exists() or not text.read_text().strip():
        raise SystemExit(f"{file} has no prompt: write it into {text.name}")
    return text.read_text().strip()


def _windows(file: Path, sample_rate: int) -> Iterable[Samples]:
    """Mix the file to mono, resample and cut it. Windows shorter than SHORTEST_S are dropped."""
    import soundfile
    import torchaudio

    try:
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise SystemExit(f"{file} cannot be read: {error}") from error
    mono = torchaudio.functional.resample(torch.from_numpy(samples.mean(axis=1)), rate, sample_rate)
    windows = [window.numpy() for window in mono.split(int(WINDOW_S * sample_rate))]
    windows = [window for window in windows if len(window) >= SHORTEST_S * sample_rate]
    if not windows:
        raise SystemExit(f"{file} is shorter than {SHORTEST_S:g} s")
    return windows


def _exists(folder: Path, name: str) -> bool:
    return (folder / "codes" / f"{name}.json").exists()  # written last


def _write(folder: Path, name: str, examples: Sequence[Example]) -> None:
    """Write windows of equal length as one array, and a shorter last one to its own file."""
    (folder / "codes").mkdir(parents=True, exist_ok=True)
    whole = [example for example in examples if example.codes.shape == examples[0].codes.shape]
    if len(whole) < len(examples):
        _write(folder, f"{name}.end", examples[len(whole) :])
    np.save(folder / "codes" / f"{name}.npy", np.stack([example.codes for example in whole]))
    described = [{"prompts": example.prompts, "sound": example.sound} for example in whole]
    part = folder / "codes" / f"{name}.tmp"
    part.write_text(json.dumps(described))
    part.replace(folder / "codes" / f"{name}.json")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.codes", description="Encode music with prompts as codes."
    )
    parser.add_argument("folder", type=Path, help="where codes/ is written")
    parser.add_argument(
        "--pieces", type=int, default=EXAMPLES, help=f"synthetic tracks (default: {EXAMPLES})"
    )
    parser.add_argument("--audio", type=Path, help="folder with your own music to encode instead")
    parser.add_argument(
        "--checkpoint", type=Path, help="MusicGen in the Hugging Face format, for its codec"
    )
    add_device(parser)
    return parser


def main() -> None:
    parser = _parser()
    arguments = parser.parse_args()
    if (arguments.audio is None) != (arguments.checkpoint is None):
        parser.error("--audio and --checkpoint go together")
    if arguments.audio is None:
        synthesized(arguments.folder, arguments.pieces, arguments.device)
    else:
        recorded(arguments.folder, arguments.audio, arguments.checkpoint, arguments.device)


if __name__ == "__main__":
    main()
