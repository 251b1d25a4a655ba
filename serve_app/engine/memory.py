"""The number of slots, where the configuration leaves it open."""

import torch

from serve_app.config.app import MOST_SLOTS, EngineConfig
from serve_app.engine.bucket import bucket
from serve_app.engine.model_runner import max_positions
from serve_app.models.musicgen.model import MusicGen

CPU_SLOTS = 8  # a CPU is compute-bound beyond
SCALE_BYTES = 4  # of a key or a value in int8
RESERVED = 2 * 2**30  # bytes for the codec, the text encoder and a step's activations
# Of MultiBand Diffusion, for a second of one channel: 30 MB as measured on a CPU.
DIFFUSION_BYTES = 48 * 2**20
DEMUCS_BYTES = 3 * 2**30  # of a GPU, as its documentation says
GRAPH_BYTES = 24 * 2**20  # of one CUDA graph of a whole step, as vLLM reports for its own


def default_slots(
    model: MusicGen,
    config: EngineConfig,
    max_frames: int,
    gpu_share: float = 1.0,
    fine_tunes: int = 0,
) -> int:
    """Return a checkpoint's slots that fit in the GPU's free memory; CPU_SLOTS on a CPU.

    gpu_share: of the GPU's memory, which the model's weights are a part of; fine_tunes: checkpoints
    that are to fit beside the model, each with its weights, graphs and as many slots.
    """
    weight = model.embedding.weight
    if weight.device.type != "cuda":
        return CPU_SLOTS
    free = free_bytes(weight.device, gpu_share) - optional_bytes(model, config) - RESERVED
    free -= fine_tunes * weight_bytes(model)
    free = free // (1 + fine_tunes) - config.max_graphs * GRAPH_BYTES
    int8_cache = config.kv_cache == "int8"
    of_a_slot = slot_bytes(model, max_frames, config.max_prompt_tokens, int8_cache)
    return fitting_slots(free + RESERVED, of_a_slot)


def weight_bytes(model: MusicGen) -> int:
    """Return the bytes of the language model's weights as they are loaded, before any narrowing."""
    return model.num_parameters * model.embedding.weight.itemsize


def optional_bytes(model: MusicGen, config: EngineConfig) -> int:
    """Return the bytes of activations of what is configured beside: a second decoder, Demucs."""
    needed = DEMUCS_BYTES if config.melody_stems == "demucs" else 0
    if config.multiband_diffusion_source is not None:
        channels = model.config.audio_channels
        needed += round(config.max_duration_s * channels * DIFFUSION_BYTES)
    return needed


def free_bytes(device: torch.device, gpu_share: float) -> int:
    """Return the free bytes of the share. The rest of the card is other processes', used or not."""
    free, total = torch.cuda.mem_get_info(device)
    if gpu_share >= 1:
        return free
    return min(free, int(total * gpu_share) - torch.cuda.memory_reserved(device))


def slot_bytes(
    model: MusicGen, max_frames: int, max_text_tokens: int, int8_cache: bool = False
) -> int:
    """Return one slot's bytes of keys and values: of all branches, and of the text.

    int8_cache: whether those of the branches are in int8.
    """
    conditioning = model.config.conditioning
    positions = max_positions(model, max_frames, max_text_tokens)
    text_tokens = bucket(conditioning.max_cross_tokens(max_text_tokens))
    of_the_branches = conditioning.branches * positions * position_bytes(model, int8_cache)
    return of_the_branches + text_tokens * position_bytes(model)


def position_bytes(model: MusicGen, int8_cache: bool = False) -> int:
    """Return the bytes of one position's keys and values of all layers, in one branch."""
    transformer = model.config.transformer
    vectors = 2 * transformer.num_layers * transformer.num_heads
    if int8_cache:
        return vectors * (transformer.head_dim + SCALE_BYTES)
    return vectors * transformer.head_dim * model.embedding.weight.dtype.itemsize


def fitting_slots(free: int, bytes_of_a_slot: int) -> int:
    """Return the slots that fit in `free` bytes, clamped to [1, MOST_SLOTS].

    One slot may still run out of memory.
    """
    return max(1, min((free - RESERVED) // bytes_of_a_slot, MOST_SLOTS))
