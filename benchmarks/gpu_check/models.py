"""Models of random weights in the true shapes, made on the device, and engines over them."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.checkpoints import write_small
from benchmarks.gpu_check.measurement import Setting
from benchmarks.peers import SCALES, TEXT_SIZE, TEXT_TOKENS, Scale
from serve_app.checkpoints.checkpoint import Checkpoint, load_checkpoint
from serve_app.config.app import EngineConfig
from serve_app.engine.bucket import bucket
from serve_app.engine.device import loading_dtype
from serve_app.engine.drawing import select_draw
from serve_app.engine.engine import Engine
from serve_app.engine.model_runner import BatchShape, ModelRunner
from serve_app.models.musicgen.execution import ExecutionBackend, prepare_model
from serve_app.models.musicgen.model import MusicGen, MusicGenConfig
from serve_app.models.musicgen.transformer import TransformerConfig
from serve_app.types import GenerationRequest, SamplingParams

SIZES = ("small", "medium", "large")
EMBEDDED = "embedded:musicgen-nano"
TINY = Scale(128, 2, 2)  # heads of 64, as in the published sizes
CHECKPOINT = "small"  # folder of random weights in a run's folder
CODEBOOKS = 4
MOST_SLOTS = 16
_CODES = 2048
_TINY_CODES = 256
_RESERVED = 4 * 2**30  # bytes beside weights and caches


def scale_of(size: str, setting: Setting) -> Scale:
    return TINY if setting.tiny else SCALES[size]


def language_model(
    size: str, precision: str, setting: Setting
) -> tuple[MusicGen, ExecutionBackend]:
    """Build a prepared model of random weights. On a CPU they are in fp32 whatever the precision."""
    scale = scale_of(size, setting)
    width = scale.hidden_size
    transformer = TransformerConfig(width, scale.num_layers, scale.num_heads, 4 * width)
    codes = _TINY_CODES if setting.tiny else _CODES
    config = MusicGenConfig(transformer, CODEBOOKS, codes, (0, 1, 2, 3), 1, TEXT_SIZE)
    with torch.device("meta"):
        model = MusicGen(config)
    model.to(loading_dtype(precision, setting.device)).to_empty(device=setting.device)
    randomize(model)
    model.eval().requires_grad_(False)
    return model, prepare_model(model, precision if setting.on_gpu else "fp32")


@torch.no_grad()
def randomize(model: MusicGen) -> None:
    """Fill weights such that activations keep their size, and logits have a deviation of about 2."""
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            gain = 2.0 if name.startswith("heads") else 1.0
            parameter.normal_(std=gain * parameter.shape[-1] ** -0.5)
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)


def slots_that_fit(size: str, setting: Setting, frames: int = 1500) -> int:
    """Return the slots, at most MOST_SLOTS, whose fp16 caches fit beside the fp16 weights."""
    if not setting.on_gpu:
        return 4
    scale = SCALES[size]
    weights = 2 * scale.num_layers * 14 * scale.hidden_size**2
    slot = 2 * 2 * 2 * scale.num_layers * scale.hidden_size * (frames + 256)
    free, _ = torch.cuda.mem_get_info(setting.device)
    return max(1, min(MOST_SLOTS, (free - weights - _RESERVED) // slot))


def new_runner(
    model: MusicGen, backend: ExecutionBackend, slots: int, frames: int, text_tokens: int = 64
) -> ModelRunner:
    """Return a runner whose steps end as the service's do: by the draw kernel where it runs."""
    draw = select_draw("auto", slots, model.embedding.weight.device)
    return ModelRunner(model, backend, slots, frames, text_tokens, draw)


@torch.inference_mode()
def begin(runner: ModelRunner, slots: int, frames: int, **sampling: Any) -> None:
    """Start a sequence of `frames` frames in each slot; the slot's number is its seed."""
    model = runner.model
    nothing = torch.zeros(model.config.num_codebooks, 0, dtype=torch.int64)
    conditions = model.conditions(random_text().to(model.embedding.weight))
    for slot in range(slots):
        runner.start(slot, conditions, SamplingParams(seed=slot, **sampling))
        runner.open_window(slot, nothing, frames)


def random_text() -> Tensor:
    """Return hidden states [tokens, TEXT_SIZE] in place of the text encoder's."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(TEXT_TOKENS, TEXT_SIZE, generator=generator)


def step_shape(slots: int, step: int, guided: bool = True, text_tokens: int = 64) -> BatchShape:
    return BatchShape(slots, bucket(step + 1), text_tokens, guided)


def checkpoint(setting: Setting) -> Checkpoint:
    """Load a whole model: small's true shape with random weights, or the embedded one if tiny."""
    if setting.tiny:
        return load_checkpoint(EMBEDDED, device=setting.device)
    folder = setting.folder / CHECKPOINT
    if not (folder / "complete").exists():
        write_small(folder)
        (folder / "complete").touch()
    return load_checkpoint(
        str(folder), dtype=loading_dtype("fp16", setting.device), device=setting.device
    )


@contextlib.contextmanager
def running(
    model: Checkpoint, setting: Setting, warm: bool = True, **options: Any
) -> Iterator[Engine]:
    """Run an engine over the model, warm, until the block ends."""
    threads = None if setting.on_gpu else 1
    device: Literal["cpu", "cuda"] = "cuda" if setting.on_gpu else "cpu"
    config = EngineConfig(device=device, num_threads=threads, **options)
    precision = "fp16" if setting.on_gpu else "fp32"
    backend = prepare_model(model.musicgen, precision, config.kernels)
    engine = Engine(model, config, backend)
    try:
        if warm:
            engine.warm_up()
        yield engine
    finally:
        engine.shutdown()


def request(prompt: str, duration_s: float, seed: int, **fields: Any) -> GenerationRequest:
    sampling = SamplingParams(seed=seed, **fields.pop("sampling", {}))
    return GenerationRequest(
        request_id=f"gpu-check-{seed}", model="", prompt=prompt, duration_s=duration_s,
        sampling=sampling, **fields,
    )  # fmt: skip
