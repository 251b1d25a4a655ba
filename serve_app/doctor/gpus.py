"""The GPUs of this machine against those that a configuration asks for."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from serve_app.config.app import MOST_SLOTS, AppConfig, ModelConfig
from serve_app.doctor.finding import Finding, note, ok, problem

_SUBJECT = "GPU"
_QUERY = [
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.used",
    "--format=csv,noheader,nounits",
]
# As Ray derives the accelerator type from the name of a card.
_TYPE = re.compile(r"\w+\s+((?:[A-Z]+\s+)*[A-Z0-9]*\d[A-Z0-9]*)")
_MIB = 2**20
_OVERHEAD_GB = 1.0  # CUDA context, text encoder, codec
# GB of weights, and of one slot's KV cache, in fp16: docs/operations.md, "Memory".
_MEMORY_GB = {
    "small": (1.2, 0.29),
    "medium": (3.8, 0.88),
    "large": (6.5, 1.18),
    "melody": (3.8, 1.21),
    "melody-large": (6.5, 1.61),
}
_STEREO = "stereo-"


@dataclass(frozen=True)
class Card:
    """A GPU. free_gb: memory that no program uses, in GB."""

    name: str
    free_gb: float

    @property
    def kind(self) -> str:
        """Ray's accelerator type, such as A10G; the name where Ray has none."""
        found = _TYPE.match(self.name)
        return found[1].replace(" ", "-") if found else self.name

    def __str__(self) -> str:
        return f"{self.name} ({self.free_gb:.0f} GB free)"


class DriverError(Exception):
    """The driver does not answer. The message gives the state."""


def check_gpus(config: AppConfig, name: str) -> Iterator[Finding]:
    """Yield one finding for all cards, and one for each model that none of them can hold."""
    models = [model for model in config.models if needs_gpu(model)]
    try:
        cards = find_cards()
    except DriverError as error:
        advice = "Install the NVIDIA driver again, or restart it."
        make = problem if models else note
        yield make(_SUBJECT, str(error), advice)
        return
    shown = "; ".join(map(str, cards)) or "none"
    if not models:
        yield ok(_SUBJECT, shown if cards else f"none; {name} needs none")
        return
    lacking = [found for model in models if (found := _check(model, cards)) is not None]
    if not lacking:
        yield ok(_SUBJECT, shown)
    yield from lacking


def needs_gpu(model: ModelConfig) -> bool:
    """Whether a replica of the model asks Ray for a GPU."""
    options = model.deployment_config.ray_actor_options or {}
    return model.accelerator_type is not None or bool(options.get("num_gpus"))


def find_cards() -> list[Card]:
    """List the NVIDIA GPUs of this machine. Raises DriverError."""
    if shutil.which("nvidia-smi") is None:
        return []
    try:
        run = subprocess.run(_QUERY, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DriverError(f"nvidia-smi does not answer ({type(error).__name__})") from error
    if run.returncode != 0:
        raise DriverError(f"nvidia-smi fails with status {run.returncode}")
    return [_card(line) for line in run.stdout.strip().splitlines()]


def _card(line: str) -> Card:
    """Parse a line of nvidia-smi. Raises DriverError."""
    try:
        name, total, used = (cell.strip() for cell in line.rsplit(",", 2))
        return Card(name, (float(total) - float(used)) * _MIB / 1e9)
    except ValueError as error:
        raise DriverError(f"nvidia-smi answers {line!r}") from error


def _check(model: ModelConfig, cards: list[Card]) -> Finding | None:
    """Return the problem of a model that no card can hold, None where one can."""
    wanted = model.accelerator_type
    kinds = ", ".join(card.kind for card in cards) or "no GPU"
    fitting = [card for card in cards if wanted in (None, card.kind)]
    if not fitting:
        state = f"{model.model_id} needs {f'GPU type {wanted}' if wanted else 'a GPU'}, and this machine has {kinds}"
        return problem(_SUBJECT, state, _advice(bool(cards)))
    needed = needed_gb(model)
    if needed is None or any(card.free_gb >= needed for card in fitting):
        return None
    free = max(card.free_gb for card in fitting)
    state = f"{model.model_id} needs about {needed:.0f} GB, and {free:.0f} GB are free"
    return problem(_SUBJECT, state, "End other programs on the GPU, or lower max_slots.")


def _advice(has_cards: bool) -> str:
    if has_cards:
        return "Set accelerator_type to this machine's type in a copy of the file, or leave it out."
    return "Serve nano, or use a machine or a cluster with that GPU."


def needed_gb(model: ModelConfig) -> float | None:
    """Estimate the GPU memory of a replica in GB; None for a model of unknown size.

    Without `max_slots` the engine takes what is there: one slot must fit.
    """
    size = model.model_loading_config.model_source.rpartition("musicgen-")[2].removeprefix(_STEREO)
    if size not in _MEMORY_GB:
        return None
    weights_gb, slot_gb = _MEMORY_GB[size]
    slots = min(model.engine_kwargs.max_slots or 1, MOST_SLOTS)
    return _OVERHEAD_GB + weights_gb + slots * slot_gb
