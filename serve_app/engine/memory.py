"""How many requests are decoded together, where the configuration does not say."""

import torch

from serve_app.config import MOST_SLOTS
from serve_app.engine.delay import num_steps
from serve_app.engine.model_runner import bucket
from serve_app.models.musicgen.kv_cache import ROWS
from serve_app.models.musicgen.model import MusicGen

CPU_SLOTS = 8  # more of them would only be slower
RESERVED = 2 * 2**30  # bytes: for the codec, the text encoder and what a step computes


def default_slots(model: MusicGen, max_frames: int, max_text_tokens: int) -> int:
    """As many as the GPU's free memory holds of the longest windows and prompts, or CPU_SLOTS."""
    weight = model.embedding.weight
    if weight.device.type != "cuda":
        return CPU_SLOTS
    free, _ = torch.cuda.mem_get_info(weight.device)
    return fitting_slots(free, slot_bytes(model, max_frames, max_text_tokens))


def slot_bytes(model: MusicGen, max_frames: int, max_text_tokens: int) -> int:
    """What one slot keeps: keys and values of two rows' positions, and of the text's tokens."""
    transformer, dtype = model.config.transformer, model.embedding.weight.dtype
    of_a_position = 2 * transformer.num_layers * transformer.hidden_size * dtype.itemsize
    positions = bucket(num_steps(max_frames, model.config.delays))
    return of_a_position * (ROWS * positions + bucket(max_text_tokens))


def fitting_slots(free: int, bytes_of_a_slot: int) -> int:
    """Of so much free memory; at least one, which may turn out to be too much, and at most MOST_SLOTS."""
    return max(1, min((free - RESERVED) // bytes_of_a_slot, MOST_SLOTS))
