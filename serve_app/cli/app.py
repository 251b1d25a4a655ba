"""Make tracks, list the served models, serve, edge, fetch weights, check this machine."""

import typer

from serve_app.cli.doctor import doctor
from serve_app.cli.edge import edge
from serve_app.cli.fetch import fetch
from serve_app.cli.generate import generate
from serve_app.cli.models import models
from serve_app.cli.serve import serve

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
for command in (generate, models, serve, edge, fetch, doctor):
    app.command()(command)


if __name__ == "__main__":
    app()
