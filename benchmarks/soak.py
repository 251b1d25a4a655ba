"""Find resources that a service leaks when careless callers use it.

python -m benchmarks.soak [--minutes 10] [--config configs/nano.yaml] [--ingresses 2]

Callers wait for their music, stream it, disconnect halfway or at once, or send invalid requests.
Afterwards every slot must be free. Tasks, threads and open files must be as few as after the first
quarter of the time, with some slack for thread pools. From 10 minutes on, the memory of an ingress
replica must not grow by more than 0.5 MiB a minute. The exit code is 1 where something has failed. The
last line is JSON.
"""

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import yaml

from benchmarks.report import print_result, summary
from serve_app.config.serve_file import read_serve_config
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tools.soak import show, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=summary(__doc__))
    parser.add_argument("--minutes", type=float, default=10.0, help="(default: 10)")
    parser.add_argument(
        "--config", type=Path, default=Path("configs/nano.yaml"), help="configuration to serve"
    )
    parser.add_argument("--ingresses", type=int, default=2, help="ingress replicas (default: 2)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the callers' behaviour")
    arguments = parser.parse_args()
    with (
        TemporaryDirectory() as folder,
        Service(
            _with_ingresses(arguments.config, arguments.ingresses, Path(folder)),
            free_port(),
            ProgressLine(),
        ) as service,
    ):
        report = asyncio.run(soak(service, arguments.minutes, arguments.seed))
    show(report)
    print_result(
        "soak",
        minutes=arguments.minutes,
        ingresses=arguments.ingresses,
        calls=sum(report.calls.values()),
        wrong=dict(report.wrong),
        leaked=report.leaked,
        growing=report.growing,
        memory_mib_per_minute=report.memory_mib_per_minute,
    )
    return int(report.has_failed)


def _with_ingresses(config: Path, count: int, folder: Path) -> Path:
    """Write the configuration with that many ingress replicas into `folder`."""
    content = read_serve_config(config)
    for application in content["applications"]:
        ingress = application["args"].setdefault("ingress_deployment_config", {})
        ingress.pop("autoscaling_config", None)
        ingress["num_replicas"] = count
    file = folder / config.name
    file.write_text(yaml.safe_dump(content))
    return file


if __name__ == "__main__":
    sys.exit(main())
