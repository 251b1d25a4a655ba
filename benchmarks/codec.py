"""Seconds that decoding a piece's codes to audio takes, beside transformers' EncodecModel on the same weights.

python -m benchmarks.codec [--seconds 30] [--rounds 3]

The codec of the published mono models in its true size, with random weights. `streamed` decodes in chunks of a second,
as the engine does. The last line is JSON.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import psutil
import torch
from torch import Tensor

from benchmarks.checkpoints import codec_config
from benchmarks.report import print_result
from serve_app.checkpoints.codec import load_codec
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState


def models() -> tuple[Callable[[Tensor], Tensor], Encodec]:
    """transformers' decoding, and this project's codec, of the same weights."""
    from transformers import EncodecModel

    torch.manual_seed(0)
    theirs = EncodecModel(codec_config()).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = load_codec(Path(folder), torch.device("cpu"))
    return lambda codes: theirs.decode(codes[None], [None]).audio_values, ours.eval()


def streamed(codec: Encodec, codes: Tensor) -> Tensor:
    """Decoded a second at a time."""
    state, chunk = DecoderState(), round(codec.config.frame_rate)
    starts = range(0, codes.shape[-1], chunk)
    return torch.cat(
        [
            codec.decode_chunk(codes[..., s : s + chunk], state, s + chunk >= codes.shape[-1])
            for s in starts
        ],
        dim=-1,
    )


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codec", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="of audio")
    parser.add_argument("--rounds", type=int, default=3, help="of each, in turns")
    parser.add_argument(
        "--threads", type=int, default=psutil.cpu_count(logical=False), help="of a CPU"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    theirs, codec = models()
    codes = torch.randint(
        codec.config.codebook_size, (1, 4, round(arguments.seconds * codec.config.frame_rate))
    )
    ways: dict[str, Callable[[], Tensor]] = {
        "transformers": lambda: theirs(codes),
        "whole": lambda: codec.decode(codes),
        "streamed": lambda: streamed(codec, codes),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    audio: dict[str, Tensor] = {}
    for number in range(arguments.rounds + 1):
        for name, decode in ways.items():
            print(f"round {number} of {arguments.rounds}: {name} ...", file=sys.stderr, flush=True)
            started_at = perf_counter()
            audio[name] = decode()
            times[name] += (
                [perf_counter() - started_at] if number else []
            )  # the first readies kernels
    seconds = {name: statistics.median(values) for name, values in times.items()}
    exact = audio["transformers"]
    error = {name: float((audio[name] - exact).abs().max() / exact.abs().max()) for name in ways}
    print("| | seconds | times as fast | largest error |", "|---|---|---|---|", sep="\n")
    for name, value in seconds.items():
        print(
            f"| {name} | {value:.2f} | {seconds['transformers'] / value:.2f} | {error[name]:.1e} |"
        )
    print_result(
        "codec",
        threads=arguments.threads,
        audio_s=arguments.seconds,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        speedup={
            name: round(seconds["transformers"] / seconds[name], 3)
            for name in ("whole", "streamed")
        },
        error=error,
    )


if __name__ == "__main__":
    main()
