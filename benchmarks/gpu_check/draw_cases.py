"""Cases of the draw kernel: its codes are those of `engine/sampler.py`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu_check.kernel_case import Case, random
from benchmarks.gpu_check.measurement import Setting
from benchmarks.gpu_check.models import CODEBOOKS
from serve_app.engine.sampler import apply_cfg, draw, token_keys
from serve_app.kernels.cuda.draw import TO_DRAW, SlotTensors, draw_step

_STEP = 5
_HISTORY = 16
_CODES = 2048


def cases(setting: Setting) -> Iterator[Case]:
    """Yield draws for several batches."""
    for slots in (3,) if setting.tiny else (1, 4, 16):
        yield _case(slots, 256 if setting.tiny else _CODES, setting)


def _case(slots: int, codes: int, setting: Setting) -> Case:
    device = setting.device
    logits = random(setting, slots, 2, CODEBOOKS, codes, std=2.0)
    sampling = _sampling(slots, device)
    keys = token_keys(CODEBOOKS, codes, device)
    steps = torch.full((slots,), _STEP, device=device)

    def theirs() -> Tensor:
        return draw(apply_cfg(logits, sampling["cfg_coef"]), sampling, steps, keys)

    state = _state(slots, device)
    draw_step(logits, sampling, state)
    differ = float((state.tokens != theirs()).double().mean())
    timed = _state(slots, device)

    def kernel() -> None:
        timed.steps.fill_(_STEP)
        draw_step(logits, sampling, timed)

    name = f"draw, {slots} slots: share of other codes than the sampler's"
    return Case(name, differ, 0.0, kernel, theirs, logits.nbytes)


def _sampling(slots: int, device: torch.device) -> dict[str, Tensor]:
    """Alternate top-k, top-p and greedy decoding over the slots."""
    kind = torch.arange(slots, device=device) % 3
    return {
        "temperature": torch.where(kind == 2, 0.0, 1.0),
        "top_k": torch.full((slots,), 250, device=device),
        "top_p": torch.where(kind == 1, 0.9, 0.0),
        "cfg_coef": torch.full((slots,), 3.0, device=device),
        "seed": torch.arange(slots, device=device) + 2**33,
    }


def _state(slots: int, device: torch.device) -> SlotTensors:
    return SlotTensors(
        tokens=torch.zeros(slots, CODEBOOKS, dtype=torch.int64, device=device),
        steps=torch.full((slots,), _STEP, device=device),
        first_frame=torch.zeros(slots, dtype=torch.int64, device=device),
        active=torch.ones(slots, dtype=torch.int64, device=device),
        finite=torch.ones(slots, dtype=torch.bool, device=device),
        history=torch.full((slots, CODEBOOKS, _HISTORY), TO_DRAW, device=device),
        arrived=torch.zeros(slots, dtype=torch.int32, device=device),
    )
