"""The command `musicgen`: make music, list the served models, serve, and look for what is wrong."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import httpx
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from serve_app import client as api
from serve_app.doctor import Finding, examine
from serve_app.launcher import LaunchError, ProgressLine, Service

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
screen = Console(stderr=True, highlight=False)

TRACK = Path("track.wav")
PUBLISHED = "facebook/musicgen-"
NANO = Path(__file__).parent.parent / "configs" / "nano.yaml"
FORMATS = {
    ".wav": "wav",
    ".flac": "flac",
    ".mp3": "mp3",
    ".ogg": "opus",
    ".opus": "opus",
    ".pcm": "pcm",
}
PLAYERS = (
    ["ffplay", "-nodisp", "-autoexit", "-loglevel", "error"],
    ["mpv", "--no-video"],
    ["afplay"],
    ["paplay"],
)

Url = Annotated[str, typer.Option(envvar="MUSICGEN_URL", help="The service's URL.")]
Key = Annotated[
    str | None, typer.Option(envvar="MUSICGEN_API_KEY", help="An API key.", show_envvar=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON, for programs.")]
_URL = "http://127.0.0.1:8000"
_Answer = TypeVar("_Answer")


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="What the music should be like.")] = "",
    output: Annotated[
        Path, typer.Option("--output", "-o", help=f"The file: {', '.join(FORMATS)}.")
    ] = TRACK,
    model: Annotated[
        str | None, typer.Option(help="A served model; the service's default when absent.")
    ] = None,
    duration: Annotated[float, typer.Option(help="Seconds of music.")] = 30.0,
    seed: Annotated[
        int | None, typer.Option(help="The same seed makes the same music; drawn when absent.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="0 takes the likeliest code always.")
    ] = None,
    begin: Annotated[
        Path | None,
        typer.Option(help="A file that the piece begins with; the prompt may be left out."),
    ] = None,
    url: Url = _URL,
    key: Key = None,
    play: Annotated[bool, typer.Option("--play", help="Play it afterwards.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a piece of music and write it to a file."""
    if (response_format := FORMATS.get(output.suffix.lower())) is None:
        _fail(f"{output.name}: the name must end in one of {', '.join(FORMATS)}", code=2)
    if not output.parent.is_dir():
        _fail(f"{output.parent} is not a folder", code=2)
    wanted = {"model": model, "duration_s": duration, "seed": seed, "temperature": temperature}
    fields: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
    if begin is not None:
        fields["audio_prompt"] = _base64(begin)
    track = _make(url, key, prompt, fields | {"response_format": response_format}, quiet=as_json)
    try:
        track.save(output)
    except OSError as error:
        _fail(f"{output} cannot be written: {error.strerror}")
    told = {name: value for name, value in asdict(track).items() if name != "content"}
    if as_json:
        print(json.dumps({"file": str(output), "bytes": len(track.content), **told}))
    else:
        print(
            f"{output}: {track.duration_s:g} s by {track.model}, seed {track.seed}, in {track.generation_s:.1f} s"
        )
        cost = "" if track.cost_usd is None else f", ${track.cost_usd:.6f}"
        print(f"Licence of the weights: {track.license}{cost}")
    if play:
        _play(output)


@app.command()
def models(url: Url = _URL, key: Key = None, as_json: AsJson = False) -> None:
    """List the served models."""
    with api.MusicGenClient(url, key) as client:
        served = _asking(client.models)
    if as_json:
        print(json.dumps(served))
        return
    table = Table("model", "also", "from", "licence", "ready", box=None)
    for one in served:
        aliases, ready = ", ".join(one["aliases"]), "yes" if one["loaded"] else "no"
        table.add_row(one["id"], aliases, one["source"], one["license"], ready)
    Console(highlight=False).print(table)


@app.command()
def serve(
    config: Annotated[Path, typer.Argument(help="A Serve configuration.")] = NANO,
    port: Annotated[int, typer.Option(help="The HTTP port.")] = 8000,
) -> None:
    """Serve on this machine until Ctrl-C, on a Ray of its own. On a cluster: `serve run` or `serve deploy`."""
    try:
        with Service(config, port, ProgressLine(), output=sys.stdout) as service:
            print(f"{service.url}  API: {service.url}/docs", flush=True)
            service.wait()
    except LaunchError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("\nStopped.")


@app.command()
def fetch(
    sources: Annotated[
        list[str],
        typer.Argument(help="small, medium, large, ..., or a hub id, such as me/my-musicgen."),
    ],
) -> None:
    """Fetch models from the hub into this machine's cache (HF_HOME), where replicas find them."""
    from serve_app.checkpoints.hub import resolve  # it imports torch
    from serve_app.errors import CheckpointError

    for source in sources:
        try:
            folder = resolve(source if "/" in source or ":" in source else f"{PUBLISHED}{source}")
        except CheckpointError as error:
            _fail(str(error))
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{source}: {folder} ({size / 1e9:.2f} GB)")


@app.command()
def doctor(
    port: Annotated[int, typer.Option(help="The port that the service is to have.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Look at this machine for what the service needs, and say what to do about what is missing."""
    findings = list(examine(port))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            _tell(finding)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _tell(finding: Finding) -> None:
    mark = "[green]ok  [/]" if finding.good else "[red]no  [/]"
    Console(highlight=False, soft_wrap=True).print(f"{mark}{finding.subject}: {finding.state}")
    if finding.advice:
        print(f"      {finding.advice}")


def _make(
    url: str, key: str | None, prompt: str, fields: dict[str, Any], *, quiet: bool
) -> api.Track:
    """The track, with a bar that its progress fills."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with (
        api.MusicGenClient(url, key) as client,
        Progress(*columns, console=screen, disable=quiet) as bar,
    ):
        task = bar.add_task("connecting", total=1.0)

        def make() -> api.Track:
            for event in client.stream(prompt, **fields):
                if isinstance(event, api.Progress):
                    waiting = f"number {event.queue_position} in the queue"
                    bar.update(
                        task,
                        completed=event.fraction,
                        description=waiting if event.queue_position else "making",
                    )
                elif isinstance(event, api.Track):
                    bar.update(task, completed=1.0, description="done")
                    return event
            raise api.ApiError(502, "cut_off", "The service ended its answer too early. Try again.")

        return _asking(make)


def _base64(file: Path) -> str:
    try:
        return base64.b64encode(file.read_bytes()).decode("ascii")
    except OSError as error:
        _fail(f"{file} cannot be read: {error.strerror}", code=2)


def _asking(ask: Callable[[], _Answer]) -> _Answer:
    try:
        return ask()
    except api.ApiError as error:
        later = f" Try again in {error.retry_after_s:g} s." if error.retry_after_s else ""
        _fail(f"{error.detail}{later} ({error.code})")
    except httpx.ConnectError:
        _fail(
            "The service cannot be reached. Is it running (`musicgen serve`), and is --url right?"
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        _fail(f"The service could not be asked: {error}")


def _play(file: Path) -> None:
    for player in PLAYERS:
        if shutil.which(player[0]):
            subprocess.run([*player, str(file)], check=False)
            return
    _fail(f"No player was found: install one of {', '.join(player[0] for player in PLAYERS)}")


def _fail(message: str, code: int = 1) -> NoReturn:
    """One line on stderr."""
    screen.print(f"[red]error[/] {message}", soft_wrap=True)
    raise typer.Exit(code)


if __name__ == "__main__":
    app()
