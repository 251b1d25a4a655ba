"""Demonstration: start the service, make `demo.wav` by one request, stop the service.

python -m tools.demo ["PROMPT"] [--duration SECONDS] [--seed SEED] [--output FILE]
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import av
import httpx

from serve_app.client import ApiError, MusicGenClient
from serve_app.launch.error import LaunchError
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from serve_app.provenance.library import offline_context

CONFIG = Path(__file__).parent.parent / "configs" / "nano.yaml"


def make_music(url: str, prompt: str, duration_s: float, seed: int, file: Path) -> None:
    """Request a track, write it to `file`, print its facts. Raises ApiError, httpx.HTTPError."""
    with MusicGenClient(url) as client:
        track = client.generate(prompt, duration_s=duration_s, seed=seed)
    track.save(file)
    first_audio = f"first audio after {track.time_to_first_audio_s:.2f} s"
    print(f"file              {file} ({len(track.content):,} bytes, {track.sample_rate} Hz)")
    print(f"prompt            {prompt}")
    print(f"model             {track.model} (weights: {track.license})")
    print(f"seed              {track.seed}")
    print(f"duration          {track.duration_s:.1f} s")
    print(f"generation time   {track.generation_s:.1f} s, {first_audio}")
    print(f"real-time factor  {track.real_time_factor:.2f} seconds of music per second")
    for mark, state in marks_of(file).items():
        print(f"{mark:<17} {state}")


def marks_of(file: Path) -> dict[str, str]:
    """Read the marks of a file of CONFIG as others do: what each layer says, or how to add it."""
    with av.open(str(file)) as container:
        tags = container.metadata
    source_type = tags.get("digital_source_type", "").rpartition("/")[2]
    model = tags.get("ai_model", "a model that no tag names")
    found = f"{source_type}, by {model}" if source_type else "none: provenance.tags is off"
    return {
        "mark: tags": found,
        "mark: signature": _signature(file),
        "mark: watermark": f"none: {CONFIG.name} has no provenance.watermark; see docs/provenance.md",
    }


def _signature(file: Path) -> str:
    if find_spec("c2pa") is None:
        return "none: uv sync --extra c2pa, then see docs/provenance.md"
    import c2pa

    reader = c2pa.Reader.try_create(str(file), context=offline_context())
    if reader is None:
        return "none: `musicgen provenance init` makes a certificate; see docs/provenance.md"
    return f"C2PA manifest, {reader.get_validation_state()}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.demo", description="Start a service, make one track, stop it."
    )
    prompt = "lofi beat, calm piano, 80 bpm"
    parser.add_argument("prompt", nargs="?", default=prompt, help="description of the music")
    parser.add_argument("--duration", type=float, default=8.0, help="seconds of music (default: 8)")
    seed_help = "the same seed makes the same track (default: 7)"
    parser.add_argument("--seed", type=int, default=7, help=seed_help)
    output_help = "file to write (default: demo.wav)"
    parser.add_argument("--output", type=Path, default=Path("demo.wav"), help=output_help)
    return parser.parse_args()


def _run(arguments: argparse.Namespace) -> None:
    port = free_port()
    print(f"Starting the service on port {port} ({CONFIG.name}) ...", flush=True)
    with Service(CONFIG, port, ProgressLine()) as service:
        print(f"The service is RUNNING at {service.url}. Making a track ...", flush=True)
        make_music(
            service.url, arguments.prompt, arguments.duration, arguments.seed, arguments.output
        )
        print("Stopping the service ...", flush=True)
    print("Done. No process is left running.")


def main() -> int:
    try:
        _run(_arguments())
    except (LaunchError, ApiError, httpx.HTTPError, OSError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
