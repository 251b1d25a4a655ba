"""The end of a step: draw the next codes from the logits and advance the slots.

Two implementations with equal codes: PyTorch's operations, the reference, and one Triton kernel.
"""

from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor

from serve_app.engine.sampler import apply_cfg, draw, token_keys
from serve_app.engine.slot_state import SlotState
from serve_app.kernels.cuda.compiler import finds_compiler
from serve_app.models.musicgen.execution import Kernels
from serve_app.models.musicgen.model import MusicGenConfig

TO_DRAW = -1  # marks a code in the history that is still to be drawn
LEAST_CAPABILITY = (7, 5)  # of a GPU, for kernels without tl.dot

Draw = Callable[[Tensor, SlotState], None]  # logits [S, R, K, V] and the state of S slots


def select_draw(kernels: Kernels, slots: int, device: torch.device) -> Draw | None:
    """Return the kernel that ends a step, None if PyTorch's operations end it.

    kernels: as of `prepare_model`.
    """
    if kernels == "eager" or not draws_by_kernel(device):
        return None
    return kernel_draw(slots, device)


def eager_draw(config: MusicGenConfig, device: torch.device) -> Draw:
    """Return the draw in PyTorch's operations."""
    keys = token_keys(config.num_codebooks, config.codebook_size, device)

    def draw_step(logits: Tensor, state: SlotState) -> None:
        guided = apply_cfg(logits, state.sampling["cfg_coef"])
        drawn = draw(guided, state.sampling, state.steps + state.first_frame, keys)
        column = state.steps[:, None, None].expand(-1, config.num_codebooks, 1)
        given = state.history.gather(2, column).squeeze(2)
        state.tokens.copy_(torch.where(given == TO_DRAW, drawn, given))
        state.history.scatter_(2, column, state.tokens[:, :, None])
        state.finite.logical_and_(guided.amax(dim=2).isfinite().all(dim=1))
        state.steps.add_(state.active)

    return draw_step


def kernel_draw(slots: int, device: torch.device) -> Draw:
    """Return the draw as one Triton kernel, for up to `slots` slots."""
    # Imported here: Triton comes with PyTorch for GPUs only.
    from serve_app.kernels.cuda.draw import SlotTensors, draw_step

    arrived = torch.zeros(slots, dtype=torch.int32, device=device)

    def draw_kernel(logits: Tensor, state: SlotState) -> None:
        tensors = SlotTensors(
            state.tokens,
            state.steps,
            state.first_frame,
            state.active,
            state.finite,
            state.history,
            arrived,
        )
        draw_step(logits, state.sampling, tensors)

    return draw_kernel


def draws_by_kernel(device: torch.device) -> bool:
    """Return whether Triton can run the draw kernel on the device, an NVIDIA GPU."""
    if device.type != "cuda" or torch.version.hip is not None:
        return False
    if find_spec("triton") is None or not finds_compiler():
        return False
    return torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY
