"""Measure what conversions of one key cost another key's tracks.

python -m benchmarks.conversions [--requests 200] [--callers 8]

The service runs configs/nano.yaml with two keys. One key makes tracks of one second, one after the
other: first alone, then while the other key keeps conversions of the longest allowed files running,
FLAC to FLAC and MP3 to MP3, with loudness normalization. The last line is JSON.
"""

import argparse
import asyncio
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
from tqdm import tqdm

from benchmarks.callers import Caller
from benchmarks.report import print_result, print_table, summary
from serve_app.audio.encoder import Encoder
from serve_app.audio.file_format import FLAC, MP3, Encoding
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port

CONFIG = Path("configs/nano.yaml")
CONVERSIONS = "/v1/audio/conversions"
KEYS = {"music": "benchmark-music-key", "files": "benchmark-files-key"}
SECONDS = 1.0  # of the tracks
LONGEST_S = 599  # of the files: a lossy file is a little longer than its music
RATE = 48_000


def long_files() -> dict[str, bytes]:
    """Silence in FLAC, as little as can be uploaded, and noise in MP3, nearly as much as can be."""
    silence = np.zeros((2, RATE), np.float32)
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (2, RATE)).astype(np.float32)
    return {
        "silence.flac": _repeated(silence, Encoding(FLAC)),
        "noise.mp3": _repeated(noise, Encoding(MP3)),
    }


def _repeated(
    second: np.ndarray[tuple[int, int], np.dtype[np.float32]], encoding: Encoding
) -> bytes:
    encoder = Encoder(encoding, RATE, len(second), streamed=False)
    for _ in range(LONGEST_S):
        encoder.add(second)
    return encoder.finish()


def client_of(service: Service, key: str) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {KEYS[key]}"}
    return httpx.AsyncClient(base_url=service.url, timeout=600, headers=headers)


async def tracks(client: httpx.AsyncClient, requests: int, name: str) -> list[float]:
    """Seconds of whole tracks, one after the other."""
    caller = Caller(client)
    return [await caller.whole(SECONDS) for _ in tqdm(range(requests), desc=name, leave=False)]


async def convert(client: httpx.AsyncClient, name: str, content: bytes) -> int:
    """Convert a file to the format of its name; return the status of the answer."""
    fields = {"response_format": Path(name).suffix[1:], "normalization": "loudness"}
    response = await client.post(CONVERSIONS, data=fields, files={"audio": (name, content)})
    return response.status_code


async def convert_on(
    client: httpx.AsyncClient, name: str, content: bytes, statuses: Counter[int]
) -> None:
    """Convert a file again and again."""
    while True:
        statuses[await convert(client, name, content)] += 1


async def measure(
    service: Service, requests: int, callers: int
) -> tuple[list[float], list[float], Counter[int]]:
    """Return seconds of tracks alone and beside conversions, and the conversions' statuses."""
    files = list(long_files().items())
    statuses = Counter[int]()
    async with client_of(service, "music") as music, client_of(service, "files") as other:
        await tracks(music, 5, "warm up")
        alone = await tracks(music, requests, "alone")
        running = [
            asyncio.create_task(convert_on(other, *files[number % len(files)], statuses))
            for number in range(callers)
        ]
        await asyncio.sleep(3)  # until the files are uploaded
        beside = await tracks(music, requests, "beside conversions")
        for task in running:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return alone, beside, statuses


def row(seconds: Sequence[float]) -> dict[str, float]:
    p50, p95 = (round(float(np.percentile(seconds, p)) * 1000, 1) for p in (50, 95))
    return {"p50 ms": p50, "p95 ms": p95}


def memory_mib(service: Service) -> float:
    """Memory of the ingress and its workers."""
    ingress = [process for process in service.processes() if "Ingress" in process.name()]
    ours = [one for process in ingress for one in [process, *process.children(recursive=True)]]
    return round(sum(process.memory_info().rss for process in ours) / 2**20)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conversions", description=summary(__doc__)
    )
    parser.add_argument("--requests", type=int, default=200, help="tracks, alone and beside")
    parser.add_argument("--callers", type=int, default=8, help="conversions at a time")
    arguments = parser.parse_args()
    os.environ["MUSICGEN_API_KEYS"] = ",".join(f"{name}:{key}" for name, key in KEYS.items())
    with Service(CONFIG, free_port(), ProgressLine()) as service:
        before = memory_mib(service)
        alone, beside, statuses = asyncio.run(
            measure(service, arguments.requests, arguments.callers)
        )
        after = memory_mib(service)
    rows = {"alone": row(alone), "beside conversions": row(beside)}
    ratio = round(rows["beside conversions"]["p95 ms"] / rows["alone"]["p95 ms"], 2)
    print_table(rows)
    print(f"\np95: {ratio} times; ingress with its workers: {before:.0f} -> {after:.0f} MiB")
    figures = {name.replace(" ", "_"): values for name, values in rows.items()}
    print_result(
        "conversions",
        **figures,
        p95_ratio=ratio,
        memory_mib=[before, after],
        statuses=dict(statuses),
    )


if __name__ == "__main__":
    main()
