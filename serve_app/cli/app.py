"""Make tracks, list the served models, serve, edge, fetch weights, check this machine."""

from typing import Annotated

import typer

import serve_app
from serve_app.cli.command_group import CommandGroup
from serve_app.cli.convert_mbd import convert_mbd
from serve_app.cli.doctor import doctor
from serve_app.cli.edge import edge
from serve_app.cli.env import env
from serve_app.cli.fetch import fetch
from serve_app.cli.generate import generate
from serve_app.cli.jobs import jobs
from serve_app.cli.models import models
from serve_app.cli.provenance import provenance
from serve_app.cli.serve import serve
from serve_app.cli.watch_preemption import watch_preemption

app = typer.Typer(
    cls=CommandGroup, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False
)
for command in (generate, models, serve, env, edge, fetch, doctor):
    app.command()(command)
app.command("convert-mbd")(convert_mbd)
app.command("watch-preemption")(watch_preemption)
app.add_typer(provenance, name="provenance")
app.add_typer(jobs, name="jobs")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"musicgen {serve_app.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options of the command itself."""


if __name__ == "__main__":
    app()
