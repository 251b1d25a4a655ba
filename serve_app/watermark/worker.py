"""The process that detects watermarks: `python -m serve_app.watermark.worker NICENESS FILE`.

It speaks as `serve_app.audio.worker` does. A job names a file of samples; the kernel bounds its CPU
time. The network is loaded at the first job.
"""

import json
import math
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

from serve_app.errors import CheckpointError
from serve_app.watermark.detection import Samples, detect, load

_LOADING_S = 60.0  # of CPU time, with the import of PyTorch


def serve(jobs: BinaryIO, answers: BinaryIO, file: Path) -> None:
    """Answer the jobs, one after the other, until there are no more. file: of the detector."""
    detector = None
    while line := jobs.readline():
        job: dict[str, Any] = json.loads(line)
        _limit(job["max_cpu_s"] + (_LOADING_S if detector is None else 0.0))
        answer: dict[str, Any]
        try:
            detector = detector or load(file)
            samples = Samples(Path(job["path"]), job["channels"])
            answer = detect(detector, samples, job["threshold"]).model_dump()
        except CheckpointError as error:
            answer = {"failure": error.message}
        answers.write(json.dumps(answer | {"size": 0}).encode() + b"\n")
        answers.flush()


def _limit(more_s: float) -> None:
    """Bound the CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most_s = math.ceil(used.ru_utime + used.ru_stime + more_s)
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, resource.RLIM_INFINITY))


def main() -> None:
    """Serve the jobs on standard input at the niceness of the first argument, in one thread."""
    import torch

    os.nice(int(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    serve(sys.stdin.buffer, sys.stdout.buffer, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
