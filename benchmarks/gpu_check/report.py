"""The report of a run: a table in Markdown, JSON, and the table's place in a page."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.gpu_check.measurement import Measurement
from benchmarks.gpu_check.runner import FAILED, Outcome
from benchmarks.report import PACKAGES, hardware

BEGIN = "<!-- gpu-check: written by python -m benchmarks.gpu_check --into -->"
END = "<!-- gpu-check: end -->"
_MARKS = {True: "ok", False: "**missed**", None: ""}


def as_json(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return all of a run as plain values."""
    versions = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    return {
        "benchmark": "gpu_check",
        "hardware": hardware(),
        "versions": versions,
        "checks": [_plain(outcome) for outcome in outcomes],
    }


def _version(package: str) -> str:
    """Return a package's version: the checks run from a checkout, too, and need not all of them."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _plain(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    return {
        "number": check.number,
        "name": check.name,
        "title": check.title,
        "status": outcome.status,
        "seconds": round(outcome.seconds, 1),
        "error": outcome.error,
        "measurements": [asdict(one) for one in outcome.measurements],
    }


def is_good(result: dict[str, Any]) -> bool:
    """Whether no check has failed; those that were skipped do not count."""
    return all(check["status"] != FAILED for check in result["checks"])


def table(result: dict[str, Any]) -> str:
    """Format a run as Markdown: one row for each check, then one for each of its measurements."""
    where = result["hardware"].get("gpu", result["hardware"]["cpu"])
    lines = [f"{where}, PyTorch {result['versions']['torch']}", ""]
    lines += ["| check | measured | value | bar | |", "|---|---|---|---|---|"]
    for check in result["checks"]:
        lines.append(_row(check))
        lines += [_measured(Measurement(**one)) for one in check["measurements"]]
    return "\n".join(lines) + "\n"


def _row(check: dict[str, Any]) -> str:
    reason = " ".join(check["error"].split()).replace("|", "/")[:300]
    status = f"**{check['status']}**" if check["status"] == FAILED else check["status"]
    spent = f"{check['seconds']:g} s" if check["seconds"] else ""
    return f"| {check['number']}. {check['title']} | {reason} | {spent} | | {status} |"


def _measured(one: Measurement) -> str:
    value = f"{one.value:.6g}" if isinstance(one.value, float | int) else one.value
    cells = ["", one.name, f"{value} {one.unit}".strip(), one.bar, _MARKS[one.ok]]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def write(result: dict[str, Any], folder: Path) -> None:
    """Write `gpu_check.json` and `gpu_check.md`."""
    (folder / "gpu_check.json").write_text(json.dumps(result, indent=1) + "\n")
    (folder / "gpu_check.md").write_text(table(result))


def put_into(page: Path, text: str) -> None:
    """Replace what the page has between the markers. Raises ValueError for a page without them."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: put {BEGIN} and {END} there")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
