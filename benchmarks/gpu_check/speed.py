"""Check 8: the speed of decoding, beside the memory's floor and AudioCraft, and a step's kernels."""

import contextlib
import json
from collections.abc import Iterator
from importlib.util import find_spec

import torch

from benchmarks.gpu_check.capture import stepper
from benchmarks.gpu_check.clock import bandwidth, kernels, seconds
from benchmarks.gpu_check.measurement import (
    Measurement,
    Setting,
    at_least,
    at_most,
    found,
    if_h100,
)
from benchmarks.gpu_check.models import (
    MOST_SLOTS,
    SIZES,
    begin,
    language_model,
    new_runner,
    random_text,
    scale_of,
    slots_that_fit,
    step_shape,
)
from benchmarks.peers import Run, Scale, audiocraft_model, audiocraft_run, transformers_run
from benchmarks.speed_model import track_bytes
from serve_app.engine.model_runner import ModelRunner
from serve_app.engine.step_graphs import StepGraphs
from serve_app.errors import ConfigError

FRAMES = 1500  # 30 s
_PEER_STEPS = 250
_SECONDS = {"small": 1.5, "medium": 4.0, "large": 6.0}  # for 30 s of music, on an H100
_OF_FLOOR = {"medium": 0.45, "large": 0.60}
_SIXTEEN_S = 3.0


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield seconds of 30 s of music for each size, alone, and for 16 tracks of small."""
    nbytes = 2**24 if setting.tiny else 2**30
    memory = bandwidth(setting.device, nbytes)
    yield found("memory bandwidth", round(memory / 1e9, 1), "GB/s")
    for size in ("small",) if setting.tiny else SIZES:
        yield from _size(size, memory, setting)
        if setting.on_gpu:
            torch.cuda.empty_cache()
    yield from _peers(setting)


@torch.inference_mode()
def _size(size: str, memory: float, setting: Setting) -> Iterator[Measurement]:
    model, backend = language_model(size, "fp16", setting)
    frames = 60 if setting.tiny else FRAMES
    runner = new_runner(model, backend, 1, frames)
    elapsed_s = decode_seconds(runner, stepper(runner, 1, setting), frames, setting)
    name = f"{size}: {runner.max_steps} steps of one track"
    yield if_h100(at_most(name, round(elapsed_s, 3), _SECONDS[size], "s"), setting)
    share = share_of_floor(scale_of(size, setting), runner.max_steps, elapsed_s, memory)
    of_floor = f"{size}: share of the bandwidth's floor"
    bar = at_least(of_floor, round(share, 3), _OF_FLOOR.get(size, 0.0))
    yield if_h100(bar, setting) if size in _OF_FLOOR else found(of_floor, round(share, 3))
    yield from _kernels(size, runner, frames, setting)
    yield _int8(size, frames, setting)
    if size == "small":
        slots = min(MOST_SLOTS, slots_that_fit(size, setting))
        batch = new_runner(model, backend, slots, frames)
        elapsed_s = decode_seconds(batch, stepper(batch, slots, setting), frames, setting)
        name = f"{size}: {slots} tracks together"
        yield if_h100(at_most(name, round(elapsed_s, 3), _SIXTEEN_S, "s"), setting)


def share_of_floor(scale: Scale, steps: int, elapsed_s: float, memory: float) -> float:
    """Return the share that reading weights, keys and values at `memory` bytes/s has of one track's time.

    The floor is that of `benchmarks.cost`, whose goals are the bars.
    """
    return track_bytes(scale, 1, steps) / memory / elapsed_s


def _int8(size: str, frames: int, setting: Setting) -> Measurement:
    """Time the same steps with weights in int8, where the card has kernels for them."""
    name = f"{size}, int8: {frames + 3} steps of one track"
    try:
        model, backend = language_model(size, "int8", setting)
    except ConfigError as error:
        return found(name, error.message)
    runner = new_runner(model, backend, 1, frames)
    elapsed_s = decode_seconds(runner, stepper(runner, 1, setting), frames, setting)
    return found(name, round(elapsed_s, 3), "s")


def decode_seconds(runner: ModelRunner, graphs: StepGraphs, frames: int, setting: Setting) -> float:
    """Time the steps of whole tracks in all slots, after a run that captures their graphs."""
    slots = runner.max_slots

    def decode() -> None:
        for step in range(runner.max_steps):
            graphs.step(step_shape(slots, step))

    begin(runner, slots, frames)
    decode()
    begin(runner, slots, frames)
    return seconds(decode, setting.device)


def _kernels(
    size: str, runner: ModelRunner, frames: int, setting: Setting
) -> Iterator[Measurement]:
    """Count the kernels of one step; the table of all of them goes into the run's folder."""
    begin(runner, runner.max_slots, frames)
    shape = step_shape(runner.max_slots, frames // 2)
    table = kernels(lambda: runner.step(shape), setting.device)
    file = setting.folder / f"kernels-{size}.json"
    file.write_text(json.dumps(table, indent=1))
    yield found(f"{size}: kernels of a step", sum(count for count, _ in table.values()))
    spent = sum(us for _, us in table.values())
    yield found(f"{size}: time in kernels of a step", round(spent, 1), "us")
    for name, (count, us) in list(table.items())[:5]:
        yield found(f"{size}: {count} x {name[:60]}", round(us, 1), "us")


def _peers(setting: Setting) -> Iterator[Measurement]:
    """Time steps of small by AudioCraft and transformers, with their own kernels and guidance."""
    scale = scale_of("small", setting)
    steps = 12 if setting.tiny else _PEER_STEPS
    runs: dict[str, Run] = {}
    if find_spec("audiocraft") is None:
        yield found("AudioCraft", "not installed: `uv sync --extra audiocraft`")
    else:
        theirs = audiocraft_model(scale, random_text()[None].to(setting.device))
        runs["AudioCraft"] = audiocraft_run(_half(theirs, setting), steps, 1)
    runs["transformers"] = transformers_run(scale, setting.device, steps, 1)
    for name, run_once in runs.items():
        with autocast(setting) if name == "AudioCraft" else contextlib.nullcontext():
            run_once()
            times = run_once()
        mean_ms = 1000 * sum(times) / len(times)
        yield found(f"small: a step by {name}", round(mean_ms, 3), "ms")


def _half(model: torch.nn.Module, setting: Setting) -> torch.nn.Module:
    """Move AudioCraft's model to the device, with its precision there."""
    return model.to(setting.device, torch.float16 if setting.on_gpu else torch.float32)


def autocast(setting: Setting) -> contextlib.AbstractContextManager[object]:
    """Compute as AudioCraft does: by automatic casts to fp16 on a GPU."""
    if setting.on_gpu:
        return torch.autocast("cuda", torch.float16)
    return contextlib.nullcontext()
