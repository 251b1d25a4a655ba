"""The benchmark of a service's stages by the settings of Serve: its own, and those on Kubernetes."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.callers import PATH, Crowd
from benchmarks.capacity import carrying_ms, cores_for_many, stage_times
from benchmarks.report import print_table
from serve_app.launch.progress import ProgressLine
from serve_app.launcher import Service
from serve_app.machine import free_port
from tools.cluster_settings import serve_settings

_AT_ONCE = {"RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0.5"}  # the end of a service
SETTINGS = {  # by their name in the tables
    "Serve's own": {},
    "Kubernetes'": serve_settings() | _AT_ONCE,
}
_CROWDS = 3  # of which the first warms the service up
_CROWD_TRACK_S = 1.0


@contextmanager
def environment(settings: dict[str, str]) -> Iterator[None]:
    """Start services with these settings of Serve, and with this folder's modules."""
    before = dict(os.environ)
    os.environ.update(settings, PYTHONPATH=str(Path.cwd()))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def stages(file: Path, crowd: int) -> dict[str, Any]:
    """Measure and print the CPU time of each stage, and a crowd's refusals, by Serve's settings."""
    figures: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        with environment(settings), Service(file, free_port(), ProgressLine()) as service:
            figures[name] = asyncio.run(stages_of(service.url, crowd))
        show(name, figures[name])
    return figures


async def stages_of(url: str, callers: int) -> dict[str, Any]:
    rows = await stage_times(url)
    crowd = Crowd(url, callers)
    for _ in range(_CROWDS):
        answers = await crowd.ask(PATH, _CROWD_TRACK_S)
    refused_s = [answer.seconds for answer in answers if answer.status == 429]
    return {
        "cpu_ms": rows,
        "carrying_ms_per_opus_second": carrying_ms(rows),
        "cores_for_10000_listeners": cores_for_many(rows),
        "refused_p50_ms": round(1000 * float(np.median(refused_s)), 1) if refused_s else None,
        "refused": len(refused_s),
    }


def show(name: str, figures: dict[str, Any]) -> None:
    """Print the CPU times and the capacity model as Markdown tables."""
    print(f"\nms of CPU, {name} settings\n")
    print_table(figures["cpu_ms"])
    print(f"\nCores for 10,000 listeners in real time, {name} settings\n")
    print_table(figures["cores_for_10000_listeners"])
    print(f"\nproxy, ingress and raylet, opus: {figures['carrying_ms_per_opus_second']} ms")
    print(f"median of {figures['refused']} refusals at once: {figures['refused_p50_ms']} ms")
