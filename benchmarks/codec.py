"""Measure seconds of decoding codes to audio, beside transformers' EncodecModel.

python -m benchmarks.codec [--seconds 30] [--rounds 3]

Both have the same random weights, in the true size of the published mono models' codec;
transformers' have their weight norm folded in, and its time is the lower of one thread's and all
threads'. `streamed` decodes in chunks of one second, as the engine does. The last line is JSON.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter

import psutil
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from benchmarks.checkpoints import codec_config
from benchmarks.report import print_result, print_round, summary
from serve_app.checkpoints.codec import load_codec
from serve_app.models.encodec.model import Encodec
from serve_app.models.encodec.streaming import DecoderState

CPU = torch.device("cpu")
Decoder = Callable[[], Tensor]


def models(device: torch.device = CPU) -> tuple[Callable[[Tensor], Tensor], Encodec]:
    """Build transformers' decoding, on the CPU, and this project's codec, with equal weights."""
    from transformers import EncodecModel

    torch.manual_seed(0)
    theirs = EncodecModel(codec_config()).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours = load_codec(Path(folder), device)
    _fold_weight_norm(theirs)
    return lambda codes: theirs.decode(codes[None], [None]).audio_values, ours.eval()


def _fold_weight_norm(model: nn.Module) -> None:
    """Replace weights that are computed at each call by their values, as this project does."""
    for layer in model.modules():
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight")


def streamed(codec: Encodec, codes: Tensor) -> Tensor:
    """Decode in chunks of one second: codes [1, K, T] -> audio [1, 1, n]"""
    state = DecoderState()
    length = round(codec.config.frame_rate)
    frames = codes.shape[-1]
    chunks = [
        codec.decode_chunk(codes[..., start : start + length], state, start + length >= frames)
        for start in range(0, frames, length)
    ]
    return torch.cat(chunks, dim=-1)


def decoders(seconds: float) -> dict[str, Decoder]:
    """Build each way to decode random codes of `seconds` of audio."""
    theirs, codec = models()
    frames = round(seconds * codec.config.frame_rate)
    codes = torch.randint(codec.config.codebook_size, (1, 4, frames))
    return {
        "transformers": lambda: theirs(codes),
        "transformers, one thread": lambda: _on_one_thread(lambda: theirs(codes)),
        "whole": lambda: codec.decode(codes),
        "streamed": lambda: streamed(codec, codes),
    }


def _on_one_thread(decode: Decoder) -> Tensor:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return decode()
    finally:
        torch.set_num_threads(threads)


def measure(ways: Mapping[str, Decoder], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Run each way in turn; return median seconds, and errors relative to transformers' peak.

    A first round, which compiles kernels, is not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    audio: dict[str, Tensor] = {}
    for number in range(rounds + 1):
        for name, decode in ways.items():
            print_round(number, rounds, name)
            started_at = perf_counter()
            audio[name] = decode()
            if number > 0:
                times[name].append(perf_counter() - started_at)
    exact = audio["transformers"]
    error = {name: float((audio[name] - exact).abs().max() / exact.abs().max()) for name in ways}
    return {name: statistics.median(values) for name, values in times.items()}, error


def fastest_of_transformers(seconds: Mapping[str, float]) -> float:
    return min(value for name, value in seconds.items() if name.startswith("transformers"))


def show(seconds: Mapping[str, float], error: Mapping[str, float]) -> None:
    print("| | seconds | times as fast | largest error |", "|---|---|---|---|", sep="\n")
    for name, value in seconds.items():
        speedup = fastest_of_transformers(seconds) / value
        print(f"| {name} | {value:.2f} | {speedup:.2f} | {error[name]:.1e} |")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.codec", description=summary(__doc__)
    )
    cores = psutil.cpu_count(logical=False)
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds of audio")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each")
    parser.add_argument("--threads", type=int, default=cores, help="CPU threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    seconds, error = measure(decoders(arguments.seconds), arguments.rounds)
    show(seconds, error)
    ours = ("whole", "streamed")
    print_result(
        "codec",
        threads=arguments.threads,
        audio_s=arguments.seconds,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        speedup={name: round(fastest_of_transformers(seconds) / seconds[name], 3) for name in ours},
        error=error,
    )


if __name__ == "__main__":
    main()
