"""Runs checks, each in a process of its own: a dead CUDA context hides nothing of the others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from benchmarks.gpu_check.measurement import Check, Measurement

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"
USUAL_S = 600.0  # for all checks, of which each has its own limit
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1"}  # nothing is downloaded
_ERROR_LINES = 6


@dataclass(frozen=True)
class Outcome:
    """The end of one check. error: the last lines of a process that failed, or why it did not run."""

    check: Check
    status: str
    seconds: float = 0.0
    measurements: list[Measurement] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Plan:
    """A run of checks. limit_s: seconds that all of them may take together.

    On a GPU the limit of each check is in proportion: a slower card needs more time for all of them.
    """

    device: str
    tiny: bool
    folder: Path
    limit_s: float


def run_all(checks: Iterable[Check], plan: Plan) -> list[Outcome]:
    """Run every check, whatever became of those before; tell on stderr how each ends."""
    deadline = monotonic() + plan.limit_s
    outcomes = []
    for check in checks:
        print(f"{check.number}. {check.title} ...", end=" ", file=sys.stderr, flush=True)
        outcome = _run(check, plan, deadline - monotonic())
        print(f"{outcome.status} ({outcome.seconds:.0f} s)", file=sys.stderr, flush=True)
        outcomes.append(outcome)
    return outcomes


def _run(check: Check, plan: Plan, left_s: float) -> Outcome:
    if check.needs_gpu and plan.device == "cpu" and not plan.tiny:
        return Outcome(check, SKIPPED, error="needs a GPU")
    if left_s <= 0:
        return Outcome(check, FAILED, error=f"no time was left of {plan.limit_s:g} s")
    lines = plan.folder / f"{check.name}.jsonl"
    lines.write_text("")
    log = plan.folder / f"{check.name}.log"
    started_at = monotonic()
    limit_s = left_s
    if plan.device == "cuda":  # without a GPU most checks are skipped, and leave their time
        limit_s = min(check.limit_s * plan.limit_s / USUAL_S, left_s)
    environment = os.environ | _ENVIRONMENT | dict(check.environment)
    if plan.device == "cpu":
        environment |= {"TRITON_INTERPRET": "1"}
    status = _wait(_command(check, plan, lines), environment, log, limit_s)
    measurements = [Measurement(**json.loads(line)) for line in lines.read_text().splitlines()]
    error = _error(status, log)
    good = not error and all(one.ok is not False for one in measurements)
    elapsed_s = monotonic() - started_at
    return Outcome(check, PASSED if good else FAILED, elapsed_s, measurements, error)


def _command(check: Check, plan: Plan, lines: Path) -> list[str]:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_check.child", check.name]
    command += ["--device", plan.device, "--folder", str(plan.folder), "--lines", str(lines)]
    return [*command, "--tiny"] if plan.tiny else command


def _wait(
    command: list[str], environment: Mapping[str, str], log: Path, limit_s: float
) -> int | None:
    """Run to the end; return the exit status, None where the time was up."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it started
            process.wait()


def _error(status: int | None, log: Path) -> str:
    """Return the last lines of a process that failed; empty where it ended well."""
    if status == 0:
        return ""
    tail = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    reason = "it took too long" if status is None else f"exit status {status}"
    return "\n".join([reason, *tail[-_ERROR_LINES:]])
