"""Train the embedded model: all stages, each resumed where it stopped.

    python -m tools.nano.train FOLDER [--scratch] [--device cuda|cpu]

Stages: tools.nano.codec, codes, text_encoder, language_model. Those that tools/nano/weights holds are
taken from there, but for --scratch. With a GPU, the text encoder is trained beside the codec, by a
process of its own.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from tools.nano.resume import MODEL, restore
from tools.nano.training import add_device, training_device


class Stage:
    """A running stage, a process whose output goes to this one's."""

    def __init__(self, name: str, folder: Path, device: str) -> None:
        self._name = name
        self._started_at = perf_counter()
        module = f"tools.nano.{name}"
        command = [sys.executable, "-W", "ignore", "-m", module, str(folder), "--device", device]
        self._process = subprocess.Popen(command)

    def wait(self) -> None:
        """Wait for its end. Raises SystemExit if it failed."""
        if code := self._process.wait():
            raise SystemExit(f"{self._name} failed with exit code {code}: run the command again")
        print(f"{self._name}: done in {perf_counter() - self._started_at:.0f} s", flush=True)


def train(folder: Path, device: str, scratch: bool = False) -> None:
    if not scratch:
        restore(folder)
    text_encoder = None if _has(folder, "text_encoder") else Stage("text_encoder", folder, device)
    if text_encoder is not None and device == "cpu":
        text_encoder.wait()
    if not _has(folder, "encodec"):
        Stage("codec", folder, device).wait()
    Stage("codes", folder, device).wait()
    if text_encoder is not None and device != "cpu":
        text_encoder.wait()
    Stage("language_model", folder, device).wait()


def _has(folder: Path, stage: str) -> bool:
    """Whether the folder has a stage's result, which is written at its end."""
    return (folder / stage / MODEL).exists()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nano.train", description="Train the embedded model."
    )
    parser.add_argument("folder", type=Path, help="holds the state and the results of all stages")
    parser.add_argument("--scratch", action="store_true", help="train every stage from nothing")
    add_device(parser)
    arguments = parser.parse_args()
    train(arguments.folder, training_device(arguments.device).type, arguments.scratch)


if __name__ == "__main__":
    main()
