"""Per-slot tensors of decoding: all that a step reads and writes beside the caches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.types import SamplingParams

SamplingTensors = Mapping[str, Tensor]


class Place(NamedTuple):
    """A sequence's place, in three numbers, and whether its slot has a sequence (1) or not (0).

    Its column in the history is `steps`, its position in the cache is `prefix` + `steps`, and its
    noise step is `first_frame` + `steps`.

    steps: done in the window; prefix: positions before the codes; first_frame: of the window within
    the track.
    """

    steps: int = 0
    prefix: int = 0
    first_frame: int = 0
    active: int = 0


_PARAMETERS = SamplingParams.model_fields
_FLOATS = [name for name, field in _PARAMETERS.items() if field.annotation is float]
_INTEGERS = [*Place._fields, *(name for name in _PARAMETERS if name not in _FLOATS)]


@dataclass
class SlotState:
    """One entry for each slot: the sequence's place, and its sampling parameters.

    integers, floats: a row [S] for each field of Place and SamplingParams, which properties name;
    tokens [S, K]: the next step's input; finite [S]: whether all logits so far were finite;
    history [S, K, steps]: each step's tokens.
    """

    integers: Tensor
    floats: Tensor
    tokens: Tensor
    finite: Tensor
    history: Tensor

    @property
    def steps(self) -> Tensor:
        return self._row("steps")

    @property
    def prefix(self) -> Tensor:
        return self._row("prefix")

    @property
    def first_frame(self) -> Tensor:
        return self._row("first_frame")

    @property
    def active(self) -> Tensor:
        return self._row("active")

    @property
    def sampling(self) -> SamplingTensors:
        """Tensors [S], named as in SamplingParams."""
        return {name: self._row(name) for name in _PARAMETERS}

    def narrow(self, slots: int) -> "SlotState":
        """Return views of the first `slots` slots."""
        return SlotState(
            self.integers[:, :slots],
            self.floats[:, :slots],
            self.tokens[:slots],
            self.finite[:slots],
            self.history[:slots],
        )

    def write(self, slot: int, place: Place, sampling: SamplingParams) -> None:
        """Set a slot's place and parameters by one copy to the device, which nothing waits for."""
        values = place._asdict() | sampling.model_dump()
        integers = torch.tensor([values[name] for name in _INTEGERS])
        floats = torch.tensor([values[name] for name in _FLOATS], dtype=torch.float64)
        numbers = torch.cat([integers, floats.view(torch.int64)])
        numbers = numbers.to(self.integers.device, non_blocking=True)
        self.integers[:, slot] = numbers[: len(_INTEGERS)]
        self.floats[:, slot] = numbers[len(_INTEGERS) :].view(torch.float64)

    def _row(self, name: str) -> Tensor:
        if name in _FLOATS:
            return self.floats[_FLOATS.index(name)]
        return self.integers[_INTEGERS.index(name)]


def empty_state(
    config: MusicGenConfig, slots: int, max_steps: int, device: torch.device
) -> SlotState:
    """Allocate the state of slots without sequences."""

    def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    return SlotState(
        integers=zeros(len(_INTEGERS), slots),
        floats=zeros(len(_FLOATS), slots, dtype=torch.float32),
        tokens=zeros(slots, config.num_codebooks) + config.special_token,
        finite=zeros(slots, dtype=torch.bool).logical_not(),
        history=zeros(slots, config.num_codebooks, max_steps),
    )
