"""The main job from end to end: starts the service, sends one HTTP request, writes `demo.wav`, stops the service.

python -m tools.demo ["PROMPT"] [--duration SECONDS] [--seed SEED]
"""

import argparse
import sys
from pathlib import Path

import httpx

from serve_app.launcher import LaunchError, ProgressLine, Service, free_port

CONFIG = Path(__file__).parent.parent / "configs" / "nano.yaml"


def make_music(url: str, prompt: str, duration_s: float, seed: int, file: Path) -> None:
    body = {"prompt": prompt, "duration_s": duration_s, "seed": seed}
    response = httpx.post(f"{url}/v1/audio/generations", json=body, timeout=600)
    if response.is_error:
        raise LaunchError(f"The service answered {response.status_code}: {response.text}")
    file.write_bytes(response.content)
    told = {name.removeprefix("x-musicgen-"): value for name, value in response.headers.items()}
    print(f"file              {file} ({len(response.content):,} bytes, {told['sample-rate']} Hz)")
    print(f"prompt            {prompt}")
    print(f"model             {told['model']} (weights: {told['license']})")
    print(f"seed              {told['seed']}")
    print(f"duration          {float(told['duration-s']):.1f} s")
    print(f"generation time   {float(told['generation-s']):.1f} s, first audio after {told['time-to-first-audio-s']} s")
    print(f"real-time factor  {told['real-time-factor']} seconds of music per second")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.demo", description="Music from a service started for it.")
    parser.add_argument("prompt", nargs="?", default="lofi beat, calm piano, 80 bpm", help="what to make")
    parser.add_argument("--duration", type=float, default=8.0, help="seconds of music (default: 8)")
    parser.add_argument("--seed", type=int, default=7, help="the same seed makes the same music (default: 7)")
    parser.add_argument("--output", type=Path, default=Path("demo.wav"), help="the file to write (default: demo.wav)")
    arguments = parser.parse_args()
    port = free_port()
    print(f"Starting the service on port {port} ({CONFIG.name}) ...", flush=True)
    try:
        with Service(CONFIG, port, ProgressLine()) as service:
            print(f"The service is RUNNING at {service.url}. Making music ...", flush=True)
            make_music(service.url, arguments.prompt, arguments.duration, arguments.seed, arguments.output)
            print("Stopping the service ...", flush=True)
    except (LaunchError, httpx.HTTPError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    print("Done; nothing is left running.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
