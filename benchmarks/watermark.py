"""Measure AudioSeal's watermark: how often it is detected after formats and edits, and its cost.

python -m benchmarks.watermark --generator FILE --detector FILE [--audio FILE ...]   # detection rates
python -m benchmarks.watermark                                                       # cost alone

Files of weights are converted ones (`musicgen provenance convert-watermark`). Without --audio, the
tracks are chords with noise, one for each of --tracks. Cost does not depend on the weights, and is
measured with random ones. The last line is JSON.
"""

import argparse
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import perf_counter, process_time

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.report import print_result, print_table, summary
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.reader import read_samples
from serve_app.checkpoints.audioseal import load_detector, load_generator
from serve_app.models.audioseal.detector import Detection, DetectionStream, Detector
from serve_app.models.audioseal.generator import Generator
from serve_app.models.audioseal.watermark import Watermark, WatermarkStream

RATE = 32_000
MESSAGE = 0xA5C3
_BITS = 16
_THRESHOLD = 0.5
_CPU = torch.device("cpu")
Samples = NDArray[np.float32]
Row = dict[str, float]
Change = Callable[[Samples], Samples]


def tracks_of(count: int, duration_s: float) -> list[Samples]:
    """Make chords with noise, each of other notes. Returns arrays [1, n]."""
    tracks = []
    for seed in range(count):
        random = np.random.default_rng(seed)
        t = np.arange(round(duration_s * RATE)) / RATE
        notes = 110.0 * 2 ** (random.integers(0, 36, 4) / 12)
        chord = sum(np.sin(2 * np.pi * note * t) for note in notes) * (0.6 + 0.4 * np.sin(4 * t))
        tracks.append(
            np.asarray(0.1 * chord + 0.01 * random.standard_normal(len(t)), np.float32)[None]
        )
    return tracks


def through(name: str, bitrate_kbps: int | None = None) -> Change:
    """Build the change that a file format makes."""
    encoding = Encoding(FORMATS[name], bitrate_kbps=bitrate_kbps)
    return lambda samples: read_samples(encode(samples, RATE, encoding), 3600.0, RATE)[0]


def resampled(rate: int) -> Change:
    """Build the change by another sample rate and back."""
    encoding = Encoding(FORMATS["wav"], sample_rate=rate)
    return lambda samples: read_samples(encode(samples, RATE, encoding), 3600.0, RATE)[0]


CHANGES: dict[str, Change] = {
    "none": lambda samples: samples,
    "wav": through("wav"),
    "flac": through("flac"),
    "mp3 320": through("mp3", 320),
    "mp3 192": through("mp3", 192),
    "mp3 128": through("mp3", 128),
    "mp3 64": through("mp3", 64),
    "opus 128": through("opus", 128),
    "opus 64": through("opus", 64),
    "opus 32": through("opus", 32),
    "44.1 kHz": resampled(44_100),
    "16 kHz": resampled(16_000),
    "8 kHz": resampled(8_000),
    "-12 dB": lambda samples: np.asarray(0.25 * samples, np.float32),
    "cut 1.234 s": lambda samples: samples[:, round(1.234 * RATE) :],
}


def marked(watermark: Watermark, samples: Samples) -> Samples:
    """Mark a track in chunks of a second, as a replica does."""
    stream = WatermarkStream(watermark)
    parts = torch.split(torch.from_numpy(samples), RATE, dim=1)
    chunks = [stream.add(part, number == len(parts) - 1) for number, part in enumerate(parts)]
    return torch.cat(chunks, dim=1).numpy()


def detection(detector: Detector, samples: Samples) -> Detection:
    """Detect in a track at RATE, in parts of a second."""
    content = encode(samples, RATE, Encoding(FORMATS["wav"], sample_rate=16_000))
    stream = DetectionStream(detector)
    for part in torch.split(torch.from_numpy(read_samples(content, 3600.0, 16_000)[0]), 16_000, 1):
        stream.add(part)
    return stream.finish()


def rates(watermark: Watermark, detector: Detector, tracks: list[Samples]) -> dict[str, Row]:
    """Measure detection after each change."""
    pairs = [(track, marked(watermark, track)) for track in tracks]
    rows: dict[str, Row] = {}
    for name, change in CHANGES.items():
        plain = [detection(detector, change(track)) for track, _ in pairs]
        found = [detection(detector, change(track)) for _, track in pairs]
        wrong = [(one.message ^ MESSAGE).bit_count() for one in found]
        rows[name] = {
            "detected %": 100 * mean(one.score >= _THRESHOLD for one in found),
            "mean score": round(mean(one.score for one in found), 3),
            "right bits %": round(100 * (1 - mean(wrong) / _BITS), 1),
            "false alarms %": 100 * mean(one.score >= _THRESHOLD for one in plain),
        }
    return rows


def costs(duration_s: float, rounds: int) -> dict[str, Row]:
    """Measure seconds of one CPU thread for a mono track, and what a stream waits longer."""
    track = tracks_of(1, duration_s)[0]
    rows: dict[str, Row] = {}
    for variant, causal in (("base", False), ("streaming", True)):
        generator = Generator(causal=causal).eval().requires_grad_(False)
        watermark = Watermark(generator, RATE, MESSAGE, -30.0)
        marking = [_timed(partial(marked, watermark, track)) for _ in range(rounds)]
        rows[f"mark, {variant}"] = _cost(marking) | {
            "first audio later by ms": 1000 * watermark.lookahead / RATE
        }
    detector = Detector(causal=False).eval().requires_grad_(False)
    detecting = [_timed(partial(detection, detector, track)) for _ in range(rounds)]
    rows["detect"] = _cost(detecting) | {"first audio later by ms": 0.0}
    return rows


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds on the clock and of the CPU."""
    started_at = perf_counter()
    cpu_at = process_time()
    work()
    return 1000 * (perf_counter() - started_at), 1000 * (process_time() - cpu_at)


def _cost(spent: list[tuple[float, float]]) -> Row:
    return {
        "ms": round(median(wall for wall, _ in spent), 1),
        "CPU ms": round(median(cpu for _, cpu in spent), 1),
    }


def measured(arguments: argparse.Namespace) -> Mapping[str, Row]:
    """Measure detection with the weights and the tracks of the command line; without weights, cost."""
    if arguments.generator is None:
        return costs(arguments.duration, arguments.rounds)
    files = [read_samples(file.read_bytes(), 3600.0, RATE)[0] for file in arguments.audio]
    tracks = files or tracks_of(arguments.tracks, arguments.duration)
    generator = load_generator(arguments.generator, _CPU)
    watermark = Watermark(generator, RATE, MESSAGE, arguments.level)
    return rates(watermark, load_detector(arguments.detector, _CPU), tracks)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.watermark", description=summary(__doc__)
    )
    parser.add_argument("--generator", type=Path, help="converted generator")
    parser.add_argument("--detector", type=Path, help="converted detector")
    parser.add_argument("--audio", type=Path, nargs="*", default=[], help="unmarked tracks")
    parser.add_argument("--tracks", type=int, default=20, help="tracks to make (default: 20)")
    parser.add_argument("--duration", type=float, default=30.0, help="their seconds (default: 30)")
    parser.add_argument("--level", type=float, default=-30.0, help="max_level_db (default: -30)")
    parser.add_argument("--rounds", type=int, default=3, help="of the cost (default: 3)")
    arguments = parser.parse_args()
    if (arguments.generator is None) != (arguments.detector is None):
        parser.error("--generator and --detector go together: give both, or neither")
    torch.set_num_threads(1)
    rows = measured(arguments)
    print_table(rows)
    print_result("watermark", rows=rows)


if __name__ == "__main__":
    main()
