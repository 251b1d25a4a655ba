"""`musicgen jobs`: durable jobs of the service."""

import json
from pathlib import Path
from typing import Annotated, Any

import rich.progress
import typer
from rich.console import Console
from rich.table import Table

from serve_app.audio.file_format import FORMATS, format_of_suffix
from serve_app.cli.connection import DEFAULT_URL, Key, Url, connected
from serve_app.cli.console import AsJson, fail, stderr
from serve_app.cli.generation_options import with_generation_options
from serve_app.cli.job_store import migrate
from serve_app.cli.output_files import check_files, output_files
from serve_app.cli.uploads import Begin, Melody, check_prompt
from serve_app.client import Job, MusicGenClient

_FORMATS = ", ".join(FORMATS)
_MAKING = (
    rich.progress.TextColumn("{task.description}"),
    rich.progress.BarColumn(),
    rich.progress.TimeRemainingColumn(),
)
JobId = Annotated[str, typer.Argument(help="Id of the job.")]

jobs = typer.Typer(
    no_args_is_help=True, help="Make tracks as durable jobs; list, fetch, cancel them."
)


jobs.command()(migrate)


@jobs.callback()
def options() -> None:
    """Make tracks as durable jobs, which outlive the connection; list, fetch, cancel them."""


@jobs.command()
@with_generation_options
def submit(
    prompt: Annotated[
        str, typer.Argument(help="Description of the music: genre, mood, instruments, tempo.")
    ] = "",
    response_format: Annotated[
        str, typer.Option("--format", help=f"Format of the files: one of {_FORMATS}.")
    ] = "wav",
    n: Annotated[int, typer.Option("-n", min=1, max=8, help="Number of tracks.")] = 1,
    begin: Begin = None,
    melody: Melody = None,
    priority: Annotated[
        int, typer.Option(min=-10, max=10, help="Jobs of a higher priority start first.")
    ] = 0,
    webhook: Annotated[
        str | None, typer.Option(help="URL that is told of the job's end, by Standard Webhooks.")
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(help="A repetition with the same key returns the job of the first time."),
    ] = None,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
    **fields: Any,
) -> None:
    """Add a job and print its id."""
    if response_format not in FORMATS:
        fail(f"--format must be one of {_FORMATS}, not {response_format}", code=2)
    given = fields | {"response_format": response_format, "n": n, "priority": priority}
    if webhook is not None:
        given["webhook"] = {"url": webhook}
    submit_job(prompt, (begin, melody), given, idempotency_key, (url, key), as_json=as_json)


def submit_job(
    prompt: str,
    uploads: tuple[Path | None, Path | None],
    fields: dict[str, Any],
    idempotency_key: str | None,
    connection: tuple[str, str | None],
    *,
    as_json: bool,
) -> None:
    """Add a job and print its id. uploads: beginning and melody; connection: URL and key."""
    begin, melody = uploads
    check_prompt(prompt, begin, melody)
    with connected(*connection) as client:
        try:
            job = client.jobs.submit(
                prompt,
                audio_prompt=begin,
                melody=melody,
                idempotency_key=idempotency_key,
                **fields,
            )
        except OSError as error:
            fail(str(error), code=2)
    if as_json:
        print(job.model_dump_json())
        return
    print(job.id)
    stderr.print(f"{_state(job)}. Fetch it with: musicgen jobs fetch {job.id}", soft_wrap=True)


@jobs.command("list")
def list_jobs(
    status: Annotated[
        str | None, typer.Option(help="Only queued, running, succeeded, failed or canceled ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Number of jobs at most.")] = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first."""
    with connected(url, key) as client:
        found = client.jobs.list(status)  # type: ignore[arg-type]  # the service checks it
        page = [job for job, _ in zip(found, range(limit), strict=False)]
    if as_json:
        print(json.dumps([job.model_dump(mode="json") for job in page]))
        return
    table = Table("id", "status", "model", "created", "prompt", box=None)
    for job in page:
        prompt = "" if job.request is None else str(job.request.get("prompt", ""))
        table.add_row(job.id, _state(job), job.model, (job.created_at or "")[:19], prompt[:60])
    Console(highlight=False, markup=False).print(table)


@jobs.command()
def show(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Show the state of a job."""
    with connected(url, key) as client:
        _print(client.jobs.get(job_id), as_json=as_json)


@jobs.command()
def wait(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Wait for the end of a job. The exit status is 1 if it failed or was canceled."""
    with connected(url, key) as client:
        job = _follow(client, job_id, quiet=as_json)
        _print(job, as_json=as_json)
        job.check()


@jobs.command()
def cancel(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job; one that has ended stays as it is."""
    with connected(url, key) as client:
        _print(client.jobs.cancel(job_id), as_json=as_json)


@jobs.command()
def delete(job_id: JobId, url: Url = DEFAULT_URL, key: Key = None) -> None:
    """Erase a job with its prompt, its uploads and its audio; a running one stops."""
    with connected(url, key) as client:
        client.jobs.delete(job_id)


@jobs.command()
def fetch(
    job_id: JobId,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File to write. Default: track and the format's ending."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite existing files.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Wait for the end of a job and write its files: NAME-1.wav, NAME-2.wav, ... for several."""
    with connected(url, key) as client:
        job = client.jobs.get(job_id)
        files = _files(job, output)
        check_files(files, force=force)
        _follow(client, job_id, quiet=as_json).check()
        for number, file in enumerate(files):
            _write(client, job_id, number, file, as_json=as_json)


def _files(job: Job, output: Path | None) -> list[Path]:
    """Name the files of a job. Exit where the ending is that of another format."""
    request = job.request or {}
    wanted = FORMATS[str(request.get("response_format", "wav"))]
    file = output or Path(f"track.{wanted.suffixes[0]}")
    if format_of_suffix(file.suffix) is not wanted:
        endings = ", ".join(f".{suffix}" for suffix in wanted.suffixes)
        fail(f"{file}: the job makes {wanted.name} files: end the name in {endings}", code=2)
    return output_files(file, int(request.get("n", 1)))


def _write(client: MusicGenClient, job_id: str, number: int, file: Path, *, as_json: bool) -> None:
    content = client.jobs.audio(job_id, number)
    try:
        content.save(file)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    size = len(content.content)
    print(json.dumps({"file": str(file), "bytes": size}) if as_json else f"{file}: {size} bytes")


def _follow(client: MusicGenClient, job_id: str, *, quiet: bool) -> Job:
    """Wait for the end of a job, with a progress bar on stderr."""
    with rich.progress.Progress(
        *_MAKING, console=stderr, disable=quiet or not stderr.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)
        for job in client.jobs.follow(job_id):
            bar.update(task, completed=job.progress, description=_state(job))
    return job


def _state(job: Job) -> str:
    if job.status == "queued" and job.queue_position:
        return f"number {job.queue_position} in the queue"
    return job.status


def _print(job: Job, *, as_json: bool) -> None:
    """Print a job: one line of JSON, or lines of text."""
    if as_json:
        print(job.model_dump_json())
        return
    print(f"{job.id}: {_state(job)}, {job.progress:.0%}, by {job.model}, seed {job.seed}")
    for file in job.result:
        print(
            f"{file.type}, {file.duration_s:g} s, {file.size_bytes} bytes: {file.url or 'deleted'}"
        )
    if job.error is not None:
        print(f"{job.error.get('detail')} ({job.error.get('code')})")
