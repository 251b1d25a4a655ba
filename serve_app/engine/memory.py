"""The number of slots, where the configuration leaves it open."""

import torch

from serve_app.config.app import MOST_SLOTS
from serve_app.engine.model_runner import bucket, max_positions
from serve_app.models.musicgen.model import MusicGen

CPU_SLOTS = 8  # a CPU is compute-bound beyond
RESERVED = 2 * 2**30  # bytes for the codec, the text encoder and a step's activations


def default_slots(model: MusicGen, max_frames: int, max_text_tokens: int) -> int:
    """Return the slots that fit in the GPU's free memory, or CPU_SLOTS on a CPU."""
    weight = model.embedding.weight
    if weight.device.type != "cuda":
        return CPU_SLOTS
    free, _ = torch.cuda.mem_get_info(weight.device)
    return fitting_slots(free, slot_bytes(model, max_frames, max_text_tokens))


def slot_bytes(model: MusicGen, max_frames: int, max_text_tokens: int) -> int:
    """Return one slot's bytes of keys and values: of all branches, and of the text."""
    transformer = model.config.transformer
    conditioning = model.config.conditioning
    itemsize = model.embedding.weight.dtype.itemsize
    position_bytes = 2 * transformer.num_layers * transformer.hidden_size * itemsize
    positions = max_positions(model, max_frames, max_text_tokens)
    text_tokens = bucket(conditioning.max_cross_tokens(max_text_tokens))
    return position_bytes * (conditioning.branches * positions + text_tokens)


def fitting_slots(free: int, bytes_of_a_slot: int) -> int:
    """Return the slots that fit in `free` bytes, clamped to [1, MOST_SLOTS].

    One slot may still run out of memory.
    """
    return max(1, min((free - RESERVED) // bytes_of_a_slot, MOST_SLOTS))
