"""Check 6: faults stay with their request, or end the replica; none leaves a replica that only fails."""

import asyncio
import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from time import monotonic, sleep
from typing import cast
from unittest import mock

import torch
from torch import Tensor, nn

from benchmarks.gpu_check.company import audio
from benchmarks.gpu_check.measurement import Measurement, Setting, holds
from benchmarks.gpu_check.models import checkpoint, request, running
from benchmarks.gpu_check.threads import tone
from serve_app.checkpoints.checkpoint import Checkpoint
from serve_app.config.app import ModelConfig
from serve_app.engine.engine import Engine
from serve_app.errors import ConfigError, GenerationFailed, ReplicaFailed
from serve_app.models.t5 import TextEncoder

THREADS = ("text", "audio prompt", "codec", "engine")
_LONG = "a prompt that is longer than the other one, with more and more words"
_SHORT = "lofi"
_PATIENCE_S = 10.0  # Serve asks every 2 s
_PROCESS_S = 90.0  # for all processes together
Answer = tuple[BaseProcess, "multiprocessing.SimpleQueue[str]"]


class FaultyEncoder(nn.Module):
    """Text encoder whose output for prompts of more than a few tokens is NaN."""

    def __init__(self, encoder: TextEncoder, longest: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.longest = longest

    def tokenize(self, prompt: str) -> list[int]:
        return self.encoder.tokenize(prompt)

    def forward(self, tokens: list[int]) -> Tensor:
        states = cast(Tensor, self.encoder(tokens))
        return states * torch.nan if len(tokens) > self.longest else states


def run(setting: Setting) -> Iterator[Measurement]:
    """Yield how a NaN, too little memory, and a failed device in each thread end."""
    yield from nan_text(setting)
    if setting.on_gpu:
        yield _out_of_memory()
    yield from _failed_devices(setting)


def nan_text(setting: Setting) -> Iterator[Measurement]:
    model = checkpoint(setting)
    longest = len(model.text_encoder.tokenize(_SHORT))
    faulty = cast(TextEncoder, FaultyEncoder(model.text_encoder, longest))
    faulty_model = Checkpoint(model.musicgen, model.codec, faulty)
    with running(faulty_model, setting, warm=False, max_slots=1, max_duration_s=30.0) as engine:
        failed = _fails(engine, _LONG)
        yield holds("text that is not finite fails its request", failed)
        shorter = all(not _fails(engine, _SHORT) for _ in range(2))
        yield holds("a shorter prompt in the same slot succeeds, twice", shorter)


def _fails(engine: Engine, prompt: str) -> bool:
    try:
        asyncio.run(audio(engine, request(prompt, 0.5, 1)))
    except GenerationFailed:
        return True
    return False


def _out_of_memory() -> Measurement:
    """Load a model with more slots than any card holds."""
    from serve_app.deployments.replica import MusicGenReplica

    config = ModelConfig.model_validate(
        {
            "model_loading_config": {"model_id": "nano", "model_source": "embedded:musicgen-nano"},
            "engine_kwargs": {"device": "cuda", "max_slots": 1024, "max_prompt_tokens": 4096},
        }
    )
    held = _take_memory()
    try:
        MusicGenReplica(config)
    except ConfigError as error:
        return holds("too little memory is a ConfigError", True, error.message[:120])
    finally:
        del held
        torch.cuda.empty_cache()  # for the processes below
    return holds("too little memory is a ConfigError", False, "the replica started")


def _take_memory() -> Tensor:
    """Occupy the GPU's memory but 1 GiB, in which the weights fit."""
    free, _ = torch.cuda.mem_get_info()
    return torch.empty(max(0, free - 2**30), dtype=torch.uint8, device="cuda")


def _failed_devices(setting: Setting) -> Iterator[Measurement]:
    """Let a kernel fail in each thread of an engine, each time in a process of its own."""
    context = multiprocessing.get_context("spawn")
    running_in: dict[str, Answer] = {}
    for thread in THREADS:
        queue: multiprocessing.SimpleQueue[str] = context.SimpleQueue()
        process = context.Process(target=_fail_in, args=(thread, setting, queue))
        process.start()
        running_in[thread] = (process, queue)
    deadline = monotonic() + _PROCESS_S
    for thread, answer in running_in.items():
        state = _await(answer, deadline)
        name = f"a device assert in the thread of the {thread} fails the health check"
        yield holds(name, state == "unhealthy", state)


def _await(answer: Answer, deadline: float) -> str:
    """Wait for the process; return what it told, and kill it at the deadline."""
    process, queue = answer
    process.join(max(0.0, deadline - monotonic()))
    if process.is_alive():
        process.kill()
        process.join()
    return "the process ended without an answer" if queue.empty() else queue.get()


def _fail_in(thread: str, setting: Setting, queue: "multiprocessing.SimpleQueue[str]") -> None:
    def tell(state: str) -> None:
        queue.put(state)
        os._exit(0)  # an engine over a dead CUDA context may not end by itself

    fail_in_thread(thread, setting, tell)


def fail_in_thread(thread: str, setting: Setting, tell: Callable[[str], None]) -> None:
    """Let a kernel fail in a thread of an engine; tell what the health check then says."""
    model = checkpoint(setting)
    with running(model, setting, max_slots=1, max_duration_s=30.0) as engine:
        owner, method = _work_of(thread, model, engine)
        heard = tone(model.sample_rate, 0.25) if thread == "audio prompt" else None
        failing = request(_LONG, 0.5, 1, audio_prompt=heard)
        with (
            mock.patch.object(owner, method, _failing(setting)),
            contextlib.suppress(GenerationFailed, ReplicaFailed),
        ):
            asyncio.run(audio(engine, failing))
        tell(_state(engine))


def _state(engine: Engine) -> str:
    """Await a failed health check: the request's error may come before the engine knows of it."""
    deadline = monotonic() + _PATIENCE_S
    while monotonic() < deadline:
        try:
            engine.check_health()
        except ReplicaFailed:
            return "unhealthy"
        sleep(0.01)
    return f"still healthy after {_PATIENCE_S:g} s"


def _work_of(thread: str, model: Checkpoint, engine: Engine) -> tuple[object, str]:
    """Name the object and its method that run in the thread."""
    return {
        "text": (model.text_encoder, "forward"),
        "audio prompt": (model.codec, "encode"),
        "codec": (model.codec, "decode_chunk"),
        "engine": (engine.loop.batch, "step"),
    }[thread]


def _failing(setting: Setting) -> Callable[..., Tensor]:
    """Return a function that ends in a device-side assertion; on a CPU, in an error of that text."""

    def fail(*_: object) -> Tensor:
        if not setting.on_gpu:
            raise RuntimeError("CUDA error: device-side assert triggered")
        table = torch.zeros(1, device=setting.device)
        result = table[torch.full((1,), 10, device=setting.device)]
        torch.cuda.synchronize(setting.device)
        return result

    return fail
