"""`musicgen doctor`: check this machine."""

import json
from typing import Annotated

import typer
from rich.console import Console

from serve_app.cli.console import AsJson, fail
from serve_app.cli.listening_options import Port
from serve_app.doctor import Finding, Level, examine
from serve_app.launch.error import LaunchError
from serve_app.launch.target import TARGET_HELP, find_target

_MARKS = {
    Level.OK: "[green]ok     [/]",
    Level.NOTE: "[yellow]note   [/]",
    Level.PROBLEM: "[red]problem[/]",
}


def doctor(
    config: Annotated[str, typer.Argument(help=TARGET_HELP)] = "nano",
    port: Port = 8000,
    as_json: AsJson = False,
) -> None:
    """Check that this machine has everything a configuration needs, with advice where it has not.

    A note keeps nothing from working. The exit status is 1 if there is a problem.
    """
    try:
        with find_target(config).as_file() as file:
            findings = list(examine(file, port))
    except LaunchError as error:
        fail(str(error), error.exit_code)
    if as_json:
        print(json.dumps([_fields(finding) for finding in findings]))
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _fields(finding: Finding) -> dict[str, object]:
    return {
        "subject": finding.subject,
        "level": finding.level,
        "good": finding.good,
        "state": finding.state,
        "advice": finding.advice,
    }


def _print(finding: Finding) -> None:
    console = Console(highlight=False, soft_wrap=True)
    console.print(_MARKS[finding.level], end=" ")
    console.print(f"{finding.subject}: {finding.state}", markup=False)
    if finding.advice:
        print(f"        {finding.advice}")
