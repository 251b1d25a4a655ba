"""The beginning of a window: the codes that it has already, and its place in the slot's tensors."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from serve_app.engine.delay import delay
from serve_app.engine.drawing import TO_DRAW
from serve_app.engine.slot_state import Place, SlotState
from serve_app.models.musicgen.model import MusicGenConfig
from serve_app.types import SamplingParams


@dataclass(frozen=True)
class Opening:
    """A window that begins once its slot's cache is filled.

    tokens [K, steps]: of the whole window; inputs [K, n + 1]: of the n steps that the given codes
    make unnecessary, and of the first step.
    """

    tokens: Tensor
    inputs: Tensor
    place: Place

    @property
    def given(self) -> Tensor:
        """Inputs [K, n] whose keys and values the first step needs."""
        return self.inputs[:, :-1]

    @property
    def position(self) -> int:
        """The cache's position of the first step."""
        return self.place.prefix + self.place.steps

    def write(self, state: SlotState, slot: int, sampling: SamplingParams) -> None:
        """Let the slot begin with the next step."""
        state.history[slot, :, : self.tokens.shape[1]] = self.tokens
        state.tokens[slot] = self.inputs[:, -1]
        state.write(slot, self.place, sampling)

    def write_waiting(self, state: SlotState, slot: int, sampling: SamplingParams) -> None:
        """Let the slot run in the batch, without a sequence, while its cache is being filled.

        Its steps write to the history's first column and to the position of the first step. Both
        are written again, and the positions before stay as they are.
        """
        state.write(slot, Place(prefix=self.position), sampling)


def opening(
    config: MusicGenConfig, given: Tensor, num_frames: int, prefix: int, first_frame: int
) -> Opening:
    """Return the beginning of a window of `num_frames` frames, the first of which are given.

    given [K, n]: codes; prefix: positions before the codes; first_frame: of the window within the
    track.
    """
    frames = torch.full((config.num_codebooks, num_frames), TO_DRAW, device=given.device)
    frames[:, : given.shape[1]] = given
    tokens = delay(frames, config.delays, config.special_token)
    steps = given.shape[1] + min(config.delays)
    inputs = F.pad(tokens[:, :steps], (1, 0), value=config.special_token)
    return Opening(tokens, inputs, Place(steps, prefix, first_frame, active=1))
