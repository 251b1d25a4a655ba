"""`musicgen generate`: make a track and write it to a file."""

import base64
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import rich.progress
import typer

from serve_app import client as api
from serve_app.audio.file_format import FORMATS, format_of_suffix
from serve_app.cli.connection import DEFAULT_URL, Key, Url, connected
from serve_app.cli.console import AsJson, fail, stderr
from serve_app.cli.player import play_file
from serve_app.cli.sampling_options import with_sampling_options

_TRACK = Path("track.wav")
_ENDINGS = ", ".join(f".{suffix}" for spec in FORMATS.values() for suffix in spec.suffixes)


@with_sampling_options
def generate(
    prompt: Annotated[
        str, typer.Argument(help="Description of the music: genre, mood, instruments, tempo.")
    ] = "",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=f"File to write; its name ends in one of {_ENDINGS}."),
    ] = _TRACK,
    model: Annotated[
        str | None, typer.Option(help="A served model; the service's default when absent.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Length of the track in seconds.")] = 30.0,
    begin: Annotated[
        Path | None,
        typer.Option(help="Audio file that the track begins with; makes the prompt optional."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    play: Annotated[bool, typer.Option("--play", help="Play the track afterwards.")] = False,
    as_json: AsJson = False,
    **sampling: float | None,
) -> None:
    """Make a track and write it to a file."""
    fields: dict[str, Any] = {"response_format": _response_format(output), "duration_s": duration}
    fields |= {"model": model, **sampling}
    if begin is not None:
        fields["audio_prompt"] = _base64(begin)
    with connected(url, key) as client:
        track = _make(client, prompt, _given(fields), quiet=as_json)
    _save(track, output)
    _print(track, output, as_json=as_json)
    if play:
        play_file(output)


def _response_format(output: Path) -> str:
    """Find the format that the name of `output` asks for. Exit where it cannot be written."""
    spec = format_of_suffix(output.suffix)
    if spec is None:
        fail(f"{output.name}: the name must end in one of {_ENDINGS}", code=2)
    if not output.parent.is_dir():
        fail(f"{output.parent} is not a folder", code=2)
    return spec.name


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the absent fields. Exit at a number that JSON cannot express."""
    for name, value in fields.items():
        if isinstance(value, float) and not math.isfinite(value):
            fail(f"{name} must be a finite number, not {value}", code=2)
    return {name: value for name, value in fields.items() if value is not None}


def _base64(file: Path) -> str:
    try:
        return base64.b64encode(file.read_bytes()).decode("ascii")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", code=2)


def _make(
    client: api.MusicGenClient, prompt: str, fields: Mapping[str, Any], *, quiet: bool
) -> api.Track:
    """Request the track and show its progress as a bar on stderr. Raises ApiError."""
    columns = (
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    with rich.progress.Progress(*columns, console=stderr, disable=quiet) as bar:
        task = bar.add_task("connecting", total=1.0)
        for event in client.stream(prompt, **fields):
            if isinstance(event, api.Progress):
                bar.update(task, completed=event.fraction, description=_state(event))
            elif isinstance(event, api.Track):
                bar.update(task, completed=1.0, description="done")
                return event
    raise api.ApiError(502, "cut_off", "The service ended its answer too early. Try again.")


def _state(progress: api.Progress) -> str:
    if progress.queue_position:
        return f"number {progress.queue_position} in the queue"
    return "making"


def _save(track: api.Track, output: Path) -> None:
    try:
        track.save(output)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")


def _print(track: api.Track, output: Path, *, as_json: bool) -> None:
    """Print the facts of the track: one line of JSON, or two lines of text."""
    if as_json:
        facts = track.model_dump(exclude={"content"})
        print(json.dumps({"file": str(output), "bytes": len(track.content), **facts}))
        return
    made = f"{track.duration_s:g} s by {track.model}, seed {track.seed}"
    print(f"{output}: {made}, in {track.generation_s:.1f} s")
    cost = "" if track.cost_usd is None else f", ${track.cost_usd:.6f}"
    print(f"Licence of the weights: {track.license}{cost}")
