"""Measure what the encoder of a stream takes, what it changes, and what a hop to an encoder elsewhere would cost.

python -m benchmarks.encoders [--duration 60] [--rounds 5]

Streamed parts of a second of synthetic music, one channel at 32 kHz, are encoded with settings in turn; figures
are medians of CPU time. `distance_db` is the mean difference of the decoded file's spectrum in 64 mel bands. A
hop sends a second of audio from one process to another over gRPC, without Serve's part. The last line is JSON.
"""

import argparse
import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from time import process_time
from typing import Any

import grpc
import librosa
import numpy as np

from benchmarks.report import print_result, print_table, summary
from serve_app.audio.encoder import Encoder, Samples
from serve_app.audio.file_format import FORMATS, Encoding
from serve_app.audio.reader import read_samples
from serve_app.machine import free_port
from tools.nano.composer import render
from tools.nano.score import random_score
from tools.nano.synthesizer import SAMPLE_RATE

PIECE_S = 30.0
LEVELS: dict[str, tuple[str, ...]] = {
    "pcm": (),
    "flac": (),
    "opus": ("10", "5", "0"),
    "mp3": ("5", "7"),
}
METHOD = "/hop/Send"
MESSAGES = 400
MOST_S = 3600.0  # of music
Row = dict[str, float | None]


def music(duration_s: float) -> Samples:
    """Pieces of the embedded model's training music, one after another: [1, n]."""
    count = max(1, round(duration_s / PIECE_S))
    pieces = [render(random_score(seed), duration_s / count) for seed in range(count)]
    return np.concatenate(pieces)[None]


def settings() -> Iterator[tuple[str, Encoding]]:
    """Each format with its levels of compression; without levels as it is streamed."""
    for name, levels in LEVELS.items():
        for level in levels:
            options = {"compression_level": level}
            yield f"{name}, {level}", Encoding(replace(FORMATS[name], stream_codec_options=options))
        if not levels:
            yield name, Encoding(FORMATS[name])


def encoded(samples: Samples, encoding: Encoding) -> tuple[float, bytes]:
    """CPU seconds of encoding in parts of a second, and the file."""
    encoder = Encoder(encoding, SAMPLE_RATE, 1, streamed=True)
    started_at = process_time()
    parts = [
        encoder.add(samples[:, start : start + SAMPLE_RATE])
        for start in range(0, samples.shape[1], SAMPLE_RATE)
    ]
    parts.append(encoder.finish())
    return process_time() - started_at, b"".join(parts)


def decoded(content: bytes, encoding: Encoding) -> Samples:
    """Decode to one channel at SAMPLE_RATE: [n]."""
    if encoding.file_format is FORMATS["pcm"]:
        return np.asarray(np.frombuffer(content, np.int16) / 2**15, np.float32)
    samples, _ = read_samples(content, MOST_S, SAMPLE_RATE)
    return np.asarray(samples[0], np.float32)


def distance_db(original: Samples, copy: Samples) -> float:
    """Mean distance of two spectra in 64 mel bands, after the shift at which they correlate best."""
    size = 2 * SAMPLE_RATE
    spectra = np.fft.rfft(original[:size]), np.fft.rfft(copy[:size])
    shift = int(np.argmax(np.fft.irfft(np.conj(spectra[0]) * spectra[1])[: SAMPLE_RATE // 4]))
    length = min(len(original), len(copy) - shift)
    bands = [
        librosa.power_to_db(librosa.feature.melspectrogram(y=y[:length], sr=SAMPLE_RATE, n_mels=64))
        for y in (original, copy[shift:])
    ]
    return float(np.abs(bands[0] - bands[1]).mean())


def by_setting(samples: Samples, rounds: int) -> dict[str, Row]:
    """Rows of all settings, which take turns."""
    seconds = samples.shape[1] / SAMPLE_RATE
    cpu_s: dict[str, list[float]] = {}
    files: dict[str, tuple[bytes, Encoding]] = {}
    for _ in range(rounds):
        for name, encoding in settings():
            spent_s, content = encoded(samples, encoding)
            cpu_s.setdefault(name, []).append(spent_s)
            files[name] = content, encoding
    return {
        name: {
            "ms_per_s": round(1000 * median(cpu_s[name]) / seconds, 2),
            "kbit_per_s": round(8 * len(content) / 1000 / seconds, 1),
            "distance_db": round(distance_db(samples[0], decoded(content, encoding)), 3),
        }
        for name, (content, encoding) in files.items()
    }


def _receive(port: int, pipe: Connection) -> None:
    """Serve METHOD until told to end; tell the CPU seconds that MESSAGES took."""

    async def run() -> None:
        async def answer(_: bytes, __: object) -> bytes:
            return b""

        handler = grpc.unary_unary_rpc_method_handler(answer)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("hop", {"Send": handler}),)
        )
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        while True:
            started_at = process_time()
            pipe.send(None)
            if not await asyncio.to_thread(pipe.recv):
                return
            pipe.send(process_time() - started_at)

    asyncio.run(run())


@contextmanager
def receiver() -> Iterator[tuple[int, Connection]]:
    """A process that receives: its port, and the pipe to it."""
    context = get_context("spawn")
    port = free_port()
    ours, its = context.Pipe()
    process = context.Process(target=_receive, args=(port, its))
    process.start()
    ours.recv()
    try:
        yield port, ours
    finally:
        ours.send(False)
        process.join()


async def _send(port: int, content: bytes) -> float:
    """CPU seconds of sending MESSAGES."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD)
        await call(content)
        started_at = process_time()
        for _ in range(MESSAGES):
            await call(content)
        return process_time() - started_at


def hops() -> Mapping[str, Row]:
    """Milliseconds of CPU to send and to receive a second of audio."""
    rows: dict[str, Row] = {}
    for name, sample_bytes in (("32 bits a sample", 4), ("16 bits a sample", 2)):
        with receiver() as (port, pipe):
            sent_s = asyncio.run(_send(port, bytes(sample_bytes * SAMPLE_RATE)))
            pipe.send(True)
            received_s = pipe.recv()
            pipe.recv()
        rows[name] = {
            "sender_ms": round(1000 * sent_s / MESSAGES, 2),
            "receiver_ms": round(1000 * received_s / MESSAGES, 2),
        }
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.encoders", description=summary(__doc__)
    )
    parser.add_argument(
        "--duration", type=float, default=60.0, help="seconds of music (default: 60)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of each setting (default: 5)")
    arguments = parser.parse_args()
    samples = music(arguments.duration)
    figures: dict[str, Any] = {"encoders": by_setting(samples, arguments.rounds), "hops": hops()}
    for rows in figures.values():
        print_table(rows)
        print()
    print_result("encoders", figures=figures)


if __name__ == "__main__":
    main()
