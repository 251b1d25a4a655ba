"""`musicgen doctor`: check this machine."""

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from serve_app.cli.console import AsJson
from serve_app.doctor import Finding, examine


def doctor(
    port: Annotated[int, typer.Option(help="HTTP port that the service will use.")] = 8000,
    as_json: AsJson = False,
) -> None:
    """Check that this machine has everything the service needs, and advise where something is missing."""
    findings = list(examine(port))
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            _print(finding)
    if not all(finding.good for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    mark = "[green]ok  [/]" if finding.good else "[red]no  [/]"
    console = Console(highlight=False, soft_wrap=True)
    console.print(mark, end="")
    console.print(f"{finding.subject}: {finding.state}", markup=False)
    if finding.advice:
        print(f"      {finding.advice}")
