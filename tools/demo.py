"""The main job from end to end: starts the service, sends one HTTP request, writes `demo.wav`, stops the service.

python -m tools.demo ["PROMPT"] [--duration SECONDS] [--seed SEED]
"""

import argparse
import sys
from pathlib import Path

import httpx

from serve_app.client import ApiError, MusicGenClient
from serve_app.launcher import LaunchError, ProgressLine, Service
from serve_app.machine import free_port

CONFIG = Path(__file__).parent.parent / "configs" / "nano.yaml"


def make_music(url: str, prompt: str, duration_s: float, seed: int, file: Path) -> None:
    with MusicGenClient(url) as client:
        track = client.generate(prompt, duration_s=duration_s, seed=seed)
    track.save(file)
    print(f"file              {file} ({len(track.content):,} bytes, {track.sample_rate} Hz)")
    print(f"prompt            {prompt}")
    print(f"model             {track.model} (weights: {track.license})")
    print(f"seed              {track.seed}")
    print(f"duration          {track.duration_s:.1f} s")
    print(
        f"generation time   {track.generation_s:.1f} s, first audio after {track.time_to_first_audio_s:.2f} s"
    )
    print(f"real-time factor  {track.real_time_factor:.2f} seconds of music per second")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description="Music from a service started for it."
    )
    parser.add_argument(
        "prompt", nargs="?", default="lofi beat, calm piano, 80 bpm", help="what to make"
    )
    parser.add_argument("--duration", type=float, default=8.0, help="seconds of music (default: 8)")
    parser.add_argument(
        "--seed", type=int, default=7, help="the same seed makes the same music (default: 7)"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("demo.wav"),
        help="the file to write (default: demo.wav)",
    )
    arguments = parser.parse_args()
    port = free_port()
    print(f"Starting the service on port {port} ({CONFIG.name}) ...", flush=True)
    try:
        with Service(CONFIG, port, ProgressLine()) as service:
            print(f"The service is RUNNING at {service.url}. Making music ...", flush=True)
            make_music(
                service.url, arguments.prompt, arguments.duration, arguments.seed, arguments.output
            )
            print("Stopping the service ...", flush=True)
    except (LaunchError, ApiError, httpx.HTTPError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    print("Done; nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
