"""Command of the acceptance run of the GPU path.

python -m benchmarks.gpu_check --out FOLDER [--into docs/benchmarks.md]
python -m benchmarks.gpu_check --report FOLDER/gpu_check.json --into docs/benchmarks.md

Each check has a process of its own, and runs whatever became of those before. Nothing is downloaded:
weights are random, in the true shapes. The exit status is 1 if a check failed. Without a GPU, the
checks that need one are skipped. Written into FOLDER: gpu_check.json, gpu_check.md, the kernels of a
step of each size, and each check's log.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_check import report
from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.models import CHECKPOINT
from benchmarks.gpu_check.runner import Plan, run_all
from benchmarks.report import summary

NAMES = [check.name for check in CHECKS]


def main() -> int:
    arguments = _arguments()
    if arguments.report is not None:
        result: dict[str, Any] = json.loads(arguments.report.read_text())
    else:
        result = _run(arguments)
        report.write(result, arguments.out)
        print(report.table(result))
    if arguments.into is not None:
        report.put_into(arguments.into, report.table(result))
    return 0 if report.is_good(result) else 1


def _run(arguments: argparse.Namespace) -> dict[str, Any]:
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu" and not arguments.tiny:
        print("No GPU is visible to PyTorch: checks that need one are skipped.", file=sys.stderr)
    arguments.out.mkdir(parents=True, exist_ok=True)
    checks = [check for check in CHECKS if check.name in arguments.only]
    plan = Plan(device, arguments.tiny, arguments.out, 60 * arguments.minutes)
    try:
        return report.as_json(run_all(checks, plan))
    finally:
        shutil.rmtree(arguments.out / CHECKPOINT, ignore_errors=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=summary(__doc__)
    )
    parser.add_argument("--out", type=Path, default=Path("build/gpu_check"), help="folder")
    parser.add_argument("--into", type=Path, help="page whose table the result replaces")
    parser.add_argument(
        "--report", type=Path, help="result of an earlier run, instead of a new one"
    )
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES, help="checks to run")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the checks out")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all checks together")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
