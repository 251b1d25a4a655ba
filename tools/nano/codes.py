"""Turns music with prompts into what the language model is trained on: codes.

    python -m tools.nano.codes FOLDER [--pieces N]           pieces made here, by the codec in FOLDER/encodec
    python -m tools.nano.codes FOLDER --audio MUSIC --checkpoint CHECKPOINT     your own, by a checkpoint's codec

MUSIC holds audio files (wav, flac, ogg, mp3), each with its prompt in a text file of the same name: `a.wav`, `a.txt`.
Writes FOLDER/codes: NAME.npy, int16 [pieces, K, frames], and NAME.json, of each piece the prompts and what it sounds
like. What is there is kept.
"""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from tools.nano.composer import Score, render
from tools.nano.prompts import other_prompts, random_piece
from tools.nano.synthesizer import Samples

PIECE_S = (
    30.0,
    *[10.0] * 3,
    *[2.0] * 16,
)  # of one block after the other: what prompts say is learnt from beginnings
BLOCK = 200  # pieces
PIECES, PROMPTS = 16_000, 4  # prompts of each piece
WINDOW_S, SHORTEST_S = 30.0, 6.0  # what audio files are cut into
RECORDED = "recorded"  # what plays in audio files is not known
AUDIO = (".wav", ".flac", ".ogg", ".mp3")
Codes = NDArray[np.int16]


class Piece(NamedTuple):
    """What is learnt from: codes [K, frames], what a caller may have asked for, and what plays."""

    codes: Codes
    prompts: list[str]
    sound: str


class Encoder:
    """A codec that turns samples into codes, on a GPU where there is one."""

    def __init__(self, encodec: Any) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.encodec = encodec.float().eval().to(self.device)
        self.sample_rate: int = encodec.config.sampling_rate

    def __call__(self, samples: Samples) -> Codes:
        """samples [n] -> codes [K, frames]"""
        with torch.no_grad():
            x = torch.from_numpy(samples).to(self.device)[None, None]
            return np.asarray(self.encodec.encode(x).audio_codes[0, 0].cpu(), np.int16)


def synthesized(folder: Path, pieces: int) -> None:
    """Codes of the pieces of seeds 0 to `pieces`, in blocks. Many seeds are the same music, asked for otherwise."""
    from transformers import EncodecModel

    encode = Encoder(EncodecModel.from_pretrained(folder / "encodec"))

    @cache
    def codes_of(score: Score, duration_s: float) -> Codes:
        return encode(render(score, duration_s))

    for block in tqdm(range(math.ceil(pieces / BLOCK)), desc="codes", unit="block"):
        if _exists(folder, f"{block:04d}"):
            continue
        duration_s = PIECE_S[block % len(PIECE_S)]
        made = []
        for seed in range(block * BLOCK, min(pieces, (block + 1) * BLOCK)):
            score = random_piece(seed)[0]
            made.append(
                Piece(codes_of(score.in_frames(), duration_s), prompts_of(seed), score.lead)
            )
        _write(folder, f"{block:04d}", made)


def prompts_of(seed: int) -> list[str]:
    """What the piece of this seed is called in training."""
    return [random_piece(seed)[1], *other_prompts(seed, PROMPTS - 1)]


def recorded(folder: Path, music: Path, checkpoint: Path) -> None:
    """Codes of audio files, in windows of WINDOW_S. Raises SystemExit naming the file that cannot be used."""
    from transformers import MusicgenForConditionalGeneration

    encode = Encoder(MusicgenForConditionalGeneration.from_pretrained(checkpoint).audio_encoder)
    files = sorted(file for file in music.iterdir() if file.suffix.lower() in AUDIO)
    if not files:
        raise SystemExit(f"{music} has no audio files ({', '.join(AUDIO)})")
    for file in tqdm(files, desc="codes", unit="file"):
        if not _exists(folder, file.name):
            prompt = _prompt(file)
            windows = _windows(file, encode.sample_rate)
            _write(
                folder, file.name, [Piece(encode(window), [prompt], RECORDED) for window in windows]
            )


def load(folder: Path) -> list[Piece]:
    """All pieces that were written."""
    pieces: list[Piece] = []
    for file in sorted((folder / "codes").glob("*.npy")):
        described = json.loads(file.with_suffix(".json").read_text())
        pieces += (Piece(codes, **one) for codes, one in zip(np.load(file), described, strict=True))
    if not pieces:
        raise SystemExit(
            f"{folder / 'codes'} is empty: python -m tools.nano.codes {folder} fills it"
        )
    return pieces


def _prompt(file: Path) -> str:
    text = file.with_suffix(".txt")
    if not text.exists() or not text.read_text().strip():
        raise SystemExit(f"{file} has no prompt: write it into {text.name}")
    return text.read_text().strip()


def _windows(file: Path, sample_rate: int) -> Iterable[Samples]:
    """The file in mono at `sample_rate`, cut; a last window that is too short is left out."""
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


def _write(folder: Path, name: str, pieces: Sequence[Piece]) -> None:
    """Windows of one length each go into one array; a shorter last one into a file of its own."""
    (folder / "codes").mkdir(parents=True, exist_ok=True)
    whole = [piece for piece in pieces if piece.codes.shape == pieces[0].codes.shape]
    if len(whole) < len(pieces):
        _write(folder, f"{name}.end", pieces[len(whole) :])
    np.save(folder / "codes" / f"{name}.npy", np.stack([piece.codes for piece in whole]))
    described = [{"prompts": piece.prompts, "sound": piece.sound} for piece in whole]
    (folder / "codes" / f"{name}.json").write_text(json.dumps(described))


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.codes", description="Codes of music with prompts."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--pieces", type=int, default=PIECES, help=f"how many pieces to make (default: {PIECES})"
    )
    parser.add_argument("--audio", type=Path, help="a folder with your own music instead")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="a MusicGen in the Hugging Face format whose codec encodes it",
    )
    arguments = parser.parse_args()
    if (arguments.audio is None) != (arguments.checkpoint is None):
        parser.error("--audio and --checkpoint go together")
    if arguments.audio is None:
        synthesized(arguments.folder, arguments.pieces)
    else:
        recorded(arguments.folder, arguments.audio, arguments.checkpoint)


if __name__ == "__main__":
    main()
