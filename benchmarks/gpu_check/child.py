"""The process of one check: writes each measurement as a line of JSON as soon as it is made.

python -m benchmarks.gpu_check.child NAME --device cuda --folder FOLDER --lines FILE [--tiny]
"""

import argparse
import json
import logging
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks.gpu_check.checks import CHECKS
from benchmarks.gpu_check.measurement import Setting
from serve_app.engine.device import configure_device


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check.child")
    parser.add_argument("name", choices=[check.name for check in CHECKS])
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--lines", type=Path, required=True)
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)  # as in a replica: see engine.py
    setting = Setting(torch.device(arguments.device), arguments.tiny, arguments.folder)
    configure_device(setting.device)
    [check] = [check for check in CHECKS if check.name == arguments.name]
    with arguments.lines.open("a") as lines:
        for measurement in check.run(setting):
            lines.write(json.dumps(asdict(measurement)) + "\n")
            lines.flush()


if __name__ == "__main__":
    main()
