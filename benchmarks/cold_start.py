"""Measure a replica's cold start by stage, from process start until warm, beside bare imports.

python -m benchmarks.cold_start [--models nano small] [--precision int8] [--rounds 3]

Each start is a new process, in turn with one that only imports torch, transformers and ray.serve.
The first of each is not counted. `small` is the small model's true shape with random weights, read
from the page cache. The last line is JSON.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil

from benchmarks.checkpoints import write_small
from benchmarks.report import print_result

EMBEDDED = "embedded:musicgen-nano"
IMPORTS = "import torch, transformers, ray.serve"
REPLICA = """
import json, sys
from dataclasses import asdict
from serve_app.config.app import ModelConfig
from serve_app.deployments.replica import MusicGenReplica
engine = {"device": "cpu", "max_slots": 4, "max_duration_s": 30}
engine |= {"num_threads": int(sys.argv[2]), "precision": sys.argv[3]}
loading = {"model_id": "model", "model_source": sys.argv[1]}
options = {"model_loading_config": loading, "engine_kwargs": engine}
replica = MusicGenReplica(ModelConfig.model_validate(options))
print(json.dumps(asdict(replica.cold_start)))
"""


def run(*arguments: str) -> tuple[float, str]:
    """Run Python; return its seconds and its last line. Raises SystemExit with its errors."""
    started_at = perf_counter()
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", *arguments], capture_output=True, text=True
    )
    if process.returncode != 0:
        raise SystemExit(process.stderr)
    return perf_counter() - started_at, process.stdout.strip().rpartition("\n")[2]


def measure(source: str, precision: str, rounds: int, threads: int) -> dict[str, Any]:
    """Median seconds of each stage, of the whole start, and of the bare imports."""
    bare = []
    ready = []
    for _ in range(rounds + 1):
        bare.append(run(IMPORTS)[0])
        ready.append(json.loads(run(REPLICA, source, str(threads), precision)[1]))
    stages = {
        stage: round(statistics.median(one[stage] for one in ready[1:]), 2) for stage in ready[0]
    }
    total_s = statistics.median(sum(one.values()) for one in ready[1:])
    bare_s = statistics.median(bare[1:])
    return {
        "seconds": round(total_s, 2),
        **stages,
        "bare_imports": round(bare_s, 2),
        "ratio": round(total_s / bare_s, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cold_start", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--models", nargs="+", choices=["nano", "small"], default=["nano", "small"])
    parser.add_argument(
        "--precision", default="auto", help="of the weights, as in the configuration"
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted starts of each model")
    arguments = parser.parse_args()
    threads = psutil.cpu_count(logical=False) or 1
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in arguments.models:
            source = EMBEDDED if model == "nano" else str(write_small(Path(folder) / "small"))
            cores = 1 if model == "nano" else threads
            found[model] = measure(source, arguments.precision, arguments.rounds, cores)
    columns = list(next(iter(found.values())))
    print(f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", sep="\n")
    for model, row in found.items():
        print(f"| {model} | {' | '.join(f'{value:g}' for value in row.values())} |")
    print_result("cold_start", precision=arguments.precision, figures=found)


if __name__ == "__main__":
    main()
