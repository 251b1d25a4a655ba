"""`musicgen generate`: make a track and write it to a file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import rich.progress
import typer

from serve_app.audio.file_format import FORMATS, format_of_suffix
from serve_app.cli.connection import DEFAULT_URL, Key, Url, connected
from serve_app.cli.console import AsJson, fail, stderr
from serve_app.cli.generation_options import with_generation_options
from serve_app.cli.jobs import submit_job
from serve_app.cli.output_files import check_files, manifest_file, output_files
from serve_app.cli.player import play_file
from serve_app.cli.uploads import Begin, Melody, check_prompt
from serve_app.client import ApiError, MusicGenClient, Progress, Track
from serve_app.client.problems import cut_off
from serve_app.types import ENCODEC

_TRACK = Path("track.wav")
_NOT_SIGNED = "format_not_signed"  # code of the API's error
_MAX_TRACKS = 8  # as in the schema of the API
_OF_THE_WHOLE = ("peak", "rms", "loudness")  # normalizations of which no part can be streamed
_MAKING = (
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.TimeRemainingColumn(),
)
_WAITING = (rich.progress.TextColumn("{task.description}"), rich.progress.TimeElapsedColumn())
_ENDINGS = ", ".join(f".{suffix}" for spec in FORMATS.values() for suffix in spec.suffixes)


@with_generation_options
def generate(
    prompt: Annotated[
        str, typer.Argument(help="Description of the music: genre, mood, instruments, tempo.")
    ] = "",
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help=f"File to write; its name ends in one of {_ENDINGS}."),
    ] = _TRACK,
    n: Annotated[
        int,
        typer.Option(
            "-n",
            min=1,
            max=_MAX_TRACKS,
            help="Number of tracks, with the seed and the following ones: NAME-1.wav, ...",
        ),
    ] = 1,
    begin: Begin = None,
    melody: Melody = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    play: Annotated[bool, typer.Option("--play", help="Play the tracks afterwards.")] = False,
    whole: Annotated[
        bool,
        typer.Option(
            "--whole",
            help="Receive the file when it is finished, with a signed manifest where the service "
            "signs; a stream has none.",
        ),
    ] = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach", help="Make a durable job of it, print its id, and do not wait for its end."
        ),
    ] = False,
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Make a track, or several, and write it to a file."""
    check_prompt(prompt, begin, melody)
    given = fields | {"response_format": _response_format(output)}
    if detach:
        submit_job(prompt, (begin, melody), given | {"n": n}, None, (url, key), as_json=as_json)
        return
    files = output_files(output, n)
    check_files(files, force=force)
    uploads = {"audio_prompt": _content(begin), "melody": _content(melody)}
    with connected(url, key) as client:
        tracks: list[Track] = []
        if not (whole or n > 1 or _is_of_the_whole(given)):
            tracks = _stream_if_allowed(client, prompt, given | uploads, quiet=as_json)
        tracks = tracks or _make(client, prompt, n, given | uploads, quiet=as_json)
    for track, file in zip(tracks, files, strict=True):
        _save(track, file)
        _print(track, file, as_json=as_json)
    if play:
        for file in files:
            play_file(file)


def _response_format(output: Path) -> str:
    """Find the format that the name of `output` asks for. Exit where it cannot be written."""
    spec = format_of_suffix(output.suffix)
    if spec is None:
        fail(f"{output}: the name must end in one of {_ENDINGS}", code=2)
    return spec.name


def _content(file: Path | None) -> bytes | None:
    try:
        return None if file is None else file.read_bytes()
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", code=2)


def _is_of_the_whole(fields: Mapping[str, Any]) -> bool:
    """Whether the service refuses to stream such a track."""
    by_encodec = fields.get("decoder") in (None, ENCODEC)
    return not by_encodec or fields.get("normalization") in _OF_THE_WHOLE


def _make(
    client: MusicGenClient,
    prompt: str,
    n: int,
    fields: Mapping[str, Any],
    *,
    quiet: bool,
) -> list[Track]:
    """Request tracks that are sent when they are finished. Raises ApiError."""
    shown = f"making {n} tracks" if n > 1 else "making"
    with rich.progress.Progress(
        *_WAITING, console=stderr, disable=quiet or not stderr.is_terminal
    ) as bar:
        bar.add_task(shown, total=None)
        return client.variations(prompt, n=n, **fields)


def _stream_if_allowed(
    client: MusicGenClient,
    prompt: str,
    fields: Mapping[str, Any],
    *,
    quiet: bool,
) -> list[Track]:
    """Request one track as a stream; none where the service sends signed files only."""
    try:
        return [_stream(client, prompt, fields, quiet=quiet)]
    except ApiError as error:
        if error.code != _NOT_SIGNED:
            raise
        return []


def _stream(
    client: MusicGenClient,
    prompt: str,
    fields: Mapping[str, Any],
    *,
    quiet: bool,
) -> Track:
    """Request a track and show its progress as a bar on stderr. Raises ApiError."""
    with rich.progress.Progress(
        *_MAKING, console=stderr, disable=quiet or not stderr.is_terminal
    ) as bar:
        task = bar.add_task("connecting", total=1.0)
        for event in client.stream(prompt, **fields):
            if isinstance(event, Progress):
                bar.update(task, completed=event.fraction, description=_state(event))
            elif isinstance(event, Track):
                bar.update(task, completed=1.0, description="done")
                return event
    raise cut_off()


def _state(progress: Progress) -> str:
    if progress.queue_position:
        return f"number {progress.queue_position} in the queue"
    return "making"


def _save(track: Track, output: Path) -> None:
    """Write the file, and a manifest beside it, NAME.c2pa, where the file cannot hold its own.

    A manifest that lies there belongs to the file that was overwritten: without a new one it goes.
    """
    manifest = manifest_file(output)
    try:
        track.save(output)
        if manifest is not None and track.manifest is not None:
            manifest.write_bytes(track.manifest)
        elif manifest is not None:
            manifest.unlink(missing_ok=True)
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}")


def _print(track: Track, output: Path, *, as_json: bool) -> None:
    """Print the facts of the track: one line of JSON, or two lines of text."""
    if as_json:
        facts = track.model_dump(exclude={"content", "manifest"})
        print(json.dumps({"file": str(output), "bytes": len(track.content), **facts}))
        return
    made = f"{track.duration_s:g} s by {track.model}, seed {track.seed}"
    print(f"{output}: {made}, in {track.generation_s:.1f} s")
    cost = "" if track.cost_usd is None else f", ${track.cost_usd:.6f}"
    print(f"Licence of the weights: {track.license}{cost}")
