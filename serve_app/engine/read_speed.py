"""Speed at which a GPU's memory is read: it bounds the attention of steps that have not been seen yet."""

import torch

from serve_app.config.app import EngineConfig
from serve_app.engine.memory import position_bytes
from serve_app.models.musicgen.model import MusicGen

ATTENTION_SHARE = 0.92  # of the bandwidth of a sum, that attention reaches; estimated
_BYTES = 512 * 2**20  # read at once: far more than a cache holds
_ROUNDS = 10


def position_read_s(model: MusicGen, config: EngineConfig) -> float:
    """Return the least seconds for which a step reads one cached position of a guided track.

    0 on a CPU, where it is not known.
    """
    device = model.embedding.weight.device
    if device.type != "cuda":
        return 0.0
    of_a_position = position_bytes(model, config.kv_cache == "int8")
    branches = model.config.conditioning.branches
    return branches * of_a_position / (ATTENTION_SHARE * read_bandwidth(device))


def read_bandwidth(device: torch.device) -> float:
    """Measure the bytes per second that a sum reads from a GPU's memory: the best of a few. Blocks."""
    free, _ = torch.cuda.mem_get_info(device)
    memory = torch.zeros(min(_BYTES, free // 4) // 4, device=device)
    bandwidth = memory.nbytes / min(_seconds(memory) for _ in range(_ROUNDS))
    del memory
    torch.cuda.empty_cache()  # CUDA graphs have memory pools of their own
    return bandwidth


def _seconds(memory: torch.Tensor) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    first.record()
    memory.sum()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000
