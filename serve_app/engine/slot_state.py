"""Per-slot tensors of decoding: all that a step reads and writes beside the caches."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.types import SamplingParams

_DTYPES: dict[object, torch.dtype] = {float: torch.float32, int: torch.int64}

SamplingTensors = Mapping[str, Tensor]


@dataclass
class SlotState:
    """One entry for each slot: the sequence's place, and its sampling parameters.

    Three numbers place a sequence: its column in the history is `steps`, its position in the cache
    is `prefix` + `steps`, and its noise step is `first_frame` + `steps`.

    tokens [S, K]: the next step's input; steps [S]: done in the window;
    prefix [S]: positions before the codes; first_frame [S]: of the window within the track;
    active [S]: 1 with a sequence, else 0; finite [S]: whether all logits so far were finite;
    history [S, K, steps]: each step's tokens;
    sampling: tensors [S], named as in SamplingParams.
    """

    tokens: Tensor
    steps: Tensor
    prefix: Tensor
    first_frame: Tensor
    active: Tensor
    finite: Tensor
    history: Tensor
    sampling: SamplingTensors

    def narrow(self, slots: int) -> "SlotState":
        """Return views of the first `slots` slots."""
        names = [field.name for field in fields(self) if field.name != "sampling"]
        views = {name: getattr(self, name)[:slots] for name in names}
        sampling = {name: tensor[:slots] for name, tensor in self.sampling.items()}
        return SlotState(**views, sampling=sampling)

    def set_sampling(self, slot: int, params: SamplingParams) -> None:
        for name, tensor in self.sampling.items():
            tensor[slot] = getattr(params, name)


def empty_state(
    config: MusicGenConfig, slots: int, max_steps: int, device: torch.device
) -> SlotState:
    """Allocate the state of slots without sequences."""

    def zeros(*shape: int, dtype: torch.dtype = torch.int64) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=device)

    return SlotState(
        tokens=zeros(slots, config.num_codebooks) + config.special_token,
        steps=zeros(slots),
        prefix=zeros(slots),
        first_frame=zeros(slots),
        active=zeros(slots),
        finite=zeros(slots, dtype=torch.bool).logical_not(),
        history=zeros(slots, config.num_codebooks, max_steps),
        sampling={
            name: zeros(slots, dtype=_DTYPES[field.annotation])
            for name, field in SamplingParams.model_fields.items()
        },
    )
