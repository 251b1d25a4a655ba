"""Measure the cost of marks: milliseconds and bytes that tags, manifests and a watermark add to a track.

python -m benchmarks.provenance [--duration 30] [--rounds 20]

Encoding with and without tags, and signing by format and algorithm, alternate in one process.
Figures are medians. The last line is JSON.
"""

import argparse
import asyncio
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks import watermark
from benchmarks.report import print_result, print_table, summary
from serve_app.audio.encoder import encode
from serve_app.audio.file_format import FORMATS, Encoding, FormatSpec, Tagging
from serve_app.config.provenance import Algorithm, ProvenanceConfig
from serve_app.marks import tags_of
from serve_app.provenance.credentials import read_credentials
from serve_app.provenance.manifest import Generated
from serve_app.provenance.self_signed import make_pair
from serve_app.provenance.signer import ManifestSigner

RATE = 32_000
MODEL = "small"
SOURCE = "facebook/musicgen-small"
TAGS = tags_of(f"{MODEL} ({SOURCE})", "CC-BY-NC-4.0", 7, "lofi beat, calm piano, 80 bpm")
Row = dict[str, float]


def samples(duration_s: float) -> NDArray[np.float32]:
    """A chord in noise, as long as the track. Returns [1, n]."""
    t = np.arange(round(duration_s * RATE)) / RATE
    chord = sum(0.2 * np.sin(2 * np.pi * hertz * t) for hertz in (220.0, 277.2, 329.6))
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(t))
    return np.asarray(chord + noise, np.float32)[None]


def signer_of(algorithm: Algorithm) -> ManifestSigner:
    """A signer with a new chain of its own."""
    pair = make_pair(algorithm, "benchmark", 30)
    config = ProvenanceConfig(algorithm=algorithm)
    environment = {
        config.certificate_env: pair.chain.decode(),
        config.private_key_env: pair.private_key.decode(),
    }
    credentials = read_credentials(config, environment)
    assert credentials is not None
    return ManifestSigner(credentials)


def timed(work: Callable[[], bytes]) -> tuple[float, bytes]:
    """Milliseconds of the work, and its result."""
    started_at = perf_counter()
    result = work()
    return 1000 * (perf_counter() - started_at), result


def tag_row(spec: FormatSpec, audio: NDArray[np.float32], rounds: int) -> Row:
    """Cost of tags in files of a format."""
    encoding: list[float] = []
    more: list[float] = []
    for _ in range(rounds):
        plain_ms, plain = timed(lambda: encode(audio, RATE, Encoding(spec)))
        tagged_ms, tagged = timed(lambda: encode(audio, RATE, Encoding(spec, tags=TAGS)))
        encoding.append(plain_ms)
        more.append(tagged_ms - plain_ms)
    return _row(median(encoding), median(more), len(plain), len(tagged) - len(plain))


async def signing_row(signer: ManifestSigner, spec: FormatSpec, file: bytes, rounds: int) -> Row:
    """Cost of a manifest in a file."""
    definition = Generated(MODEL, SOURCE, TAGS).definition()
    spent: list[float] = []
    signed = b""
    for _ in range(rounds):
        started_at = perf_counter()
        signed = await signer.embed(file, spec.media_type, definition)
        spent.append(1000 * (perf_counter() - started_at))
    return _row(0.0, median(spent), len(file), len(signed) - len(file))


def _row(encode_ms: float, mark_ms: float, file_bytes: int, mark_bytes: int) -> Row:
    return {
        "encode ms": round(encode_ms, 1),
        "mark ms": round(mark_ms, 1),
        "file kB": round(file_bytes / 1000, 1),
        "mark bytes": mark_bytes,
    }


async def measure(duration_s: float, rounds: int) -> dict[str, Row]:
    """Measure every row."""
    audio = samples(duration_s)
    rows: dict[str, Row] = {}
    for spec in FORMATS.values():
        if spec.tagging is not Tagging.NONE:
            rows[f"tags, {spec}"] = tag_row(spec, audio, max(3, rounds // 4))
    holding = [spec for spec in FORMATS.values() if spec.holds_manifest]
    files = {spec.name: encode(audio, RATE, Encoding(spec, tags=TAGS)) for spec in holding}
    for algorithm in get_args(Algorithm):
        signer = signer_of(algorithm)
        for spec in holding if algorithm == "es256" else holding[:1]:
            name = f"manifest, {algorithm}, {spec}"
            rows[name] = await signing_row(signer, spec, files[spec.name], rounds)
    for name, cost in watermark.costs(duration_s, max(1, rounds // 10)).items():
        rows[f"watermark: {name}, one CPU thread"] = _row(0.0, cost["ms"], 0, 0)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.provenance", description=summary(__doc__)
    )
    parser.add_argument("--duration", type=float, default=30.0, help="seconds (default: 30)")
    parser.add_argument("--rounds", type=int, default=20, help="repetitions (default: 20)")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments.duration, arguments.rounds))
    print_table(rows)
    print_result("provenance", rows=rows)


if __name__ == "__main__":
    main()
